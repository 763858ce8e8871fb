"""What there is to measure, and what `automatic` takes: told by bench_algorithms itself."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess

AUTOMATIC, DIRECT, NOTHING = "automatic", "direct", "nothing"


@dataclasses.dataclass(frozen=True)
class Contender:
    collective: str
    name: str
    spelling: str  # in C++
    folds: str  # "rank_order", "another_order" or "-"


class Facts:
    """About the program and the machine that it ran on."""

    def __init__(self, known: dict) -> None:
        self.cores: int = known["cores"]
        self.contenders = [Contender(*words) for words in known["contenders"]]
        self.chosen = {(collective, ranks, size): name
                       for collective, ranks, size, name in known["chosen"]}

    def collectives(self) -> list[str]:
        return list(dict.fromkeys(it.collective for it in self.contenders))

    def named(self, collective: str) -> list[str]:
        """Every contender, `nothing` and `automatic` too."""
        return [it.name for it in self.contenders if it.collective == collective]

    def algorithms(self, collective: str) -> list[str]:
        return [name for name in self.named(collective) if name not in (NOTHING, AUTOMATIC)]

    def folds_in_another_order(self, collective: str, name: str) -> bool:
        return any((it.collective, it.name, it.folds) == (collective, name, "another_order")
                   for it in self.contenders)

    def spelling(self, name: str) -> str:
        return next(it.spelling for it in self.contenders if it.name == name)

    def crowded(self, ranks: int) -> bool:
        return ranks > self.cores


def _ask(program: pathlib.Path, option: str, lines: list[str]) -> list[list[str]]:
    done = subprocess.run([str(program), option], input="".join(line + "\n" for line in lines),
                          capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines()]


def contenders(program: pathlib.Path) -> list[list[str]]:
    return _ask(program, "--list", [])


def chosen(program: pathlib.Path, cases: list[tuple[str, int, int]]) -> list[list]:
    """Which algorithm `automatic` takes in each case of collective, ranks and size."""
    answers = _ask(program, "--chosen", [" ".join(map(str, case)) for case in cases])
    return [[*case, name] for case, (name,) in zip(cases, answers, strict=True)]


def cores() -> int:
    return len(os.sched_getaffinity(0))
