"""Reading and writing: sizes, the JSON, and what the report says of a few canned figures."""

import pathlib
import tempfile
import unittest

import report
import targets
from results import Key, Results, Spread, Turn
from sizes import parse_size, size_name, three_digits

CANNED = {  # contender: (family's numbers in µs, round by round), 2 ranks
    "direct": [10.0, 11.0, 30.0],
    "zero_copy": [10.0, 10.0, 30.0],
    "ring": [50.0, 50.0, 50.0],
    "open_mpi": [40.0, 44.0, 120.0],
    "mpich": [45.0, 50.0, 130.0],
}


def canned() -> Results:
    it = Results()
    it.machine, it.settings = {"CPU": "an abacus"}, {"minutes": "0.1", "rounds": "3"}
    it.left_out, it.compile_seconds = [["gloo_ring", "there is no Gloo"]], [0.9, 0.8, 1.2]
    for name, numbers in CANNED.items():
        for round_number, us in enumerate(numbers):
            it.add(Key("all_reduce", 2, 32 << 10, name), Turn(round_number, us, 60.0, 280.0))
    for round_number, (bare, safe) in enumerate([(0.04, 0.045), (0.05, 0.056), (0.04, 0.044)]):
        it.add(Key("all_reduce", 2, 8, "direct_without_checks"), Turn(round_number, bare, 60, 60))
        it.add(Key("all_reduce", 2, 8, "direct"), Turn(round_number, safe, 60, 60))
    it.add(Key("broadcast", 2, 8, "automatic"), Turn(0, 0.2, 60, 60))
    it.add(Key("broadcast", 2, 8, "mpich"), Turn(0, 0.1, 60, 60))
    return it


def by_name(text: str) -> targets.Target:
    found = [it for it in targets.targets(canned()) if text in it.name]
    assert len(found) == 1, (text, found)
    return found[0]


class Sizes(unittest.TestCase):
    def test_are_read(self):
        self.assertEqual([parse_size(it) for it in ("8", "32Ki", "1MiB", "2Gi", "64B")],
                         [8, 32 << 10, 1 << 20, 2 << 30, 64])
        for wrong in ("", "Ki", "8 apples", "-8", "1.5Ki"):
            with self.assertRaises(ValueError, msg=wrong):
                parse_size(wrong)

    def test_are_written(self):
        self.assertEqual([size_name(it) for it in (0, 8, 1024, 1 << 24)],
                         ["0 B", "8 B", "1 KiB", "16 MiB"])
        self.assertEqual([three_digits(it) for it in (0.1234, 1.234, 12.34, 1234.5, 99.96)],
                         ["0.123", "1.23", "12.3", "1230", "100.0"])


class Figures(unittest.TestCase):
    def test_spread(self):
        self.assertEqual(Spread.of([3.0, 1.0, 2.0]), Spread(2.0, 1.5, 2.5, 3))
        self.assertEqual(Spread.of([7.0]), Spread(7.0, 7.0, 7.0, 1))
        self.assertIsNone(Spread.of([]))

    def test_ratios_are_taken_round_by_round(self):
        key = Key("all_reduce", 2, 32 << 10, "direct")
        ratio = canned().ratio(key, Key("all_reduce", 2, 32 << 10, "zero_copy"))
        self.assertEqual((ratio.median, ratio.high), (1.0, 1.05))

    def test_a_round_that_one_of_them_missed_is_left_out(self):
        it = canned()
        key, floor = (Key("all_reduce", 2, 32 << 10, name) for name in ("direct", "zero_copy"))
        del it.turns[floor][0]
        self.assertEqual(it.ratio(key, floor).number, 2)

    def test_the_best_peer_is_the_fastest(self):
        best = canned().best("all_reduce", 2, 32 << 10, targets.PEERS)
        self.assertEqual(best.contender, "open_mpi")

    def test_json_comes_back(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "host.json"
            canned().save(path)
            again = Results.load(path)
        self.assertEqual(again.turns, canned().turns)
        self.assertEqual(vars(again).keys(), vars(canned()).keys())
        self.assertEqual(report.markdown(again, []), report.markdown(canned(), []))


class Targets(unittest.TestCase):
    def test_reached(self):
        self.assertEqual(by_name("zero-copy floor").verdict, "reached")
        self.assertEqual(by_name("faster than every peer").verdict, "reached")
        self.assertEqual(by_name("compile time").verdict, "reached")
        self.assertEqual(by_name("the checks cost").verdict, "reached")  # 12 %, but 5 ns

    def test_not_reached(self):
        self.assertEqual(by_name("`ring`").verdict, "**not reached** in 1 of 1 cases")

    def test_not_measured(self):
        self.assertEqual(by_name("one-hop floor").verdict, "not measured")
        self.assertEqual(by_name("`tree`").verdict, "not measured")


class Floors(unittest.TestCase):
    def case_with_a_floor_slowed(self, times: float) -> targets.Case:
        it = canned()
        for turn in it.turns[Key("all_reduce", 2, 32 << 10, "zero_copy")]:
            turn.us *= times
        return targets.targets(it)[0].cases[0]

    def test_a_floor_slower_than_the_library_is_called_no_bound(self):
        case = self.case_with_a_floor_slowed(4)
        self.assertTrue(case.reached)
        self.assertIn("no bound", case.measured)

    def test_a_floor_that_the_library_does_not_come_near_is_not_reached(self):
        case = self.case_with_a_floor_slowed(0.5)
        self.assertFalse(case.reached)
        self.assertNotIn("no bound", case.measured)


class Report(unittest.TestCase):
    def test_says_it(self):
        text = report.markdown(canned(), ["host_time_2_ranks.png"])
        for line in (
                "| CPU | an abacus |",
                "| 32 KiB | 1.00 × (1.00 to 1.05) | yes |",
                "| 2 ranks, 32 KiB | 4.00 × (4.00 to 4.00) the speed of `open_mpi` | yes |",
                "| 2 ranks, 32 KiB | 0.88 × (0.84 to 1.64) the speed of `open_mpi` | **no** |",
                "| 8 B | +5.0 ns (+4.5 to +5.5), +12.0 % | yes |",
                "![host_time_2_ranks.png](host_time_2_ranks.png)",
                "- Left out: `gloo_ring`: there is no Gloo.",
                "| broadcast | 2 | 8 B | 0.200 (0.200–0.200) | 0.100 (0.100–0.100) | `mpich` | "
                "**0.500** |"):
            self.assertIn(line, text.split("\n"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
