"""A step's parts, communication's share of it, and scaling, side by side."""

from __future__ import annotations

import pathlib

from contenders import DDP, STRATEGIES
from figures import Figures
from results import Spread

# Okabe and Ito's palette: told apart by colour-blind readers too.
COMPUTATION, COMMUNICATION, WEAK, STRONG = "#b8c4ce", "#d55e00", "#0072b2", "#56b4e9"
NAMES = {DDP: "PyTorch DDP"}


def _bars(axes, places, spreads: list[Spread | None], color: str, height: float, unit: float,
          text: str, label: str | None = None) -> None:
    """With quartiles, and the number beside each."""
    for place, it in zip(places, spreads):
        if it is None:
            continue
        median, low, high = it.median * unit, it.low * unit, it.high * unit
        axes.barh(place, median, height, color=color, label=label)
        axes.errorbar(median, place, xerr=[[median - low], [high - median]], color="#303030",
                      linewidth=1, capsize=2, zorder=4)
        axes.annotate(text.format(median), (max(high, 0), place), (6, 0), va="center", fontsize=9,
                      textcoords="offset points", zorder=5,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
        label = None


def _step(axes, all: Figures, names: list[str]) -> None:
    cases = [all.plan.weak(name)[1] for name in names]
    axes.barh(range(len(names)), [all.apart_us(case).median / 1e3 for case in cases], 0.6,
              color=COMPUTATION, label="apart", zorder=3)
    _bars(axes, range(len(names)), [all.together_us(case) for case in cases], COMMUNICATION, 0.6,
          1e-3, "{:.2f}", "communication")
    axes.set_title("a step, ms", loc="left", fontsize=11)


def _share(axes, all: Figures, names: list[str]) -> None:
    shares = [all.share(all.plan.weak(name)[1]) for name in names]
    _bars(axes, range(len(names)), shares, COMMUNICATION, 0.6, 100, "{:.1f} %")
    axes.set_title("communication, % of the step", loc="left", fontsize=11)


def _scaling(axes, all: Figures, names: list[str]) -> None:
    places = range(len(names))
    _bars(axes, [place - 0.18 for place in places], [all.weak_efficiency(it) for it in names],
          WEAK, 0.32, 100, "{:.0f} %", "weak")
    _bars(axes, [place + 0.18 for place in places], [all.strong_efficiency(it) for it in names],
          STRONG, 0.32, 100, "{:.0f} %", "strong")
    axes.axvline(100, color="#303030", linewidth=0.8, linestyle=(0, (4, 2)), zorder=2)
    axes.set_title("scaling efficiency, %", loc="left", fontsize=11)


def _tidy(axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.15)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9, loc="upper center", ncols=2,
                    bbox_to_anchor=(0.5, -0.08))


def draw(all: Figures, folder: pathlib.Path) -> str:
    """Returns the file's name; empty without matplotlib, or if there is nothing to draw."""
    names = [name for name in (*STRATEGIES, DDP) if name in all.contenders()]
    try:
        import matplotlib
    except ImportError:
        return ""
    if not names:
        return ""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 4.6), sharey=True)
    for axes, fill in ((left, _step), (middle, _share), (right, _scaling)):
        fill(axes, all, names)
        _tidy(axes, names)
    plan = all.plan
    figure.suptitle(f"A training step of {plan.ranks} ranks, {plan.batch} images each", x=0.01,
                    ha="left", fontweight="bold")
    figure.text(0.01, 0.895, "medians of all rounds; lines: their quartiles", fontsize=9,
                color="#606060")
    figure.tight_layout(rect=(0, 0, 1, 0.95))
    figure.savefig(folder / "training.png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return "training.png"
