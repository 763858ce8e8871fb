"""What was measured, and what follows from it: shares of communication, and scaling."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable

from contenders import CONTENDERS, Case, Plan
from results import Spread


@dataclasses.dataclass
class Turn:
    """A contender's turn in one round: the µs of a step with what makes the ranks equal, and of the
    same ranks' step at the same time without."""

    round: int
    together: float
    apart: float


@dataclasses.dataclass
class Work:
    """What a contender had done at the end, one way or the other."""

    case: Case
    way: str
    parameters: int
    gradient_bytes: int
    images: int
    steps: int
    early_loss: float
    late_loss: float
    hashes: list[str]  # of the parameters, by rank


class Figures:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.machine: dict[str, str] = {}
        self.minutes, self.rounds = 0.0, 0
        self.left_out: list[list[str]] = []  # engine, why
        self.way_ns: list[float] = []
        self.turns: dict[Case, list[Turn]] = {}
        self.work: list[Work] = []

    def add(self, case: Case, turn: Turn) -> None:
        self.turns.setdefault(case, []).append(turn)

    def measured(self) -> list[Case]:
        """Those with several ranks first, by their batch."""
        return sorted(self.turns, key=lambda it: (-it.ranks, it.batch,
                                                  CONTENDERS.index(it.contender)))

    def contenders(self) -> list[str]:
        return [name for name in CONTENDERS
                if any((it.contender, it.ranks) == (name, self.plan.ranks) for it in self.turns)]

    # ---- of one contender: turn by turn, then the median ----

    def _each(self, case: Case, value: Callable[[Turn], float]) -> Spread | None:
        return Spread.of(value(turn) for turn in self.turns.get(case, []))

    def together_us(self, case: Case) -> Spread | None:
        return self._each(case, lambda turn: turn.together)

    def apart_us(self, case: Case) -> Spread | None:
        return self._each(case, lambda turn: turn.apart)

    def communication_us(self, case: Case) -> Spread | None:
        return self._each(case, lambda turn: turn.together - turn.apart)

    def share(self, case: Case) -> Spread | None:
        """Of communication that is not hidden, in a step."""
        return self._each(case, lambda turn: 1 - turn.apart / turn.together)

    # ---- of two: round by round, then the median ----

    def weak_efficiency(self, contender: str) -> Spread | None:
        return self._ratio(*self.plan.weak(contender), 1)

    def strong_efficiency(self, contender: str) -> Spread | None:
        return self._ratio(*self.plan.strong(contender), self.plan.ranks)

    def _ratio(self, one: Case, many: Case, times: int) -> Spread | None:
        alone = {turn.round: turn.together for turn in self.turns.get(one, [])}
        return Spread.of(alone[turn.round] / (times * turn.together)
                         for turn in self.turns.get(many, []) if turn.round in alone)

    # ---- files ----

    def save(self, path: pathlib.Path) -> None:
        head = {"plan": dataclasses.asdict(self.plan), "machine": self.machine,
                "minutes": self.minutes, "rounds": self.rounds, "left_out": self.left_out,
                "turn": ["round", "us_together", "us_apart"]}
        lists = {"work": [dataclasses.asdict(it) for it in self.work],
                 "measured": [{**dataclasses.asdict(case), "turns": [
                     [turn.round, turn.together, turn.apart] for turn in turns]}
                     for case, turns in self.turns.items()],
                 "way_ns": [self.way_ns]}
        text = json.dumps(head, indent=1)[:-2]
        for name, rows in lists.items():
            lines = ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in rows)
            text += f',\n "{name}": [\n  {lines}\n ]'
        path.write_text(text + "\n}\n")

    @staticmethod
    def load(path: pathlib.Path) -> Figures:
        data = json.loads(path.read_text())
        it = Figures(Plan(**data["plan"]))
        it.machine, it.left_out = data["machine"], data["left_out"]
        it.minutes, it.rounds = data["minutes"], data["rounds"]
        it.way_ns = data["way_ns"][0]
        it.work = [Work(**{**row, "case": Case(**row["case"])}) for row in data["work"]]
        for row in data["measured"]:
            case = Case(row["contender"], row["ranks"], row["batch"])
            it.turns[case] = [Turn(*turn) for turn in row["turns"]]
        return it
