"""Who trains, by how many ranks, on how many images at a time."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys

from programs import Spec

HERE = pathlib.Path(__file__).resolve().parent
ALLFOLD, TORCH = "allfold", "PyTorch"
STRATEGIES = ("distributed<direct>", "distributed<ring>", "distributed<tree>", "primary_device<>")
DDP = "DDP"
CONTENDERS = (*STRATEGIES, DDP)


def engine_of(contender: str) -> str:
    return TORCH if contender == DDP else ALLFOLD


@dataclasses.dataclass(frozen=True)
class Case:
    """A contender in one of its settings; `batch` is a rank's."""

    contender: str
    ranks: int
    batch: int


@dataclasses.dataclass(frozen=True)
class Plan:
    ranks: int = 2
    batch: int = 64  # of a rank, where the work grows with the ranks
    global_batch: int = 128  # of all ranks together, where it stays
    steps: int = 10  # in a row

    def weak(self, contender: str) -> tuple[Case, Case]:
        """One rank, and all of them with as much for each."""
        return self._alone(contender, self.batch), Case(contender, self.ranks, self.batch)

    def strong(self, contender: str) -> tuple[Case, Case]:
        """One rank, and all of them with as much together."""
        return (self._alone(contender, self.global_batch),
                Case(contender, self.ranks, self.global_batch // self.ranks))

    def cases(self) -> list[Case]:
        every = (case for name in CONTENDERS for case in (*self.weak(name), *self.strong(name)))
        return list(dict.fromkeys(every))

    @staticmethod
    def _alone(contender: str, batch: int) -> Case:
        """With one rank all strategies are the same."""
        first = STRATEGIES[0] if engine_of(contender) == ALLFOLD else contender
        return Case(first, 1, batch)


# ---- their programs ----

def python_with_torch() -> str:
    """Debian's PyTorch is for Debian's python3, which need not be the first on the PATH. Empty if
    there is none."""
    asks = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    for python in (sys.executable, "python3", "/usr/bin/python3"):
        try:
            if subprocess.run([python, "-c", asks], check=False).returncode == 0:
                return python
        except OSError:
            pass
    return ""


def specs(data: pathlib.Path, torch_python: str) -> list[Spec]:
    here = (("FASHION_MNIST", str(data)),)
    one_thread = (("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1"))
    return [
        Spec(ALLFOLD, "bench_training_step", {name: name for name in STRATEGIES}, (), here),
        Spec(TORCH, str(HERE / "torch_ddp.py"), {DDP: DDP}, (torch_python or "python3", "-B"),
             (*here, *one_thread, ("GLOO_SOCKET_IFNAME", "lo"))),
    ]
