"""The library's ranks meet over TCP from two hosts, and none waits for ever without the cable.
Usage: test_rendezvous.py PROGRAM: payload/meet.cpp, compiled."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

TWO_HOSTS = pathlib.Path(__file__).resolve().parent / "two_hosts"
SKIPPED = 77
PROGRAM = sys.argv[1] if len(sys.argv) == 2 else "hosts_meet"


def run(*options, arguments=()) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", TWO_HOSTS, *options, "--", PROGRAM, *arguments],
                          capture_output=True, text=True, timeout=90)


class Rendezvous(unittest.TestCase):
    def assert_four_ranks(self, outcome):
        self.assertEqual(outcome.stdout.splitlines(),
                         [f"rank {rank} of 4, {rank % 2} of 2 on host-{rank // 2}, "
                          "by RANK and WORLD_SIZE" for rank in range(4)], outcome.stderr)

    def test_ranks_of_two_hosts_meet(self):
        outcome = run()
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assert_four_ranks(outcome)

    def test_they_meet_though_the_cable_is_plugged_late(self):
        outcome = run("--plug", "1")
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assert_four_ranks(outcome)

    def test_every_rank_gets_an_error_when_the_cable_is_pulled(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            outcome = run("--unplug", folder / "going", arguments=("2", name))
            errors = {it.name: it.read_text() for it in folder.glob("[0-9]*")}
        self.assertEqual(outcome.returncode, 3, outcome.stderr)
        self.assert_four_ranks(outcome)
        self.assertEqual(sorted(errors), ["0", "1", "2", "3"])
        # One of host-1's ranks may have got through, just before the cable was pulled.
        for rank, text in errors.items():
            self.assertIn(f"rank {rank}: exchange #", text)
            self.assertRegex(text, "for (ranks 2 and 3|rank 2|rank 3), which" if rank in "01" else
                             "for rank 0, which")


if __name__ == "__main__":
    for trial in ([PROGRAM], [sys.executable, "-B", TWO_HOSTS, "--", "true"]):
        outcome = subprocess.run(trial, capture_output=True, text=True)
        if outcome.returncode == SKIPPED:
            print(outcome.stdout, end="")
            sys.exit(SKIPPED)
    sys.argv[1:] = []
    unittest.main(verbosity=2)
