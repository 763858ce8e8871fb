"""What the cost model says of machines that are not at hand, from what is published of their links.
No figure here is measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from model import Costs, Point

SIZES = (8 << 10, 1 << 20, 256 << 20)
ALGORITHMS = {"direct": (1,), "ring": (1,), "tree": (1, 4, 16, 64), "halving_doubling": (1,)}
MOST_RANKS = 16384


@dataclasses.dataclass(frozen=True)
class Link:
    """What ranks are connected by, and up to how many."""

    name: str
    most_ranks: int
    costs: Costs  # in the order of model.CONSTANTS; what a call takes is left out
    sources: tuple[str, ...]


_H100 = ("folding: as fast as an H100 SXM reads its memory, 3.35 · 10¹² bytes/s (NVIDIA's data "
         "sheet)")

LINKS = (
    Link("NVLink 4", 256, (0, 0.6e-6, 0, 1 / 450e9, 1 / 3.35e12), (
        "450 · 10⁹ bytes/s each way: half of the H100's 900 in both directions together (NVIDIA's "
        "data sheet), through switches, which connect up to 256 GPUs",
        "latency: 0.6 µs, which NCCL takes for a hop of its ring by the low-latency protocol over "
        "NVLink (`src/graph/tuning.cc`, hardware latencies)", _H100)),
    Link("InfiniBand NDR", MOST_RANKS, (0, 2.7e-6, 1 / 330e6, 1 / 50e9, 1 / 3.35e12), (
        "50 · 10⁹ bytes/s each way: 400 Gb/s, a port of a ConnectX-7 for each rank (NVIDIA's data "
        "sheet)",
        "latency: 2.7 µs, which NCCL takes for a hop of its ring by the low-latency protocol over "
        "a network (`src/graph/tuning.cc`, hardware latencies)",
        "330 · 10⁶ messages/s (assumed)", _H100)),
)


@dataclasses.dataclass(frozen=True)
class Prediction:
    seconds: float
    pieces: int


def ranks_of(link: Link, most_ranks: int = MOST_RANKS) -> list[int]:
    """Powers of two."""
    most = min(link.most_ranks, most_ranks)
    return [1 << i for i in range(1, most.bit_length())]


def predictions(predict: Callable, sizes=SIZES, most_ranks: int = MOST_RANKS
                ) -> dict[tuple[str, str, int, int], Prediction]:
    """By link, algorithm, ranks and size: how long an all_reduce takes, in the best number of
    pieces."""
    found = {}
    for link in LINKS:
        points = [Point(name, ranks, size, pieces=pieces)
                  for name, choices in ALGORITHMS.items() for pieces in choices
                  for ranks in ranks_of(link, most_ranks) for size in sizes]
        for point, seconds in zip(points, predict(points, [link.costs])[0]):
            key = (link.name, point.algorithm, point.ranks, point.size)
            if key not in found or seconds < found[key].seconds:
                found[key] = Prediction(seconds, point.pieces)
    return found
