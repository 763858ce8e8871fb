"""What follows from a few canned figures: shares, efficiencies, checks, and what the report says of
them."""

import pathlib
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "peers"))

import summary
from checks import checks
from contenders import DDP, STRATEGIES, Case, Plan
from figures import Figures, Turn, Work

DIRECT, RING, *_ = STRATEGIES
ALONE, ALONE_WITH_ALL = Case(DIRECT, 1, 64), Case(DIRECT, 1, 128)
BOTH, RINGS = Case(DIRECT, 2, 64), Case(RING, 2, 64)
CANNED = {  # µs together and apart, round by round
    ALONE: [(1000, 1000), (2000, 2000), (3000, 3000)],
    ALONE_WITH_ALL: [(2000, 2000), (3800, 3800), (6000, 6000)],
    BOTH: [(1250, 1000), (2500, 2000), (4000, 3000)],
    RINGS: [(2000, 1000), (4000, 2000), (4000, 3000)],
}


def canned() -> Figures:
    it = Figures(Plan())
    it.machine, it.minutes, it.rounds = {"CPU": "an abacus"}, 0.1, 3
    it.left_out, it.way_ns = [["PyTorch", "there is none"]], [50.0, 60.0, 40.0]
    for case, turns in CANNED.items():
        for number, (together, apart) in enumerate(turns):
            it.add(case, Turn(number, together, apart))
        for way, other in (("together", "a"), ("apart", "b")):
            hashes = ["a"] if case.ranks == 1 else ["a", other]
            it.work.append(Work(case, way, 100, 400, 60000, 24, 1.5, 0.5, hashes))
    return it


def failing(all: Figures) -> list[str]:
    return [it.what for it in checks(all) if not it.holds]


class Arithmetic(unittest.TestCase):
    def test_communication_is_the_difference_turn_by_turn(self):
        time, share = canned().communication_us(BOTH), canned().share(BOTH)
        self.assertEqual((time.median, time.low, time.high), (500, 375, 750))
        for found, expected in ((share.median, 0.2), (share.low, 0.2), (share.high, 0.225)):
            self.assertAlmostEqual(found, expected)

    def test_efficiency_is_taken_round_by_round(self):
        weak, strong = canned().weak_efficiency(DIRECT), canned().strong_efficiency(DIRECT)
        self.assertEqual((weak.median, weak.low, weak.high), (0.8, 0.775, 0.8))
        self.assertEqual(strong.median, 0.76)
        it = canned()
        it.turns[BOTH][2].together = 2400  # now the quotient of the medians is 2000 / 2400
        self.assertEqual(it.weak_efficiency(DIRECT).median, 0.8)

    def test_a_strategy_is_set_against_the_one_rank_of_its_engine(self):
        self.assertEqual(canned().weak_efficiency(RING).median, 0.5)
        self.assertEqual(Plan().weak(DDP)[0], Case(DDP, 1, 64))

    def test_a_round_that_one_of_them_missed_is_left_out(self):
        it = canned()
        del it.turns[ALONE][0]
        self.assertEqual(it.weak_efficiency(DIRECT).number, 2)

    def test_what_was_not_measured_has_no_figure(self):
        self.assertIsNone(canned().share(Case(DDP, 2, 64)))
        self.assertIsNone(canned().weak_efficiency(DDP))

    def test_more_communication_is_a_larger_share(self):
        """The negative control: a figure that could not tell them would say nothing."""
        it = canned()
        before = it.share(BOTH).median
        for turn in it.turns[BOTH]:
            turn.together *= 2
        self.assertGreater(it.share(BOTH).median, before + 0.1)
        self.assertLess(it.weak_efficiency(DIRECT).median, 0.5)
        for turn in it.turns[BOTH]:
            turn.together = turn.apart
        self.assertEqual(it.share(BOTH).median, 0)

    def test_settings_that_coincide_are_measured_once(self):
        self.assertEqual(len([case for case in Plan().cases() if case.contender == RING]), 1)
        self.assertEqual(len([case for case in Plan(batch=32).cases() if case.contender == RING]),
                         2)


class Checks(unittest.TestCase):
    def test_hold(self):
        self.assertEqual(failing(canned()), [])

    def check_fails(self, words: str, break_it):
        it = canned()
        break_it({(work.case, work.way): work for work in it.work})
        found = failing(it)
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_other_bits_on_a_rank_are_found(self):
        self.check_fails("hold the same bits",
                         lambda all: all[BOTH, "together"].hashes.__setitem__(1, "c"))

    def test_so_is_a_control_that_can_not_fail(self):
        self.check_fails("trained apart",
                         lambda all: all[BOTH, "apart"].hashes.__setitem__(1, "a"))

    def test_other_parameters_are_found(self):
        self.check_fails("as many parameters",
                         lambda all: setattr(all[RINGS, "apart"], "parameters", 99))

    def test_other_losses_are_found(self):
        self.check_fails("the same losses",
                         lambda all: setattr(all[RINGS, "together"], "early_loss", 1.55))

    def test_a_loss_that_stays_is_found(self):
        self.check_fails("the loss falls",
                         lambda all: setattr(all[RINGS, "together"], "late_loss", 1.5))


class Report(unittest.TestCase):
    def test_says_it(self):
        text = summary.markdown(canned(), "training.png")
        for line in (
                "| CPU | an abacus |",
                "| a cache line's way to the other core | 50 ns (45 to 55), 3 times |",
                "- Left out: PyTorch: there is none.",
                "![training.png](training.png)",
                "Of a step of 2 ranks, 64 images each, communication takes 20.0 % (500 µs) under "
                "`distributed<direct>`.",
                "| `distributed<direct>` | 2 ranks | 64 | 2500 (1880 to 3250) | "
                "2000 (1500 to 2500) | 500 (375 to 750) | 20.0 % (20.0 to 22.5) |",
                "| `distributed<direct>` | 80.0 % (77.5 to 80.0) | 76.0 % (75.5 to 78.0) |",
                "- 64 images each: 2000 to 2000 µs, 0 µs between them.",
                "| `distributed<ring>` | 2 ranks | 64 | 24 | 1.5000 → 0.5000 | 1.5000 → 0.5000 |"):
            self.assertIn(line, text.split("\n"))

    def test_a_slow_blas_is_named(self):
        it = canned()
        self.assertNotIn("no BLAS but the reference", summary.markdown(it, ""))
        it.machine["PyTorch"] = "1.13, matrices multiplied by libblas.so.3.11.0"
        self.assertIn("no BLAS but the reference", summary.markdown(it, ""))

    def test_json_comes_back(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "training.json"
            canned().save(path)
            again = Figures.load(path)
        self.assertEqual(vars(again), vars(canned()))
        self.assertEqual(summary.markdown(again, ""), summary.markdown(canned(), ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
