"""What was measured, and what follows from it: medians, ratios, and which targets are reached."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import statistics
from collections.abc import Iterable

import programs


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median of some numbers, with the quartiles around it."""

    median: float
    low: float
    high: float
    number: int

    @staticmethod
    def of(values: Iterable[float]) -> Spread | None:
        values = sorted(values)
        if not values:
            return None
        if len(values) == 1:
            return Spread(values[0], values[0], values[0], 1)
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, low, high, len(values))


@dataclasses.dataclass(frozen=True)
class Key:
    """What a row of numbers is about."""

    collective: str
    ranks: int
    size: int
    contender: str


@dataclasses.dataclass
class Turn:
    """A contender's turn in one round: µs of a call, and a cache line's way to the other core just
    before and after."""

    round: int
    us: float
    before_ns: float
    after_ns: float


class Results:
    def __init__(self) -> None:
        self.machine: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.left_out: list[list[str]] = []  # name, why
        self.compile_seconds: list[float] = []
        self.turns: dict[Key, list[Turn]] = {}
        self.known: dict = {}  # what else a report needs; whatever JSON holds

    # ---- what was measured ----

    def add(self, key: Key, turn: Turn) -> None:
        self.turns.setdefault(key, []).append(turn)

    def time(self, key: Key) -> Spread | None:
        return Spread.of(turn.us for turn in self.turns.get(key, []))

    def ratios(self, above: Key, below: Key) -> list[float]:
        """Of two contenders' times, taken round by round: both saw the same machine then."""
        other = {turn.round: turn.us for turn in self.turns.get(below, [])}
        mine = self.turns.get(above, [])
        return [turn.us / other[turn.round] for turn in mine if turn.round in other]

    def ratio(self, above: Key, below: Key) -> Spread | None:
        return Spread.of(self.ratios(above, below))

    def difference(self, above: Key, below: Key) -> Spread | None:
        """The same for the difference in µs."""
        other = {turn.round: turn.us for turn in self.turns.get(below, [])}
        mine = self.turns.get(above, [])
        return Spread.of(turn.us - other[turn.round] for turn in mine if turn.round in other)

    def ranks(self) -> list[int]:
        return sorted({key.ranks for key in self.turns if key.collective != "machine"})

    def sizes(self, collective: str, ranks: int) -> list[int]:
        return sorted({key.size for key in self.turns
                       if (key.collective, key.ranks) == (collective, ranks)})

    def collectives(self) -> list[str]:
        names = dict.fromkeys(key.collective for key in self.turns)
        return [name for name in names if name not in ("machine", "all_reduce")]

    def contenders(self, collective: str, ranks: int) -> list[str]:
        return list(dict.fromkeys(key.contender for key in self.turns
                                  if (key.collective, key.ranks) == (collective, ranks)))

    def best(self, collective: str, ranks: int, size: int, families: Iterable[str]) -> Key | None:
        """The fastest contender of these families, by its median."""
        names = [name for name in self.contenders(collective, ranks)
                 if programs.family_of(name) in families]
        keys = [Key(collective, ranks, size, name) for name in names]
        keys = [key for key in keys if key in self.turns]
        return min(keys, key=lambda key: self.time(key).median, default=None)

    def way_ns(self) -> Spread | None:
        """A cache line's way from one core to the other, over the whole run."""
        return Spread.of(ns for turns in self.turns.values() for turn in turns
                         for ns in (turn.before_ns, turn.after_ns))

    # ---- files ----

    def save(self, path: pathlib.Path) -> None:
        rows = []
        for key, turns in self.turns.items():
            time = self.time(key)
            rows.append({**dataclasses.asdict(key), "us": _short(time.median),
                         "us_quartiles": [_short(time.low), _short(time.high)],
                         "turns": [[turn.round, _short(turn.us), _short(turn.before_ns),
                                    _short(turn.after_ns)] for turn in turns]})
        head = {"machine": self.machine, "settings": self.settings, "left_out": self.left_out,
                "compile_seconds": self.compile_seconds,
                "turn": ["round", "us", "ping_pong_before_ns", "ping_pong_after_ns"]}
        if self.known:
            head["known"] = self.known
        text = json.dumps(head, indent=1)[:-2] + ',\n "measured": [\n  '
        text += ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in rows) + "\n ]\n}\n"
        path.write_text(text)

    @staticmethod
    def load(path: pathlib.Path) -> Results:
        data = json.loads(path.read_text())
        it = Results()
        it.machine, it.settings = data["machine"], data["settings"]
        it.left_out, it.compile_seconds = data["left_out"], data["compile_seconds"]
        it.known = data.get("known", {})
        for row in data["measured"]:
            key = Key(row["collective"], row["ranks"], row["size"], row["contender"])
            it.turns[key] = [Turn(*turn) for turn in row["turns"]]
        return it


def _short(value: float) -> float:
    return float(f"{value:.4g}")
