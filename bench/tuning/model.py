"""The cost model: what allfold::predicted_seconds says, and the constants that fit what was
measured."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pathlib
import statistics
import subprocess
from collections.abc import Callable

CONSTANTS = ("call", "latency", "message", "byte", "folded_byte")  # of allfold::machine_cost
TYPICAL = (1e-7, 3e-7, 1e-7, 1e-10, 1e-10)  # seconds; where a fit begins
STEPS = 40

Costs = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Point:
    """A schedule at one size, and how long it took."""

    algorithm: str
    ranks: int
    size: int
    seconds: float = 0.0
    pieces: int = 0  # 0: as the library does it
    collective: str = "all_reduce"

    def question(self, costs: Costs) -> str:
        numbers = " ".join(f"{cost:.17g}" for cost in costs)
        return (f"{self.collective} {self.algorithm} {self.ranks} {self.size} {self.pieces} "
                f"{numbers}")


class Predictor:
    """Asks bench_cost."""

    def __init__(self, program: pathlib.Path, cores: int) -> None:
        self.command = [str(program), str(cores)]

    def __call__(self, points: list[Point], costs: list[Costs]) -> list[list[float]]:
        """For each set of constants, the seconds that each point takes."""
        lines = [point.question(each) for each in costs for point in points]
        done = subprocess.run(self.command, input="\n".join(lines) + "\n", capture_output=True,
                              text=True, check=True)
        answers = [float(line) for line in done.stdout.split()]
        return [answers[i:i + len(points)] for i in range(0, len(answers), len(points))]


# ---- least squares without numbers below zero ----


def _solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Gauss's elimination; none if there is no one solution."""
    rows = [[*row, value] for row, value in zip(matrix, right)]
    size = len(rows)
    for i in range(size):
        best = max(range(i, size), key=lambda k: abs(rows[k][i]))
        rows[i], rows[best] = rows[best], rows[i]
        if abs(rows[i][i]) < 1e-12:
            return None
        for k in range(size):
            if k != i:
                factor = rows[k][i] / rows[i][i]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i])]
    return [rows[i][size] / rows[i][i] for i in range(size)]


def _product(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right))


def least_squares(columns: list[list[float]], wanted: list[float]) -> list[float]:
    """The x >= 0 for which the sum of the columns times x is nearest to what is wanted: of the
    solutions in which only some are not zero, the best that needs none below."""
    norms = [math.sqrt(sum(value * value for value in column)) for column in columns]
    unit = [[value / norm for value in column] if norm else column
            for column, norm in zip(columns, norms)]
    dot = [[_product(a, b) for b in unit] for a in unit]
    aim = [_product(column, wanted) for column in unit]
    best, gain = [0.0] * len(columns), 0.0
    usable = [i for i, norm in enumerate(norms) if norm]
    for number in range(1, len(usable) + 1):
        for active in itertools.combinations(usable, number):
            found = _solve([[dot[i][k] for k in active] for i in active], [aim[i] for i in active])
            if found is None or min(found) < 0:
                continue
            reached = sum(x * aim[i] for x, i in zip(found, active))  # how much smaller the square
            if reached > gain:
                best, gain = [0.0] * len(columns), reached
                for x, i in zip(found, active):
                    best[i] = x / norms[i]
    return best


# ---- the fit ----


def _badness(points: list[Point], predicted: list[float]) -> float:
    """Twice as long counts as much as half as long."""
    return sum(math.log(max(seconds, 1e-300) / point.seconds) ** 2
               for point, seconds in zip(points, predicted))


def _aimed_at(points: list[Point], costs: Costs, free: list[int], predict: Callable) -> Costs:
    """The best constants, were predictions linear in them and the logarithm as well."""
    nudges = [TYPICAL[i] * 1e-6 for i in free]
    nudged = [tuple(cost + nudge * (i == k) for k, cost in enumerate(costs))
              for i, nudge in zip(free, nudges)]
    here, *there = predict(points, [costs, *nudged])
    columns = [[(after - before) / nudge * TYPICAL[i] / before
                for before, after in zip(here, moved)]
               for i, moved, nudge in zip(free, there, nudges)]
    explained = [sum(column[k] * costs[i] / TYPICAL[i] for i, column in zip(free, columns))
                 for k in range(len(points))]  # by those that are free; the others stay
    wanted = [part - math.log(seconds / point.seconds)
              for part, point, seconds in zip(explained, points, here)]
    found = dict(zip(free, least_squares(columns, wanted)))
    return tuple(found[i] * TYPICAL[i] if i in found else cost for i, cost in enumerate(costs))


def fit(points: list[Point], predict: Callable, known: Costs | None = None,
        free: list[int] | None = None) -> Costs:
    """The constants, none below zero, for which the predictions are nearest to what the points
    took, by the squares of the logarithms of their ratios; of `known` ones only those at `free`
    are changed. Predictions are piecewise linear in the constants, so each step solves a linear
    problem, and goes as far towards its solution as the predictions get better."""
    costs, error = known or TYPICAL, math.inf
    for _ in range(STEPS):
        aim = _aimed_at(points, costs, free or list(range(len(CONSTANTS))), predict)
        ways = [tuple(cost + (goal - cost) / 2**k for cost, goal in zip(costs, aim))
                for k in range(8)]
        errors = [_badness(points, predicted) for predicted in predict(points, ways)]
        if not min(errors) < error * (1 - 1e-9):
            break
        error = min(errors)
        costs = ways[errors.index(error)]
    return costs


@dataclasses.dataclass(frozen=True)
class Fit:
    """Constants, and how far what they predict is from what was measured."""

    costs: Costs
    points: list[Point]
    predicted: list[float]

    def factors(self, algorithm: str | None = None) -> list[float]:
        """By how much each prediction is too long or too short."""
        return [max(seconds / point.seconds, point.seconds / seconds)
                for point, seconds in zip(self.points, self.predicted)
                if algorithm in (None, point.algorithm)]

    def median(self) -> float:
        return statistics.median(self.factors())

    def bias(self, algorithm: str) -> float:
        """How many times as long as measured its predictions are, in the median."""
        ratios = [seconds / point.seconds for point, seconds in zip(self.points, self.predicted)
                  if point.algorithm == algorithm]
        return statistics.median(ratios) if ratios else math.nan


def fitted(points: list[Point], predict: Callable, known: Costs | None = None,
           free: list[int] | None = None) -> Fit:
    costs = fit(points, predict, known, free)
    return Fit(costs, points, predict(points, [costs])[0])
