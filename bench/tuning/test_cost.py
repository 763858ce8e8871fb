"""The cost model's fit finds the constants that times were made with, and none where there are
none. Usage: test_cost.py bench_cost"""

import pathlib
import random
import subprocess
import sys
import unittest

import extrapolate
from model import CONSTANTS, Point, Predictor, fitted, least_squares

PROGRAM = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else "bench_cost")
KNOWN = (4e-7, 1.5e-7, 3e-8, 2.5e-10, 6e-11)
ALGORITHMS = ("direct", "ring", "tree", "halving_doubling", "primary")


def made_up(predict, ranks=4, seed=None, noise=0.0):
    points = [Point(name, ranks, size) for name in ALGORITHMS
              for size in (8, 256, 1 << 10, 1 << 14, 1 << 18, 1 << 20)]
    chance = random.Random(3)
    seconds = [it * (1 + chance.uniform(-noise, noise)) for it in predict(points, [KNOWN])[0]]
    if seed is not None:
        random.Random(seed).shuffle(seconds)
    return [Point(it.algorithm, it.ranks, it.size, time) for it, time in zip(points, seconds)]


class LeastSquares(unittest.TestCase):
    def test_an_exact_solution(self):
        found = least_squares([[1, 0, 2], [0, 1, 1]], [3, 4, 10])
        self.assertAlmostEqual(found[0], 3)
        self.assertAlmostEqual(found[1], 4)

    def test_nothing_below_zero(self):
        self.assertEqual(least_squares([[1, 1], [0, 1]], [2, 1]), [1.5, 0])
        self.assertEqual(least_squares([[1.0, 1.0]], [-1, -2]), [0])

    def test_a_column_twice(self):
        found = least_squares([[1, 2], [1, 2]], [2, 4])
        self.assertAlmostEqual(sum(found), 2)


class Fits(unittest.TestCase):
    def setUp(self):
        self.predict = Predictor(PROGRAM, cores=2)

    def test_known_constants_are_found(self):
        for ranks in (2, 4):
            found = fitted(made_up(self.predict, ranks), self.predict)
            for name, cost, known in zip(CONSTANTS, found.costs, KNOWN):
                self.assertAlmostEqual(cost / known, 1, places=4, msg=f"{name}, {ranks} ranks")
            self.assertLess(max(found.factors()), 1.0001)

    def test_some_may_be_known(self):
        points = made_up(self.predict)
        wrong = tuple(3 * known for known in KNOWN)
        found = fitted(points, self.predict, (*KNOWN[:3], *wrong[3:]), [3, 4])
        self.assertEqual(found.costs[:3], KNOWN[:3])
        self.assertAlmostEqual(found.costs[3] / KNOWN[3], 1, places=4)
        stuck = fitted(points, self.predict, (*KNOWN[:3], *wrong[3:]), [0])
        self.assertEqual(stuck.costs[1:], (*KNOWN[1:3], *wrong[3:]))
        self.assertGreater(max(stuck.factors()), 2)

    def test_noise_does_little(self):
        found = fitted(made_up(self.predict, noise=0.05), self.predict)
        for name, cost, known in zip(CONSTANTS, found.costs, KNOWN):
            self.assertLess(max(cost / known, known / cost), 2, name)
        self.assertLess(max(found.factors()), 1.1)

    def test_shuffled_times_fit_no_constants(self):
        found = fitted(made_up(self.predict, seed=4), self.predict)
        self.assertGreater(found.median(), 2)
        self.assertGreater(max(abs(cost / known - 1) for cost, known in zip(found.costs, KNOWN)),
                           0.5)


class Predictions(unittest.TestCase):
    def setUp(self):
        self.predict = Predictor(PROGRAM, cores=2)

    def seconds(self, *points):
        return self.predict(list(points), [(0, 1, 0, 0, 0)])[0]  # what counts is hops

    def test_short_messages_go_through_slots(self):
        short, long = self.seconds(Point("direct", 4, 4096), Point("direct", 4, 8192))
        self.assertEqual((short, long), (1, 2))
        self.assertEqual(self.seconds(Point("direct", 4, 4096, pieces=1)), [2])

    def test_how_short_depends_on_the_cores(self):
        many = Predictor(PROGRAM, cores=4)
        self.assertEqual(many([Point("direct", 4, 4096)], [(0, 1, 0, 0, 0)]), [[2]])

    def test_the_others_are_known(self):
        names = [("barrier", "dissemination"), ("all_gather", "ring"), ("broadcast", "tree")]
        found = self.seconds(*(Point(name, 4, 1 << 20, collective=what, pieces=1)
                               for what, name in names))
        self.assertEqual(found, [2, 4, 3])

    def test_nonsense_is_refused(self):
        for line in ("all_reduce fastest 2 8 0 1 1 1 1 1", "all_reduce direct two"):
            done = subprocess.run([PROGRAM], input=line + "\n", capture_output=True, text=True,
                                  check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("bench_cost: ", done.stderr)

    def test_what_is_far_away(self):
        found = extrapolate.predictions(self.predict, [8, 256 << 20], most_ranks=64)
        link = extrapolate.LINKS[0].name
        direct = found[link, "direct", 64, 8]
        self.assertAlmostEqual(direct.seconds, 2 * extrapolate.LINKS[0].costs[1], delta=1e-8)
        self.assertEqual(found[link, "tree", 64, 8].pieces, 1)  # pieces only add hops
        self.assertGreater(found[link, "tree", 64, 256 << 20].pieces, 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
