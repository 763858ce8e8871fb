"""What the report says of a few made-up figures."""

import pathlib
import tempfile
import unittest

import drawing
import markdown
import verdicts
from findings import Findings
from made_up import SIZES, all_alike, measured
from results import Results


def times():
    it = {**all_alike("all_reduce", [2, 4]), **all_alike("broadcast", [2, 4]),
          **all_alike("barrier", [2, 4], sizes=(0,))}
    for ranks in (2, 4):
        for size in SIZES:
            it["all_reduce", ranks, size, "nothing"] = 1.0
            it["broadcast", ranks, size, "tree"] = 20.0
            it["broadcast", ranks, size, "ring"] = 20.0
            for name in ("ring", "primary"):
                it["all_reduce", ranks, size, name] = 20.0
    it["all_reduce", 4, SIZES[3], "ring"] = 5.0
    it["broadcast", 4, SIZES[-1], "tree"] = 8.0
    it["broadcast", 2, SIZES[0], "automatic"] = 12.0
    return it


def predict(points, costs):
    return [[2 * each[1] + point.size * each[3] for point in points] for each in costs]


def findings(all: Results) -> Findings:
    return Findings.of(all, predict, any_order=False)


class Verdicts(unittest.TestCase):
    def setUp(self):
        self.found = findings(measured(times(), noise=0))

    def misses(self, collective):
        return [case for case in self.found.cases[collective] if not case.within]

    def test_each_miss_is_found(self):
        case, = self.misses("all_reduce")
        self.assertEqual((case.at, case.key.contender), ("all_reduce, 4 ranks, 16 KiB", "ring"))
        self.assertEqual((case.ratio.median, case.by_chance), (2, False))
        case = self.misses("broadcast")[1]
        self.assertEqual((case.key.contender, case.ratio.median), ("tree", 1.25))

    def test_the_same_algorithm_is_chance(self):
        self.assertTrue(self.misses("broadcast")[0].by_chance)
        self.assertEqual(max(verdicts.chance(self.found.all, self.found.facts, "broadcast")), 1.2)

    def test_within(self):
        self.assertEqual(self.misses("barrier"), [])
        self.assertEqual(verdicts.summary(self.found.every_case()),
                         "within 5 % in 27 of 30 cases; in 1 of the others it is the fastest "
                         "algorithm itself")

    def test_what_the_table_takes(self):
        self.assertEqual([rule.algorithm for rule in self.found.table["all_reduce"]], ["direct"])
        self.assertEqual([rule.algorithm for rule in self.found.table["broadcast"]],
                         ["tree", "direct"])

    def test_the_model_is_fitted_to_what_nothing_leaves(self):
        fit = self.found.fits[2, "up to 1 MiB"]
        point, = (it for it in fit.points if (it.algorithm, it.size) == ("direct", 8))
        self.assertAlmostEqual(point.seconds, 9e-6 * 3)  # in the median round, which is slow


class Report(unittest.TestCase):
    def test_says_it(self):
        text = markdown.markdown(findings(measured(times(), noise=0)), ["tuning_model.png"])
        for line in (
                "| CPU | an abacus |",
                "| all_reduce | within 5 % in 13 of 14 cases | 2.00 (2.00 to 2.00) |",
                "| all_reduce, 4 ranks, 16 KiB | `direct` | `ring`, which folds in another order "
                "| 2.00 (2.00 to 2.00) |",
                "| broadcast | 14 | 1.00 | 1.00 | 1.20 | 1 |",
                "      allfold::rule<allfold::tree, "
                "allfold::when{.ranks = 4, .from = 512 * 1024, .crowded = true}>,",
                "| 16 KiB | 3.00 | 30.0 | 30.0 | 15.0 | 60.0 | `ring` | `direct` | "
                "2.00 (2.00 to 2.00) | **no** |",
                "![tuning_model.png](tuning_model.png)",
                "## PREDICTION: on links that are not at hand"):
            self.assertIn(line, text.split("\n"))

    def test_json_comes_back(self):
        all = measured(times())
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "tuning.json"
            all.save(path)
            first = Results.load(path)  # with fewer digits
            first.save(path)
            again = Results.load(path)
        self.assertEqual(again.known, all.known)
        self.assertEqual(markdown.markdown(findings(again), []),
                         markdown.markdown(findings(first), []))

    def test_pictures_are_drawn(self):
        with tempfile.TemporaryDirectory() as folder:
            names = drawing.draw(findings(measured(times())), pathlib.Path(folder))
            self.assertEqual({each.name for each in pathlib.Path(folder).iterdir()}, set(names))
        self.assertIn(len(names), (0, 3))  # none without matplotlib


if __name__ == "__main__":
    unittest.main(verbosity=2)
