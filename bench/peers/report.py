"""The comparison in Markdown."""

from __future__ import annotations

import programs
import targets
from results import Key, Results, Spread
from sizes import size_name, three_digits

PEERS = targets.PEERS


def table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, rule, *rows])


def with_quartiles(spread: Spread | None) -> str:
    if spread is None:
        return ""
    low, high = three_digits(spread.low), three_digits(spread.high)
    return f"{three_digits(spread.median)} ({low}–{high})"


def machine(all: Results) -> str:
    rows = [[name, value or "not there"] for name, value in all.machine.items()]
    way = all.way_ns()
    if way:
        rows.append(["a cache line's way to the other core",
                     f"{way.median:.0f} ns ({way.low:.0f}–{way.high:.0f}), {way.number} times"])
    for name, what in (("copy_memory", "memory copied by two threads, read and written"),
                       ("triad", "memory used by two threads in STREAM's triad")):
        key = Key("machine", 2, 64 << 20, name)
        time = all.time(key)
        if time:
            rows.append([what, f"{2 * key.size / time.median / 1e3:.1f} · 10⁹ bytes/s"])
    return table(["", ""], rows).replace("---:", "---")


def _targets(all: Results) -> str:
    every = targets.targets(all)
    text = table(["to be reached", ""], [[it.name, it.verdict] for it in every])
    text = text.replace("---:", "---")
    text += "\nA ratio is the median of the ratios of all rounds, with their quartiles.\n"
    for it in every:
        if it.cases:
            rows = [[case.at, case.measured, "yes" if case.reached else "**no**"]
                    for case in it.cases]
            text += f"\n### {it.name}\n\n" + table(["at", "measured", "reached"], rows)
    return text


def _times(all: Results, collective: str, ranks: int, names: list[str]) -> str:
    rows = []
    for size in all.sizes(collective, ranks):
        cells = [with_quartiles(all.time(Key(collective, ranks, size, name))) for name in names]
        rows.append([size_name(size), *cells])
    return table(["size", *(f"`{name}`" for name in names)], rows)


def _ratios(all: Results, ranks: int) -> str:
    """direct beside what is best at each size."""
    rows = []
    for size in all.sizes("all_reduce", ranks):
        key = Key("all_reduce", ranks, size, "direct")
        floor = all.best("all_reduce", ranks, size, ["floor"])
        to_floor = all.ratio(key, floor) if floor else None
        row = [size_name(size), f"{to_floor.median:.2f} × `{floor.contender}`" if to_floor else ""]
        for family in PEERS:
            peer = all.best("all_reduce", ranks, size, [family])
            ratio = all.ratio(peer, key) if peer else None
            row.append(f"{three_digits(ratio.median)} × (`{peer.contender}`)" if ratio else "")
        rows.append(row)
    head = ["size", "`direct`'s time, of the best floor's",
            *(f"{family}'s best time, of `direct`'s" for family in PEERS)]
    return table(head, rows)


def _control(all: Results) -> str:
    """The same code under two names: how far from 1 a ratio comes by chance. With more ranks than
    cores `automatic` is not always `direct`."""
    rows = []
    for ranks in [ranks for ranks in all.ranks() if ranks == 2]:
        for size in all.sizes("all_reduce", ranks):
            ratio = all.ratio(Key("all_reduce", ranks, size, "automatic"),
                              Key("all_reduce", ranks, size, "direct"))
            if ratio:
                rows.append([str(ranks), size_name(size), f"{ratio.median:.2f}",
                             f"{ratio.low:.2f} to {ratio.high:.2f}"])
    if not rows:
        return ""
    return ("## How far chance goes\n\nWith 2 ranks `automatic` is the code of `direct` under "
            "another name, so their ratio would be 1 on a machine without noise. A ratio that is "
            "no farther from 1 than this one or its quartiles shows nothing.\n\n"
            + table(["ranks", "size", "`automatic` / `direct`", "quartiles"], rows) + "\n")


def _all_reduce(all: Results, ranks: int, pictures: list[str]) -> str:
    names = all.contenders("all_reduce", ranks)
    if not names:
        return ""
    own = [name for name in names if programs.family_of(name) == programs.ALLFOLD]
    floors = [name for name in names if programs.family_of(name) == "floor"]
    peers = [name for name in names if programs.family_of(name) in PEERS]
    text = f"## all_reduce, {ranks} ranks\n\n"
    text += "".join(f"![{name}]({name})\n" for name in pictures if f"_{ranks}_ranks" in name)
    text += "\n" + _ratios(all, ranks)
    for part in (own + floors, peers):
        if part:
            text += "\nµs a call (quartiles):\n\n" + _times(all, "all_reduce", ranks, part)
    return text + "\n"


def _others(all: Results) -> str:
    head = ["", "ranks", "size", "allfold", "best MPI", "", "times as fast"]
    rows, ratios = [], []
    for collective in all.collectives():
        for ranks in all.ranks():
            for size in all.sizes(collective, ranks):
                key = Key(collective, ranks, size, "automatic")
                mpi = all.best(collective, ranks, size, targets.MPIS)
                ratio = all.ratio(mpi, key) if mpi else None
                if not ratio:
                    continue
                ratios.append(ratio.median)
                times = three_digits(ratio.median)
                rows.append([collective, str(ranks), size_name(size) if size else "",
                             with_quartiles(all.time(key)), with_quartiles(all.time(mpi)),
                             f"`{mpi.contender}`", times if ratio.median > 1 else f"**{times}**"])
    if not rows:
        return ""
    faster = sum(ratio > 1 for ratio in ratios)
    return ("## The other collectives\n\n"
            "µs a call (quartiles), against the fastest of both MPIs in all their settings. "
            "The size is that of the whole: of what a rank has at the end of "
            "all_gather, and at the beginning of reduce_scatter and all_to_all; one float for each "
            "rank at least. Many calls are made in a row, so a root may be ahead of the others. "
            f"`allfold` is the library's default algorithm: faster in {faster} of {len(ratios)} "
            "cases.\n\n" + table(head, rows) + "\n")


def _who(all: Results) -> str:
    own = ", ".join(f"`{name}`" for name in programs.ALGORITHMS)
    text = f"- {own}: the library's algorithms.\n"
    text += ("- `zero_copy`, `one_hop`: floors, what threads can do at best by hand without any "
             "check: [floor.hpp](../../bench/floor.hpp).\n"
             "- `direct_without_checks`: the library's schedule and execution over a port that "
             "checks nothing: [bare_port.hpp](../../bench/peers/bare_port.hpp).\n")
    for spec in programs.SPECS:
        if spec.note:
            text += "- " + ", ".join(f"`{name}`" for name in spec.contenders) + f": {spec.name}, "
            text += spec.note + ".\n"
    for name, why in all.left_out:
        text += f"- Left out: `{name}`: {why}.\n"
    return text


def markdown(all: Results, pictures: list[str]) -> str:
    text = "# allfold and its peers on one host\n\n"
    text += "Written by `bench/compare`: no figure here is typed by hand.\n\n"
    text += machine(all) + "\n"
    text += ("All took turns in one run: " + ", ".join(
        f"{value} {name}" for name, value in all.settings.items()) + ". Elements are float32, "
        "summed in place by all_reduce. Times are medians over rounds; in each of them every "
        "contender has its turn at every size, and those whose turn it is not are stopped. Rank r "
        "is bound to core r, round and round, for all alike.\n\n")
    text += _who(all) + "\n## What was to be reached\n\n" + _targets(all) + "\n"
    text += _control(all)
    for ranks in all.ranks():
        text += _all_reduce(all, ranks, pictures)
    return (text + _others(all)).rstrip() + "\n"
