"""An MPI takes the two hosts for two, and a wait of its program ends when the cable is pulled.
Usage: test_mpi.py MPI PROGRAM [PRELOAD]: open_mpi or mpich; payload/mpi_ring.cpp, compiled with it;
and a library that is loaded before PROGRAM's."""

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

TWO_HOSTS = pathlib.Path(__file__).resolve().parent / "two_hosts"
SKIPPED = 77
MPI, PROGRAM, *PRELOAD = sys.argv[1:]
BYTES = 1_000_000


def run(*options, arguments=()) -> subprocess.CompletedProcess:
    preload = [f"LD_PRELOAD={it}" for it in PRELOAD]
    return subprocess.run(
        [sys.executable, "-B", TWO_HOSTS, "--mpi", MPI, *options, "--", "env", *preload, PROGRAM,
         str(BYTES), *arguments], capture_output=True, text=True, timeout=100)


class Mpi(unittest.TestCase):
    def assert_two_hosts(self, outcome):
        self.assertIn("hosts: host-0 host-0 host-1 host-1\n", outcome.stdout, outcome.stderr)

    def test_its_ranks_see_two_hosts_and_talk_over_the_cable(self):
        outcome = run()
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assert_two_hosts(outcome)
        sent = [int(it) for it in re.findall(r"host-\d sent (\d+) bytes", outcome.stderr)]
        self.assertEqual(len(sent), 2)
        for it in sent:  # 1 sends to 2, and 3 to 0; 0 to 1 and 2 to 3 within a host
            self.assertGreater(it, BYTES)
            self.assertLess(it, 1.5 * BYTES)

    def test_all_ranks_give_up_waiting_when_the_cable_is_pulled(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            outcome = run("--unplug", folder / "summing", "--plug", folder / "over",
                          arguments=("2", name))
            saw = {it.name: it.read_text() for it in folder.glob("[0-9]*")}
        self.assert_two_hosts(outcome)
        self.assertIn("the cable is pulled", outcome.stderr)
        self.assertEqual(sorted(saw), ["0", "1", "2", "3"], outcome.stderr)
        for it in saw.values():
            self.assertRegex(it, r"^lost after [1-9]\d* sums$")
        self.assertNotEqual(outcome.returncode, 0)  # 3, but for an mpirun that takes too long


if __name__ == "__main__":
    if not pathlib.Path(PROGRAM).exists():
        print(f"skipped: {PROGRAM} has not been built: there is no compiler of that MPI")
        sys.exit(SKIPPED)
    trial = subprocess.run([sys.executable, "-B", TWO_HOSTS, "--ranks-per-host", "1", "--mpi", MPI,
                            "--", "true"], capture_output=True, text=True)
    if trial.returncode == SKIPPED:
        print(trial.stdout, end="")
        sys.exit(SKIPPED)
    sys.argv[1:] = []
    unittest.main(verbosity=2)
