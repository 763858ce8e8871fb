"""Measurements for tests: made up, but in the form of measured ones."""

from __future__ import annotations

import random

from facts import Facts
from results import Key, Results, Turn

ROUNDS = 12
CONTENDERS = [
    ["all_reduce", "nothing", "-", "-"], ["all_reduce", "automatic", "automatic", "-"],
    ["all_reduce", "direct", "direct", "rank_order"],
    ["all_reduce", "ring", "ring", "another_order"],
    ["all_reduce", "primary", "primary<>", "rank_order"],
    ["broadcast", "nothing", "-", "-"], ["broadcast", "automatic", "automatic", "-"],
    ["broadcast", "direct", "direct", "-"], ["broadcast", "tree", "tree", "-"],
    ["broadcast", "ring", "ring", "-"],
    ["barrier", "nothing", "-", "-"], ["barrier", "automatic", "automatic", "-"],
    ["barrier", "direct", "direct", "-"], ["barrier", "dissemination", "dissemination", "-"],
]
SIZES = (8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20)


def measured(times: dict[tuple[str, int, int, str], float], noise: float = 0.01,
             cores: int = 2) -> Results:
    """`times` in µs, by collective, ranks, size and contender. The machine is slower in some
    rounds, for all alike; `noise` is what ratios vary by."""
    it = Results()
    it.machine, it.settings = {"CPU": "an abacus"}, {"minutes": "0.1", "rounds": str(ROUNDS)}
    chance = random.Random(5)
    for turn in range(ROUNDS):
        slow = 1 + 2 * (turn % 3)
        for key, us in times.items():
            by_chance = 1 + chance.uniform(-noise, noise)
            it.add(Key(*key), Turn(turn, us * slow * by_chance, 50.0, 50.0))
    cases = dict.fromkeys(key[:3] for key in times)
    it.known = {"cores": cores, "contenders": CONTENDERS,
                "chosen": [[*case, "direct"] for case in cases]}
    return it


def facts(cores: int = 2) -> Facts:
    return Facts({"cores": cores, "contenders": CONTENDERS, "chosen": []})


def all_alike(collective: str, ranks: list[int], sizes=SIZES) -> dict:
    """Every contender takes 10 µs."""
    names = [words[1] for words in CONTENDERS if words[0] == collective]
    return {(collective, each, size, name): 10.0
            for each in ranks for size in sizes for name in names}
