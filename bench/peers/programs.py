"""The programs under comparison: how they are started, given orders, and kept quiet meanwhile."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import selectors
import shutil
import signal
import subprocess
import tempfile
import time


class Lost(Exception):
    """A program that does not do what it is told any more, and why."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A program, and what its contenders are called: here, and in orders to it."""

    name: str
    executable: str
    contenders: dict[str, str]
    launcher: tuple[str, ...] = ()  # with {ranks} for their number
    environment: tuple[tuple[str, str], ...] = ()
    all_reduce_only: bool = False
    idle: tuple[str, ...] = ()  # contenders that only get ready, so their results are not right
    note: str = ""

    def command(self, folder: pathlib.Path, ranks: int) -> list[str]:
        words = [word.format(ranks=ranks) for word in self.launcher]
        return [*words, str(folder / self.executable), str(ranks)]

    def reason_to_leave_out(self, folder: pathlib.Path) -> str:
        if not (folder / self.executable).exists():
            return "it is not installed, or could not be built"
        if self.launcher and shutil.which(self.launcher[0]) is None:
            return f"there is no {self.launcher[0]}"
        return ""


ALLFOLD = "allfold"
ALGORITHMS = ("direct", "ring", "tree", "halving_doubling", "automatic")
SLOWED = "direct_with_extra_copy"
WITHOUT_CHECKS = "direct_without_checks"
FLOORS = ("zero_copy", "one_hop")

_OPEN_MPI = ("mpirun.openmpi", "--oversubscribe", "--bind-to", "none")
_AS_ROOT = (("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"))
_NO_CMA = ("--mca", "btl_vader_single_copy_mechanism", "none")

SPECS = (
    Spec(ALLFOLD, "bench_peer_allfold",
         {name: name for name in (*ALGORITHMS, SLOWED, WITHOUT_CHECKS, *FLOORS)}),
    Spec("Open MPI", "bench_peer_open_mpi", {"open_mpi": "default"},
         (*_OPEN_MPI, "-n", "{ranks}"), _AS_ROOT,
         note="by default, which copies once, through the kernel (CMA)"),
    Spec("Open MPI", "bench_peer_open_mpi", {"open_mpi_two_copies": "default"},
         (*_OPEN_MPI, *_NO_CMA, "-n", "{ranks}"), _AS_ROOT,
         note="`btl_vader_single_copy_mechanism none`: through shared memory, copied twice"),
    Spec("MPICH", "bench_peer_mpich", {"mpich": "default"}, ("mpirun.mpich", "-n", "{ranks}"),
         note="by default, which copies once, through the kernel (CMA)"),
    Spec("MPICH", "bench_peer_mpich", {"mpich_two_copies": "default"},
         ("mpirun.mpich", "-n", "{ranks}"), (("UCX_TLS", "posix,self"),),
         note="`UCX_TLS=posix,self`: through shared memory, copied twice"),
    Spec("Gloo", "bench_peer_gloo",
         {"gloo_ring": "ring", "gloo_bcube": "bcube", "gloo_halving_doubling": "halving_doubling"},
         all_reduce_only=True, note="over TCP on the loopback device; its ranks are threads"),
)


def family_of(contender: str) -> str:
    """Whose contender it is."""
    for spec in SPECS:
        if contender in spec.contenders:
            return "floor" if contender in FLOORS else spec.name
    return ALLFOLD


class Program:
    """A running program. It is stopped by signals whenever it is not its turn, so that ranks which
    spin while they wait take no core from the others."""

    def __init__(self, spec: Spec, folder: pathlib.Path, ranks: int, patience: float = 60.0):
        self.spec, self.patience = spec, patience
        self._errors = tempfile.TemporaryFile()
        self._rest = b""
        self._process = subprocess.Popen(
            spec.command(folder, ranks), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, env={**os.environ, **dict(spec.environment)})
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._ranks: list[int] = []
        try:
            self._ranks = self._await_ready()
        except BaseException:
            self.close()
            raise
        self._signal(signal.SIGSTOP)

    def order(self, text: str) -> str:
        """Sends a line and waits for the answer. Raises Lost."""
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
            return self._read_line()
        except BrokenPipeError:
            raise Lost(self._last_words()) from None
        finally:
            self._signal(signal.SIGSTOP)

    def close(self) -> None:
        """Ends it: it is told, and only killed if it does not listen."""
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _signal(self, which: signal.Signals) -> None:
        for each in self._ranks:
            try:
                os.kill(each, which)
            except ProcessLookupError:
                pass

    def _await_ready(self) -> list[int]:
        """Its ranks' processes."""
        while True:
            words = self._read_line().split()
            if words[:1] == ["ready"]:
                return [int(word) for word in words[1:]]

    def _read_line(self) -> str:
        until = time.monotonic() + self.patience
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise Lost(f"it has not answered for {self.patience:.0f} s")
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            if not data:
                raise Lost(self._last_words())
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode(errors="replace")

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").split("\n")]
        lines = [line for line in lines if line and set(line) - set("-=*")]
        return "it has ended: " + (lines[0] if lines else "without a word")
