"""What docs/launching.md says of several machines does start ranks that meet: its lines are run on
two hosts, with other names and numbers. Usage: test_launching.py PROGRAM LAUNCHER: the compiled
payload/meet.cpp; open_mpi, mpich, allfold_run or hand."""

import os
import pathlib
import secrets
import shlex
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))
from launching_page import block, changed

TWO_HOSTS = HERE / "two_hosts"
RUN = HERE.parent.parent / "include/allfold/launch/allfold-run"
SKIPPED = 77
PROGRAM, LAUNCHER = sys.argv[1:]
QUOTED = shlex.quote(PROGRAM)
SECRET = secrets.token_hex(16)


def run(*words) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", TWO_HOSTS, *words], capture_output=True, text=True,
                          timeout=90)


class Launching(unittest.TestCase):
    def assert_ranks(self, outcome, each, launcher, front=""):
        """So many on each host."""
        if outcome.returncode == SKIPPED:
            self.skipTest(outcome.stdout.strip())
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assertEqual(outcome.stdout.splitlines(),
                         [f"{front}rank {rank} of {2 * each}, {rank % each} of {each} "
                          f"on host-{rank // each}, by {launcher}" for rank in range(2 * each)],
                         outcome.stderr)

    def check_mpi(self, mpi, launcher):
        """mpirun and how many ranks are what two_hosts says: all other words are the page's."""
        _, several = block(f"# {launcher}")
        line = changed(several, node1="host-0", program=QUOTED).replace('"$SECRET"', SECRET)
        mpirun, option, _, *words = shlex.split(line)
        self.assertEqual((mpirun, option), ("mpirun", "-n"))
        self.assert_ranks(run("--mpi", mpi, "--", *words), 2, launcher)

    def by_open_mpi(self):
        self.check_mpi("open_mpi", "Open MPI")

    def by_mpich(self):
        self.check_mpi("mpich", "MPICH")

    def on_each(self, first, second, before=""):
        """Runs a line on each host, by a shell that is told nothing else."""
        script = f"{before}\nif [ $(hostname) = host-0 ]; then\n{first}\nelse\n{second}\nfi"
        return run("--ranks-per-host", "1", "--", "env", "-i", f"SECRET={SECRET}",
                   f"PATH={os.environ['PATH']}", "sh", "-ec", script)

    def by_allfold_run(self):
        program = shlex.join([sys.executable, "-B", str(RUN)])
        lines = [changed(it, **{"allfold-run": program}, ranks="2", node1="host-0", program=QUOTED)
                 for it in block("--node-rank 1")]
        self.assert_ranks(self.on_each(*lines), 2, "allfold-run", front="[0] ")

    def by_hand(self):
        export, *_, first, second = block("# by hand")
        lines = [changed(it, node1="host-0", program=QUOTED) for it in (first, second)]
        self.assert_ranks(self.on_each(*lines, before=export), 1, "RANK and WORLD_SIZE")


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=2).run(Launching(f"by_{LAUNCHER}"))
    sys.exit(SKIPPED if result.skipped else not result.wasSuccessful())
