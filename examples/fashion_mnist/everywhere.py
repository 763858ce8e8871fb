#!/usr/bin/env python3
"""Trains by ranks of every kind and holds the parameters that come out against each other: they
must be the same bits. Pulls the cable between two hosts, and reads what every rank says of it.

    everywhere.py LAUNCHED [openmpi=OVER_MPI] [mpich=OVER_MPI] [no_disconnect=LIBRARY]

LAUNCHED is fashion_mnist_launched, OVER_MPI fashion_mnist_over_mpi compiled with that MPI, LIBRARY
what tests/hosts/payload/no_disconnect.cpp makes, for MPICH. What a launcher needs and is not here
is said to be skipped. With EPOCHS and LIMIT in the environment, so many passes over so many
samples."""

import concurrent.futures
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUN = ROOT / "include/allfold/launch/allfold-run"
HOSTS = ROOT / "tests/hosts"
SKIPPED = 77
LAUNCHED = sys.argv[1]
OVER_MPI = dict(it.split("=", 1) for it in sys.argv[2:])
NO_DISCONNECT = OVER_MPI.pop("no_disconnect", "")
TRAINING = ["--batch", "96", "--limit", os.environ.get("LIMIT", "1000"),
            "--epochs", os.environ.get("EPOCHS", "1")]
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
MPIRUN = {"openmpi": ["mpirun.openmpi", "--oversubscribe", "--bind-to", "none"],
          "mpich": ["mpirun.mpich"]}
NAME_OF = {"openmpi": "open_mpi", "mpich": "mpich"}  # in two_hosts
# In seconds: of ranks; what they may take longer; and what fashion_mnist_over_mpi, which waits when
# it has failed, and the launcher may take to end afterwards.
LIMIT_OF_WAITS, MARGIN, ENDING = 3, 10, 8


def free_port() -> str:
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return str(it.getsockname()[1])


def run(command, **variables) -> subprocess.CompletedProcess:
    return subprocess.run([str(it) for it in command], env={**os.environ, **AS_ROOT, **variables},
                          capture_output=True, text=True, timeout=300)


def late_in(text: str) -> int:
    """The number among all of the rank that `text` says is waited for, or -1. It names a rank of a
    level, and says before what ranks of all that level's ranks are."""
    level, late = {}, -1
    for own, of_all, rank in re.findall(
            r"\(its ranks ([\d, ]+) are ranks ([\d, ]+) of all\)|for rank (\d+), ", text):
        if own:
            level = dict(zip(own.split(", "), of_all.split(", ")))
        else:
            late = int(level.get(rank, -1))
    return late


class Everywhere(unittest.TestCase):
    expected = {}  # by number of ranks: what ranks that are threads come to

    def train(self, command, ranks, **variables):
        """Returns the parameters' hash, and shows the line that it is in."""
        if isinstance(command[0], str) and shutil.which(command[0]) is None:
            self.skipTest(f"there is no {command[0]}")
        outcome = run([*command, *TRAINING], **variables)
        if outcome.returncode == SKIPPED or outcome.stdout.startswith("skipped:"):
            self.skipTest((outcome.stdout + outcome.stderr).strip())
        told = outcome.stdout + outcome.stderr
        self.assertEqual(outcome.returncode, 0, told)
        line = re.search(rf"{ranks} ranks as .* parameters ([0-9a-f]{{16}}) on all ranks", told)
        self.assertTrue(line, told)
        print(f"{line[0]}, {pathlib.Path(str(command[0])).name}", flush=True)
        return line[1]

    def check(self, command, ranks, **variables):
        if ranks not in self.expected:
            self.expected[ranks] = self.train(
                [LAUNCHED, "--ranks-as", "threads", "--ranks", ranks], ranks)
        self.assertEqual(self.train(command, ranks, **variables), self.expected[ranks])

    def test_processes(self):
        for ranks in (2, 3, 4):
            self.check([LAUNCHED, "--ranks-as", "processes", "--ranks", ranks], ranks)

    def test_allfold_run(self):
        for ranks in (2, 4):
            self.check([RUN, "-n", ranks, LAUNCHED, "--ranks-as", "launched"], ranks)

    def test_open_mpi_starts_processes(self):
        for ranks in (2, 4):
            self.check([*MPIRUN["openmpi"], "-n", ranks, LAUNCHED, "--ranks-as", "launched"], ranks)

    def test_mpich_starts_processes(self):
        for ranks in (2, 4):
            self.check([*MPIRUN["mpich"], "-n", ranks, LAUNCHED, "--ranks-as", "launched"], ranks,
                       MASTER_PORT=free_port(), ALLFOLD_JOB="everywhere")

    def test_slurm_starts_processes(self):
        self.check([str(HOSTS / "slurm"), "--timeout", 200, "--", "srun", "--nodes", 1, "--ntasks",
                    2, LAUNCHED, "--ranks-as", "launched"], 2)

    def over_mpi(self, mpi):
        if mpi not in OVER_MPI:
            self.skipTest(f"it was not compiled with {mpi}")
        return OVER_MPI[mpi]

    def check_mpi(self, mpi):
        program = self.over_mpi(mpi)
        # Of two, every order of folding gives the same bits.
        self.check([*MPIRUN[mpi], "-n", 2, program, "--ranks-as", "mpi"], 2)
        self.check([*MPIRUN[mpi], "-n", 4, program, "--ranks-as", "nodes"], 4)

    def test_over_open_mpi(self):
        self.check_mpi("openmpi")

    def test_over_mpich(self):
        self.check_mpi("mpich")

    def on_two_hosts(self, mpi, *options):
        preload = [f"LD_PRELOAD={NO_DISCONNECT}"] if mpi == "mpich" and NO_DISCONNECT else []
        return [sys.executable, "-B", HOSTS / "two_hosts", "--mpi", NAME_OF[mpi], "--timeout", 100,
                *options, "--", "env", *preload]

    def check_hosts(self, mpi):
        program = self.over_mpi(mpi)
        self.check([*self.on_two_hosts(mpi), program, "--ranks-as", "nodes"], 4)

    def test_two_hosts_by_open_mpi(self):
        self.check_hosts("openmpi")

    def test_two_hosts_by_mpich(self):
        self.check_hosts("mpich")

    def pull_cable(self, mpi, folder):
        """While it trains. Returns how it ended, and when that was and when files in `folder` were
        seen to hold something: seconds after it was time to pull."""
        script = ('"$0" "$@" 2>"$FOLDER/$OMPI_COMM_WORLD_RANK$PMI_RANK"; status=$?; '
                  'touch "$FOLDER/over"; exit $status')
        command = [
            *self.on_two_hosts(mpi, "--unplug", folder / "begun", "--plug", folder / "over"),
            f"FOLDER={folder}", "sh", "-c", script, self.over_mpi(mpi), "--ranks-as", "nodes",
            "--batch", 96, "--epochs", 1000, "--timeout", LIMIT_OF_WAITS, "--mark",
            folder / "begun"]
        seen = {}
        with concurrent.futures.ThreadPoolExecutor() as pool:
            running = pool.submit(run, command)
            while not running.done():
                time.sleep(0.02)
                for it in folder.iterdir():
                    if it.name == "begun" or it.stat().st_size > 0:
                        seen.setdefault(it.name, time.monotonic())
        seen["end"] = time.monotonic()
        return running.result(), {it: seen[it] - seen.get("begun", 0) for it in seen}

    def check_cable(self, mpi):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            outcome, seen = self.pull_cable(mpi, folder)
            if outcome.returncode == SKIPPED:
                self.skipTest((outcome.stdout + outcome.stderr).strip())
            said = {int(it.name): it.read_text() for it in folder.glob("[0-9]*")}
        self.assertIn("the cable is pulled", outcome.stderr)
        self.assertNotEqual(outcome.returncode, 0)
        self.assertEqual(sorted(said), [0, 1, 2, 3], outcome.stderr)
        for rank, text in sorted(said.items()):
            taken = seen.get(str(rank), float("inf"))
            print(f"cable pulled, {mpi}: rank {rank}, {taken:.1f} s later: {text.strip()[:600]}",
                  flush=True)
            own = rank // 2
            self.assertIn(f"allfold: rank {rank} of 4 (node {own}, lane {rank % 2})", text)
            self.assertRegex(text, r"waited [3-6]\d\d\d ms")  # up to twice the limit
            self.assertIn(late_in(text), {2 - 2 * own, 3 - 2 * own}, text)
            self.assertLess(taken, LIMIT_OF_WAITS + MARGIN)
        self.assertLess(seen["end"], LIMIT_OF_WAITS + MARGIN + ENDING)

    def test_a_cable_is_pulled_under_open_mpi(self):
        self.check_cable("openmpi")

    def test_a_cable_is_pulled_under_mpich(self):
        self.check_cable("mpich")


if __name__ == "__main__":
    trial = run([LAUNCHED, "--limit", "96", "--epochs", "1", "--batch", "96"])
    if trial.returncode == SKIPPED:
        print(trial.stderr, end="")
        sys.exit(SKIPPED)
    sys.argv[1:] = []
    unittest.main(verbosity=2)
