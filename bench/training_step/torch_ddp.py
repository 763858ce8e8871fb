"""PyTorch's part of bench/training: DistributedDataParallel over gloo; ranks are processes.

   torch_ddp.py RANKS    waits for the orders of allfold.cpp on its standard input
   torch_ddp.py --about  tells PyTorch's version and what multiplies its matrices

Rank 0 starts the others and hands the orders on to them.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile


def bind(rank: int) -> None:
    """The same core as allfold's rank."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})


def start_others(ranks: int, meeting_point: str) -> list[subprocess.Popen]:
    command = [sys.executable, "-B", __file__, str(ranks), meeting_point]
    return [subprocess.Popen([*command, str(rank)], stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL) for rank in range(1, ranks)]


def serve(rank: int, ranks: int, meeting_point: str, others: list[subprocess.Popen]) -> None:
    """Until the input ends."""
    bind(rank)
    from torch_training import Server  # only here: it starts threads, and they are to be bound too

    server = Server(rank, ranks, meeting_point)
    print("ready", os.getpid(), *(each.pid for each in others), flush=True)
    for line in sys.stdin:
        for each in others:
            each.stdin.write(line.encode())
            each.stdin.flush()
        print(server.carry_out(line.split()), flush=True)
    for each in others:
        each.stdin.close()


def main() -> int:
    ranks, *rest = sys.argv[1:]
    if ranks == "--about":
        from torch_training import about

        print(about())
        return 0
    try:
        if rest:
            serve(int(rest[1]), int(ranks), rest[0], [])
            return 0
        with tempfile.TemporaryDirectory() as folder:
            meeting_point = str(pathlib.Path(folder) / "meeting_point")
            others = start_others(int(ranks), meeting_point)
            serve(0, int(ranks), meeting_point, others)
            return max((each.wait() for each in others), default=0)
    except Exception as error:  # in one line, which ends up in the report
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
