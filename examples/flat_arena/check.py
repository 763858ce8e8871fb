#!/usr/bin/env python3
"""Holds train_ranks against train_one, by what both print: the loss and the norm of the gradient in
every step, and a hash of the trained parameters.

    check.py TRAIN_ONE TRAIN_RANKS

Two ranks with 8 windows each add up the same gradients as one with 16, in another order, so both
round differently: by about 1e-7 of a gradient, which is what a float resolves. AdamW keeps that in
proportion, as it divides by the gradient's own size. What 100 steps make of it is 1e-6 of the loss,
the last digit that is printed; the tolerance leaves room for other compilers. Training with half of
the samples, which is what ranks that do not hear of each other do, differs by a thousand times as
much; and a sum in the place of the mean would not change AdamW's steps, but doubles the norm."""

import os
import re
import subprocess
import sys
import unittest

ONE, RANKS = sys.argv[1:]
TEXT = "/usr/share/common-licenses/GPL-3"
STEPS = 100
LOSS, NORM = 2e-5, 1e-4  # what may differ: absolute, and relative
LINE = re.compile(r"step (\d+)/\d+ \| loss (\S+) \| gradient norm (\S+) \| \S+ ms")


def trained(*command):
    """The losses, the norms and the hash that a training prints."""
    told = subprocess.run([*command, "--text", TEXT, "--steps", str(STEPS)], timeout=120,
                          check=True, capture_output=True, text=True).stdout.splitlines()
    steps = [LINE.fullmatch(line) for line in told[:-1]]
    assert [int(it[1]) for it in steps] == list(range(1, STEPS + 1)), told
    return ([float(it[2]) for it in steps], [float(it[3]) for it in steps],
            re.fullmatch(r"parameters ([0-9a-f]{16})", told[-1])[1])


def farthest(some, others):
    return max(abs(one - other) for one, other in zip(some, others, strict=True))


class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.small = trained(ONE, "--batch", "8")
        cls.large = trained(ONE, "--batch", "16")

    def test_it_learns(self):
        losses = self.large[0]
        self.assertLess(losses[-1], losses[0] - 1)

    def test_one_rank_is_no_ranks_bit_for_bit(self):
        self.assertEqual(trained(RANKS, "--ranks", "1", "--batch", "8"), self.small)

    def test_two_ranks_are_one_with_twice_the_batch(self):
        losses, norms, _ = trained(RANKS, "--ranks", "2", "--batch", "8")
        self.assertLess(farthest(losses, self.large[0]), LOSS)
        relative = [norm / other for norm, other in zip(norms, self.large[1], strict=True)]
        self.assertLess(farthest(relative, [1] * STEPS), NORM)

    def test_the_tolerance_tells_half_of_the_samples_apart(self):
        self.assertGreater(abs(self.small[0][-1] - self.large[0][-1]), 1000 * LOSS)


if __name__ == "__main__":
    if not os.path.exists(TEXT):
        print(f"skipped: there is no {TEXT}, a text that Debian brings along")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1])
