"""Jobs of a real Slurm cluster of two hosts: its ranks find each other, a failure is told, and no
daemon is left. Usage: test_slurm.py PROGRAM: payload/meet.cpp, compiled."""

import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from launching_page import block, changed

JOB = HERE.parent.parent / "docs/slurm/train.sbatch"
SLURM = str(HERE / "slurm")
MEET = [str(HERE / "payload/as_torchrun"), sys.executable, str(HERE / "payload/meet.py")]
PROGRAM = sys.argv.pop() if len(sys.argv) > 1 else "hosts_meet"
SKIPPED = 77


def run(*words, **more) -> subprocess.CompletedProcess:
    return subprocess.run([SLURM, *map(str, words)], capture_output=True, text=True, timeout=100,
                          **more)


def daemons(of: str) -> list[str]:
    """The processes that have the folder `of` among their variables, as all of a cluster have."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"SLURM_CONF={of}/slurm.conf" in entry.read_bytes().decode(errors="replace"):
                found.append(entry.parent.name)
        except OSError:
            pass  # it has just ended
    return found


class Slurm(unittest.TestCase):
    def assert_four_ranks_on_two_hosts(self, lines: str, told: str):
        ranks = [json.loads(line) for line in lines.splitlines()]
        self.assertEqual([it["rank"] for it in ranks], [0, 1, 2, 3], told)
        self.assertEqual([it["host"] for it in ranks], ["host-0", "host-0", "host-1", "host-1"])
        self.assertEqual([it["local_rank"] for it in ranks], [0, 1, 0, 1])
        self.assertEqual({(it["size"], it["local_size"]) for it in ranks}, {(4, 2)})

    def test_srun_starts_ranks_that_find_each_other(self):
        outcome = run("--", "srun", "-n", 4, *MEET, 500_000)
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assert_four_ranks_on_two_hosts(outcome.stdout, outcome.stderr)
        sent = [int(it) for it in re.findall(r"host-\d sent (\d+) bytes", outcome.stderr)]
        self.assertGreater(sent[1], 2 * 500_000)  # ranks 2 and 3, to rank 0

    def assert_told(self, outcome, ranks: list):
        if outcome.stdout.startswith("skipped:"):
            self.skipTest(outcome.stdout)
        self.assertEqual(outcome.stdout.splitlines(), [f"{it}, by Slurm" for it in ranks],
                         outcome.stderr)

    def test_the_library_reads_what_slurm_sets(self):
        line, = block("srun -n")
        outcome = run("--", *shlex.split(changed(line, ranks="4", program=shlex.quote(PROGRAM))))
        self.assert_told(outcome, [f"rank {rank} of 4, {rank % 2} of 2 on host-{rank // 2}"
                                   for rank in range(4)])

    def test_it_does_so_where_hosts_have_different_numbers(self):
        outcome = run("--", "srun", "-N", 2, "-n", 3, PROGRAM)
        self.assert_told(outcome, ["rank 0 of 3, 0 of 2 on host-0", "rank 1 of 3, 1 of 2 on host-0",
                                   "rank 2 of 3, 0 of 1 on host-1"])

    def test_sbatch_runs_the_job_of_the_documentation(self):
        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder) / "output"
            outcome = run("--", "sbatch", "--wait", "--output", output, JOB, *MEET)
            self.assertEqual(outcome.returncode, 0, outcome.stderr)
            self.assertIn("Submitted batch job", outcome.stdout)
            self.assert_four_ranks_on_two_hosts(output.read_text(), outcome.stderr)

    def test_a_failed_rank_ends_the_job(self):
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            output = pathlib.Path(folder) / "output"
            outcome = run("--", "sbatch", "--wait", "--output", output, JOB, "sh", "-c",
                          'if [ "$SLURM_PROCID" = 2 ]; then exit 9; else sleep 50; fi')
            self.assertIn("task 2: Exited with exit code 9", output.read_text())
        self.assertEqual(outcome.returncode, 128 + signal.SIGTERM)  # of those that were ended
        self.assertLess(time.monotonic() - begin, 40)

    def test_no_daemon_is_left(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            it = subprocess.Popen(
                [SLURM, "--", "sh", "-c", "echo ${SLURM_CONF%/*}; exec sleep 50"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.addCleanup(it.stdout.close)
            self.addCleanup(it.wait)
            self.addCleanup(it.kill)
            folder = it.stdout.readline().strip()
            self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
            self.assertGreater(len(daemons(folder)), 5)  # munged and slurmd twice, slurmctld, sleep
            it.send_signal(number)
            it.wait(timeout=10)
            until = time.monotonic() + 10
            while daemons(folder) and time.monotonic() < until:
                time.sleep(0.05)
            self.assertEqual(daemons(folder), [])
            if number == signal.SIGTERM:
                self.assertFalse(os.path.exists(folder))


class Skips(unittest.TestCase):
    def test_where_there_is_no_slurm_it_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("bash", "dirname"):
                os.symlink(f"/usr/bin/{name}", f"{folder}/{name}")
            outcome = run("--", "true", env={**os.environ, "PATH": folder})
        self.assertEqual(outcome.returncode, SKIPPED)
        self.assertIn("skipped: there can be no Slurm cluster: there is no munged", outcome.stdout)


if __name__ == "__main__":
    trial = run("--", "true")
    if trial.returncode == SKIPPED:
        print(trial.stdout, end="")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
