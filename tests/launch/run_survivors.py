"""Ranks that have lost one go on under allfold-run if it lets them:

    python3 run_survivors.py <allfold-run> <survive>
"""

import re
import signal
import subprocess
import sys
import unittest

RUN, SURVIVE = sys.argv[1:3]


def run(*options):
    return subprocess.run([sys.executable, RUN, "-n", "4", *options, SURVIVE], text=True,
                          capture_output=True, timeout=120, check=False)


class Survivors(unittest.TestCase):
    def assert_went_on(self, done):
        ends = sorted(re.findall(r"^\[(\d)\] (\d of \d: \d)$", done.stdout, re.MULTILINE))
        self.assertEqual(ends, [("0", "0 of 3: 3"), ("2", "1 of 3: 3"), ("3", "2 of 3: 3")],
                         done.stderr)
        lost = re.findall(r"^\[(\d)\] .*rank 1 .* was killed|^\[(\d)\] .*rank 1 .* has ended",
                          done.stdout, re.MULTILINE)
        self.assertEqual(len(lost), 3, done.stdout)
        self.assertRegex(done.stderr, r"^allfold-run: rank 1 \(pid \d+\) was killed by SIGKILL "
                         r"after \d+\.\d s; ranks 0, 2 and 3 go on\n$")

    def test_the_loss_is_the_status(self):
        done = run("--keep-going")
        self.assert_went_on(done)
        self.assertEqual(done.returncode, 128 + signal.SIGKILL)

    def test_the_loss_is_allowed(self):
        done = run("--may-lose", "1")
        self.assert_went_on(done)
        self.assertEqual(done.returncode, 0)


if __name__ == "__main__":
    sys.argv[1:] = []
    unittest.main()
