"""All that follows from what was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import extrapolate
import rules
import verdicts
from facts import AUTOMATIC, NOTHING, Facts
from model import CONSTANTS, Fit, Point, fitted
from results import Key, Results
from rules import Rule
from verdicts import Case

CACHED = 1 << 20  # bytes; so many still fit the caches
WITHIN, ABOVE = "up to 1 MiB", "above"
BYTES = [CONSTANTS.index(name) for name in ("byte", "folded_byte")]


def points(all: Results, facts: Facts, ranks: int) -> list[Point]:
    """What an all_reduce itself takes: without writing the elements and meeting."""
    found = []
    for size in all.sizes("all_reduce", ranks):
        nothing = Key("all_reduce", ranks, size, NOTHING)
        for name in facts.algorithms("all_reduce"):
            took = all.difference(dataclasses.replace(nothing, contender=name), nothing)
            if took and took.median > 0:
                found.append(Point(name, ranks, size, took.median * 1e-6))
    return found


def fits(all: Results, facts: Facts, predict: Callable) -> dict[tuple[int, str], Fit]:
    """By ranks, and within the caches and above: there only bytes cost something else, and too few
    points would have to say the rest."""
    found = {}
    for ranks in all.ranks():
        every = points(all, facts, ranks)
        within = [point for point in every if point.size <= CACHED]
        above = [point for point in every if point.size > CACHED]
        if len(within) > len(CONSTANTS):
            found[ranks, WITHIN] = fitted(within, predict)
            if len(above) > len(BYTES):
                costs = found[ranks, WITHIN].costs
                found[ranks, ABOVE] = fitted(above, predict, costs, BYTES)
    return found


@dataclasses.dataclass
class Findings:
    all: Results
    facts: Facts
    any_order: bool
    cases: dict[str, list[Case]]  # by collective
    table: dict[str, list[Rule]]  # likewise
    fits: dict[tuple[int, str], Fit]
    predictions: dict[tuple[str, str, int, int], extrapolate.Prediction]

    @staticmethod
    def of(all: Results, predict: Callable, any_order: bool) -> Findings:
        facts = Facts(all.known)
        cases = {name: verdicts.cases(all, facts, name) for name in facts.collectives()}
        return Findings(all, facts, any_order, {name: each for name, each in cases.items() if each},
                        rules.table_of(all, facts, any_order), fits(all, facts, predict),
                        extrapolate.predictions(predict))

    def every_case(self) -> list[Case]:
        return [it for each in self.cases.values() for it in each]

    def has_choice(self, collective: str) -> bool:
        return len(self.facts.algorithms(collective)) > 1

    def names(self, collective: str) -> list[str]:
        """Of what is drawn and printed, `automatic` first."""
        return [AUTOMATIC, *self.facts.algorithms(collective)]
