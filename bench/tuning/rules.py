"""From measured times to the smallest table of rules, in the form of
include/allfold/schedule/tuning.hpp."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

from facts import DIRECT, Facts
from results import Key, Results, Spread

CLEARLY = 1.05  # so many times as fast is worth a rule
CHANCE = 0.01  # how likely so many rounds may agree that it is, if they only guess


@dataclasses.dataclass(frozen=True)
class Rule:
    """As allfold::rule: the algorithm, and from how many ranks and bytes to how many bytes."""

    algorithm: str
    ranks: int = 1
    start: int = 0
    end: int | None = None
    crowded: bool = False

    def applies(self, ranks: int, size: int, crowded: bool) -> bool:
        return (ranks >= self.ranks and size >= self.start and
                (self.end is None or size <= self.end) and (crowded or not self.crowded))


def decide(rules: list[Rule], ranks: int, size: int, crowded: bool) -> str:
    """The first rule that applies, otherwise the last: as the library does it."""
    applying = (rule for rule in rules[:-1] if rule.applies(ranks, size, crowded))
    return next(applying, rules[-1]).algorithm


# ---- what may be taken at one number of ranks and one size ----


@dataclasses.dataclass(frozen=True, order=True)
class Cost:
    """What it costs to take an algorithm: rules first, then sizes at which it is not needed, then
    time, as the logarithm of the ratio to direct's."""

    rules: int = 0
    needless: int = 0
    time: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.rules + other.rules, self.needless + other.needless,
                    self.time + other.time)


def by_chance(wins: int, rounds: int) -> float:
    """How likely it is that so many coins out of so many fall on one side."""
    return sum(math.comb(rounds, k) for k in range(wins, rounds + 1)) / 2**rounds


def is_clear(ratios: list[float]) -> bool:
    """Whether it is faster by more than 5 %, with both quartiles on that side, and in more rounds
    than chance would have it."""
    spread = Spread.of(ratios)
    wins = sum(ratio < 1 for ratio in ratios)
    return (spread.median * CLEARLY < 1 and spread.high < 1 and
            by_chance(wins, len(ratios)) < CHANCE)


def options(all: Results, direct: Key, names: list[str]) -> dict[str, Cost]:
    """What may be taken where `direct` is measured. If others are clearly better, those of them
    that are within 5 % of the best. Otherwise direct; others too, if they are no worse than it by
    more than chance, so that a rule may span such a size."""
    ratios = {name: all.ratios(dataclasses.replace(direct, contender=name), direct)
              for name in names if name != DIRECT}
    spreads = {name: Spread.of(each) for name, each in ratios.items() if each}
    better = {name: it.median for name, it in spreads.items() if is_clear(ratios[name])}
    if better:
        limit = min(better.values()) * CLEARLY
        return {name: Cost(time=math.log(median)) for name, median in better.items()
                if median <= limit}
    near = {name: Cost(needless=1, time=math.log(it.median)) for name, it in spreads.items()
            if it.median <= CLEARLY and it.low <= 1}
    return {DIRECT: Cost(), **near}


# ---- one table for all of them ----


def cheapest(each_size: list[dict[str, Cost]]) -> tuple[Cost, tuple[str, ...]] | None:
    """What to take at each size so that the fewest rules say it; none if a size has no option."""
    paths: dict[str, tuple[Cost, tuple[str, ...]]] = {"": (Cost(), ())}
    for here in each_size:
        if not here:
            return None
        paths = {name: min((cost + price + Cost(rules=int(name not in (before, DIRECT))),
                            (*names, name)) for before, (cost, names) in paths.items())
                 for name, price in here.items()}
    return min(paths.values())


def middle(below: int, above: int) -> int:
    """Where a rule ends between two sizes: at the power of two halfway."""
    return 1 << round((math.log2(below) + math.log2(above)) / 2)


def runs(sizes: list[int], names: tuple[str, ...], ranks: int, crowded: bool) -> Iterator[Rule]:
    """A rule for each run of sizes at which the same is taken."""
    begin = 0
    for name, group in itertools.groupby(names):
        end = begin + len(list(group))
        yield Rule(name, ranks if ranks > 2 else 1,  # one rank has no choice
                   middle(sizes[begin - 1], sizes[begin]) if begin > 0 else 0,
                   middle(sizes[end - 1], sizes[end]) if end < len(sizes) else None, crowded)
        begin = end


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every way to cut a list into pieces."""
    for cuts in itertools.product((False, True), repeat=len(items) - 1):
        pieces = [[items[0]]]
        for item, cut in zip(items[1:], cuts):
            if cut:
                pieces.append([item])
            else:
                pieces[-1].append(item)
        yield pieces


def prune(rules: list[Rule], cases: list[tuple[int, int, bool]]) -> list[Rule]:
    """Without the rules that decide none of the cases; the last one stays."""
    wanted = [decide(rules, *case) for case in cases]
    for rule in rules[-2::-1]:  # what comes later gives way to what is said first
        without = [other for other in rules if other is not rule]
        if [decide(without, *case) for case in cases] == wanted:
            rules = without
    return rules


def _common(each_ranks: list[dict[str, Cost]]) -> dict[str, Cost]:
    """What may be taken with each of several numbers of ranks."""
    names = set.intersection(*map(set, each_ranks))
    return {name: sum((prices[name] for prices in each_ranks), Cost()) for name in sorted(names)}


def rules_of(all: Results, facts: Facts, collective: str, any_order: bool = False) -> list[Rule]:
    """The fewest rules that take, wherever it was measured, what may be taken there. Unless
    `any_order`, what folds in another order than that of the ranks is not considered."""
    names = [name for name in facts.algorithms(collective)
             if any_order or not facts.folds_in_another_order(collective, name)]
    ranks = [it for it in all.ranks() if all.sizes(collective, it)]
    if not ranks:
        return [Rule(DIRECT)]
    sizes = sorted(set.intersection(*(set(all.sizes(collective, it)) for it in ranks)))
    may = {(it, size): options(all, Key(collective, it, size, DIRECT), names)
           for it in ranks for size in sizes}
    cases = [(it, size, facts.crowded(it)) for it in ranks for size in sizes]
    tables = []
    for groups in partitions(ranks):
        ways = [cheapest([_common([may[it, size] for it in group]) for size in sizes])
                for group in groups]
        if None in ways:
            continue
        table = [rule for group, (_, taken) in reversed(list(zip(groups, ways)))
                 for rule in runs(sizes, taken, group[0], facts.crowded(group[0]))]
        table = prune([*table, Rule(DIRECT)], cases)
        cost = sum((cost for cost, _ in ways), Cost())
        tables.append((len(table), cost.needless, cost.time, len(groups), table))
    return min(tables, key=lambda it: it[:-1])[-1]


def table_of(all: Results, facts: Facts, any_order: bool = False) -> dict[str, list[Rule]]:
    """The rules of every collective that was measured."""
    return {name: rules_of(all, facts, name, any_order) for name in facts.collectives()
            if any(all.sizes(name, ranks) for ranks in all.ranks())}
