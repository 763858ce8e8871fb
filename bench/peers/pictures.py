"""The comparison of all_reduce as pictures: time, bus bandwidth, and time as a multiple of the
floor's."""

from __future__ import annotations

import pathlib

import targets
from results import Key, Results
from sizes import size_name

# Okabe and Ito's palette: told apart by colour-blind readers too.
OWN = {"direct": "#0072b2", "ring": "#56b4e9", "tree": "#009e73", "halving_doubling": "#a6761d"}
PEERS = {"Open MPI": "#d55e00", "MPICH": "#e69f00", "Gloo": "#cc79a7"}
FLOOR = "#303030"


def _lines(all: Results, ranks: int):
    """(label, style, {size: key}) of every line, the floor first. Of the floors and of each peer
    the fastest contender at each size is taken."""
    sizes = all.sizes("all_reduce", ranks)
    best = {name: {size: all.best("all_reduce", ranks, size, [name]) for size in sizes}
            for name in ("floor", *targets.PEERS)}
    floor = {"color": FLOOR, "linestyle": (0, (4, 2)), "linewidth": 1.4, "zorder": 5}
    yield "floor, by hand", floor, best["floor"]
    for name, color in OWN.items():
        keys = {size: Key("all_reduce", ranks, size, name) for size in sizes}
        style = {"color": color, "marker": "o", "markersize": 4,
                 "linewidth": 2.6 if name == "direct" else 1.4, "zorder": 4}
        yield f"allfold {name}", style, keys
    for name, color in PEERS.items():
        style = {"color": color, "marker": "s", "markersize": 3.5, "linewidth": 1.4}
        yield f"{name}, its best setting", style, best[name]


def _points(all: Results, keys: dict, value):
    """Sizes, medians, and the quartiles around them."""
    found = [(size, value(size, key)) for size, key in keys.items()
             if key is not None and key in all.turns]
    found = [(size, spread) for size, spread in found if spread is not None]
    return ([size for size, _ in found], [it.median for _, it in found],
            [it.low for _, it in found], [it.high for _, it in found])


def _draw(axes, all: Results, ranks: int, value) -> None:
    for label, style, keys in _lines(all, ranks):
        sizes, medians, low, high = _points(all, keys, value)
        if sizes:
            axes.plot(sizes, medians, label=label, **style)
            axes.fill_between(sizes, low, high, color=style["color"], alpha=0.15, linewidth=0)
    sizes = all.sizes("all_reduce", ranks)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [size_name(size) for size in sizes], rotation=40, ha="right")
    axes.minorticks_off()
    axes.set_xlabel("size of a rank's elements")
    axes.grid(True, color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def plain(value: float, _position=None) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1 else f"{value:g}"


def _picture(all: Results, ranks: int, value, title: str, label: str, path: pathlib.Path, finish):
    from matplotlib import pyplot  # only here: a run without matplotlib has no pictures

    figure, axes = pyplot.subplots(figsize=(10, 5.6))
    _draw(axes, all, ranks, value)
    axes.set_ylabel(label)
    axes.set_title(f"all_reduce of float32, {ranks} ranks: {title}\n", loc="left",
                   fontweight="bold")
    axes.text(0, 1.015, "medians of all rounds; shaded: their quartiles", fontsize=9,
              color="#606060", transform=axes.transAxes)
    finish(axes)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def draw(all: Results, folder: pathlib.Path) -> list[str]:
    """Three pictures for each number of ranks. Returns their names; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("Agg")
    names = []
    for ranks in all.ranks():
        if not all.sizes("all_reduce", ranks):
            continue

        def logarithmic(axes):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(plain)

        def from_zero(axes):
            axes.set_ylim(bottom=0)

        def to_floor(size, key, ranks=ranks):
            floor = all.best("all_reduce", ranks, size, ["floor"])
            return all.ratio(key, floor) if floor else None

        def bandwidth(size, key, ranks=ranks):
            time = all.time(key)
            per_us = size * 2 * (ranks - 1) / ranks / 1e3
            return type(time)(per_us / time.median, per_us / time.high, per_us / time.low,
                              time.number)

        for name, value, title, label, finish in (
                ("time", lambda size, key: all.time(key), "time of a call", "µs", logarithmic),
                ("busbw", bandwidth, "bus bandwidth", "10⁹ bytes/s", from_zero),
                ("floor", to_floor, "time as a multiple of the floor's", "× the floor",
                 logarithmic)):
            file = f"host_{name}_{ranks}_ranks.png"
            _picture(all, ranks, value, title, label, folder / file, finish)
            names.append(file)
    return names
