"""Whether `automatic` takes the best algorithm, and how far chance goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from facts import AUTOMATIC, DIRECT, Facts
from results import Key, Results, Spread
from sizes import size_name

LIMIT = 1.05  # as many times the best's time is as good as the best


@dataclasses.dataclass(frozen=True)
class Case:
    """One collective, number of ranks and size."""

    key: Key  # of the fastest algorithm
    ratio: Spread  # of automatic's time to that one's, round by round
    chosen: str  # the algorithm that automatic stands for there

    @property
    def within(self) -> bool:
        return self.ratio.median <= LIMIT

    @property
    def by_chance(self) -> bool:
        """It is not within, though automatic is that very algorithm."""
        return not self.within and self.chosen == self.key.contender

    @property
    def at(self) -> str:
        size = f", {size_name(self.key.size)}" if self.key.size else ""
        return f"{self.key.collective}, {self.key.ranks} ranks{size}"


def case(all: Results, facts: Facts, collective: str, ranks: int, size: int) -> Case | None:
    """The fastest is by the ratios to direct's times: all rounds count, whatever the machine did
    meanwhile."""
    direct = Key(collective, ranks, size, DIRECT)
    keys = [dataclasses.replace(direct, contender=name) for name in facts.algorithms(collective)]
    ratios = {key: all.ratio(key, direct) for key in keys}
    best = min((key for key in keys if ratios[key]), key=lambda key: ratios[key].median,
               default=direct)
    ratio = all.ratio(dataclasses.replace(direct, contender=AUTOMATIC), best)
    return Case(best, ratio, facts.chosen[collective, ranks, size]) if ratio else None


def cases(all: Results, facts: Facts, collective: str) -> list[Case]:
    every = (case(all, facts, collective, ranks, size)
             for ranks in all.ranks() for size in all.sizes(collective, ranks))
    return [it for it in every if it]


def chance(all: Results, facts: Facts, collective: str) -> Iterator[float]:
    """The ratios of automatic's times to direct's where it is direct: but for chance they are 1."""
    for (name, ranks, size), chosen in facts.chosen.items():
        key = Key(collective, ranks, size, AUTOMATIC)
        if (name, chosen) == (collective, DIRECT) and key in all.turns:
            ratio = all.ratio(key, dataclasses.replace(key, contender=DIRECT))
            if ratio:
                yield ratio.median


def summary(found: list[Case]) -> str:
    good = sum(it.within for it in found)
    chance = sum(it.by_chance for it in found)
    return (f"within 5 % in {good} of {len(found)} cases" +
            (f"; in {chance} of the others it is the fastest algorithm itself" if chance else ""))
