"""The findings as pictures: every algorithm's time as a multiple of the best's, the cost model
beside what was measured, and what it predicts of links that are not at hand."""

from __future__ import annotations

import dataclasses
import pathlib

import extrapolate
import pictures
from facts import AUTOMATIC
from findings import WITHIN, Findings
from sizes import size_name

COLORS = {**pictures.OWN, "primary": "#d55e00", AUTOMATIC: "#303030"}
GREY = "#606060"


def _tidy(axes) -> None:
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _sizes_along(axes, sizes: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [size_name(size) for size in sizes], rotation=45, ha="right",
                    fontsize=8)
    axes.minorticks_off()


def _finish(figure, grid, title: str, subtitle: str, path: pathlib.Path) -> str:
    """One legend for all panels, and the words above them."""
    from matplotlib import pyplot

    handles = {label: handle for axes in grid.flat
               for handle, label in zip(*axes.get_legend_handles_labels())}
    handles = {name: handles[name] for name in COLORS if name in handles}
    height = figure.get_size_inches()[1]
    figure.tight_layout(rect=(0, 0.45 / height, 1, 1 - 0.75 / height))
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncol=len(handles),
                  frameon=False, fontsize=10)
    figure.text(0.01, 1 - 0.3 / height, title, fontsize=13, fontweight="bold")
    figure.text(0.01, 1 - 0.55 / height, subtitle, fontsize=9, color=GREY)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return path.name


# ---- every algorithm beside the best ----


def _to_best(axes, it: Findings, collective: str, ranks: int) -> None:
    cases = [case for case in it.cases[collective] if case.key.ranks == ranks]
    for name in reversed(it.names(collective)):
        found = [(case.key.size, it.all.ratio(dataclasses.replace(case.key, contender=name),
                                              case.key)) for case in cases]
        found = [(size, ratio) for size, ratio in found if ratio]
        style = ({"linestyle": (0, (4, 2)), "linewidth": 1.8, "zorder": 5} if name == AUTOMATIC else
                 {"marker": "o", "markersize": 3.5, "linewidth": 1.6, "zorder": 4})
        sizes = [size for size, _ in found]
        axes.plot(sizes, [ratio.median for _, ratio in found], label=name, color=COLORS[name],
                  **style)
        axes.fill_between(sizes, [ratio.low for _, ratio in found],
                          [ratio.high for _, ratio in found], color=COLORS[name], alpha=0.13,
                          linewidth=0)
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.set_ylim(0.7, 15)
    _sizes_along(axes, [case.key.size for case in cases])
    axes.set_title(f"{collective}, {ranks} ranks", loc="left", fontsize=10)
    _tidy(axes)


def _algorithms(it: Findings, folder: pathlib.Path) -> str | None:
    from matplotlib import pyplot

    collectives = [name for name, cases in it.cases.items()
                   if it.has_choice(name) and len({case.key.size for case in cases}) > 1]
    ranks = it.all.ranks()
    if not collectives:
        return None
    figure, grid = pyplot.subplots(len(collectives), len(ranks), squeeze=False, sharey=True,
                                   figsize=(1 + 3.9 * len(ranks), 1.1 + 2.6 * len(collectives)))
    for row, collective in zip(grid, collectives):
        for axes, each in zip(row, ranks):
            _to_best(axes, it, collective, each)
        row[0].set_ylabel("× the fastest's time")
    return _finish(figure, grid, "Every algorithm's time, as a multiple of the fastest's there",
                   "medians of the ratios of all rounds; shaded: their quartiles; with writing the "
                   "elements and meeting", folder / "tuning_algorithms.png")


# ---- the model ----


def _predicted(axes, it: Findings, ranks: int) -> None:
    ends = []
    for (each, sizes), fit in it.fits.items():
        if each != ranks:
            continue
        for name in it.facts.algorithms("all_reduce"):
            chosen = [(point.seconds * 1e6, seconds * 1e6)
                      for point, seconds in zip(fit.points, fit.predicted)
                      if point.algorithm == name]
            filled = "full" if sizes == WITHIN else "none"
            axes.plot(*zip(*chosen), linestyle="", marker="o", markersize=6, fillstyle=filled,
                      color=COLORS[name], label=name if filled == "full" else None)
            ends += [value for pair in chosen for value in pair]
    ends = [min(ends) / 1.5, max(ends) * 1.5]
    for factor, style in ((1, "-"), (2, ":"), (0.5, ":")):
        axes.plot(ends, [end * factor for end in ends], style, color=GREY, linewidth=1, zorder=1)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured, µs")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(pictures.plain)
    axes.set_aspect("equal")
    cores = f" on {it.facts.cores} cores" if it.facts.crowded(ranks) else ""
    axes.set_title(f"{ranks} ranks{cores}", loc="left", fontsize=10)
    _tidy(axes)


def _model(it: Findings, folder: pathlib.Path) -> str | None:
    from matplotlib import pyplot

    ranks = list(dict.fromkeys(each for each, _ in it.fits))
    if not ranks:
        return None
    figure, grid = pyplot.subplots(1, len(ranks), squeeze=False, figsize=(1 + 4 * len(ranks), 5.4))
    for axes, each in zip(grid[0], ranks):
        _predicted(axes, it, each)
    grid[0, 0].set_ylabel("predicted, µs")
    return _finish(figure, grid, "all_reduce: what the cost model says, beside what was measured",
                   "a point is an algorithm at one size; filled: up to 1 MiB, empty: above, "
                   "where bytes have costs of their own; lines: as long, twice, half", folder /
                   "tuning_model.png")


# ---- what is not measured ----


def _far_away(axes, it: Findings, link: extrapolate.Link, size: int) -> None:
    ranks = extrapolate.ranks_of(link)
    for name in extrapolate.ALGORITHMS:
        axes.plot(ranks, [1e6 * it.predictions[link.name, name, each, size].seconds
                          for each in ranks],
                  marker="o", markersize=3, linewidth=1.6, color=COLORS[name], label=name)
    axes.set_xscale("log", base=2)
    shown = ranks if len(ranks) < 10 else ranks[1::2]
    axes.set_xticks(shown, [f"{each:,}".replace(",", " ") for each in shown], rotation=45,
                    ha="right", fontsize=8)
    axes.minorticks_off()
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(pictures.plain)
    axes.set_title(f"{link.name}, {size_name(size)}", loc="left", fontsize=10)
    _tidy(axes)


def _predictions(it: Findings, folder: pathlib.Path) -> str:
    from matplotlib import pyplot

    links, sizes = extrapolate.LINKS, extrapolate.SIZES
    figure, grid = pyplot.subplots(len(links), len(sizes), squeeze=False, sharey="col",
                                   figsize=(13, 1.3 + 3 * len(links)))
    for row, link in zip(grid, links):
        for axes, size in zip(row, sizes):
            _far_away(axes, it, link, size)
            axes.set_xlabel("ranks")
        row[0].set_ylabel("predicted time, µs")
    return _finish(figure, grid, "PREDICTION, not measured: all_reduce on published links",
                   "allfold::predicted_seconds of each schedule; tree in the best of 1, 4, 16 and "
                   "64 pieces", folder / "tuning_prediction.png")


def draw(it: Findings, folder: pathlib.Path) -> list[str]:
    """The pictures' names; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    names = (make(it, folder) for make in (_algorithms, _model, _predictions))
    return [name for name in names if name]
