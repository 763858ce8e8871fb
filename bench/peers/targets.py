"""The speed that the design asks for on the host, against what was measured."""

from __future__ import annotations

import dataclasses

from results import Key, Results, Spread
from sizes import size_name

MPIS = ("Open MPI", "MPICH")
PEERS = (*MPIS, "Gloo")
BOUND = 0.87  # below, the library has found a better way than the floor's author did


@dataclasses.dataclass
class Case:
    """One size at which a target holds or does not."""

    at: str
    measured: str
    reached: bool


@dataclasses.dataclass
class Target:
    name: str
    cases: list[Case]

    @property
    def verdict(self) -> str:
        if not self.cases:
            return "not measured"
        good = sum(case.reached for case in self.cases)
        if good == len(self.cases):
            return "reached"
        return f"**not reached** in {len(self.cases) - good} of {len(self.cases)} cases"


def _times(ratio: Spread) -> str:
    return f"{ratio.median:.2f} × ({ratio.low:.2f} to {ratio.high:.2f})"


def _to_floor(all: Results, floor: str, limit: float, wanted) -> list[Case]:
    """direct of two ranks as a multiple of a floor."""
    cases = []
    for size in filter(wanted, all.sizes("all_reduce", 2)):
        key = Key("all_reduce", 2, size, "direct")
        ratio = all.ratio(key, dataclasses.replace(key, contender=floor))
        if ratio:
            found = _times(ratio)
            if ratio.median < BOUND:
                found += ": faster than the floor, which is no bound here"
            cases.append(Case(size_name(size), found, ratio.median <= limit))
    return cases


def _faster(all: Results, ours: str, families, least: int = 0) -> list[Case]:
    """The speed of our all_reduce as a multiple of the fastest of these peers'."""
    cases = []
    for ranks in all.ranks():
        for size in all.sizes("all_reduce", ranks):
            key = Key("all_reduce", ranks, size, ours)
            peer = all.best("all_reduce", ranks, size, families)
            ratio = all.ratio(peer, key) if peer else None
            if ratio and size >= least:
                found = f"{_times(ratio)} the speed of `{peer.contender}`"
                cases.append(Case(f"{ranks} ranks, {size_name(size)}", found, ratio.median > 1))
    return cases


def _safety(all: Results) -> list[Case]:
    key = Key("all_reduce", 2, 8, "direct")
    bare = dataclasses.replace(key, contender="direct_without_checks")
    ratio, more = all.ratio(key, bare), all.difference(key, bare)
    if not ratio:
        return []
    percent, ns = 100 * (ratio.median - 1), 1000 * more.median
    found = f"{ns:+.1f} ns ({1000 * more.low:+.1f} to {1000 * more.high:+.1f}), {percent:+.1f} %"
    return [Case(size_name(8), found, percent <= 5 or ns <= 10)]


def _compile_time(all: Results) -> list[Case]:
    spread = Spread.of(all.compile_seconds)
    return [Case("g++ -O2", f"{spread.median:.2f} s", spread.median <= 1)] if spread else []


def targets(all: Results) -> list[Target]:
    """Every one, also those that could not be measured."""
    large, small = 32 << 10, 1 << 10
    return [
        Target("`direct`, 2 ranks, from 32 KiB up: at most 1.15 × the zero-copy floor's time",
               _to_floor(all, "zero_copy", 1.15, lambda size: size >= large)),
        Target("`direct`, 2 ranks, up to 1 KiB: at most 1.5 × the one-hop floor's time",
               _to_floor(all, "one_hop", 1.5, lambda size: size <= small)),
        Target("`direct`: faster than every peer at every size, also with more ranks than cores",
               _faster(all, "direct", PEERS)),
        *(Target(f"`{name}`, from 32 KiB up: faster than Open MPI and MPICH",
                 _faster(all, name, MPIS, large)) for name in ("ring", "tree")),
        Target("the checks cost at most 5 % or 10 ns at 8 B, 2 ranks", _safety(all)),
        Target("including `allfold.hpp` takes at most 1 s of compile time", _compile_time(all)),
        Target("ranks as processes: at most 1.25 × threads", []),
    ]
