"""The library's own program does what it is told, and a contender that is slowed on purpose comes
out slower: the comparison can fail. Usage: test_contenders.py PROGRAM"""

import pathlib
import statistics
import sys
import unittest

import programs
from measure import takes_part

PROGRAM = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else "bench_peer_allfold")
ALLFOLD = programs.SPECS[0]


class Contenders(unittest.TestCase):
    def start(self, ranks: int) -> programs.Program:
        program = programs.Program(ALLFOLD, PROGRAM.resolve().parent, ranks)
        self.addCleanup(program.close)
        return program

    def test_all_results_are_right(self):
        for ranks in (2, 4):
            program = self.start(ranks)
            for size in (8, 1024, 4096, 1 << 20):
                names = [name for name in ALLFOLD.contenders
                         if takes_part(name, "all_reduce", ranks, size)]
                words = " ".join(f"{name}=1" for name in names)
                answer = program.order(f"all_reduce {size} 0 {words}").split()
                self.assertEqual(answer[::2], ["right"] * len(names), f"{ranks} ranks, {size} B")

    def test_the_other_collectives_are_right(self):
        for ranks in (2, 4):
            program = self.start(ranks)
            for name in ("broadcast", "reduce", "all_gather", "reduce_scatter", "all_to_all",
                         "barrier"):
                for size in (8, 32768):
                    answer = program.order(f"{name} {size} 0 automatic=1").split()
                    self.assertEqual(answer[:1], ["right"], f"{name}, {ranks} ranks, {size} B")

    def test_answers_hold_every_pass_of_every_contender(self):
        answer = self.start(2).order("all_reduce 64 3 direct=10 ring=5").split()
        self.assertEqual(len(answer), 6)
        self.assertTrue(all(float(word) > 0 for word in answer), answer)

    def test_an_unknown_contender_is_named(self):
        answer = self.start(2).order("all_reduce 8 1 fastest=1")
        self.assertIn("unknown", answer)
        self.assertIn("fastest", answer)

    def test_a_slowed_contender_comes_out_slower(self):
        answer = self.start(2).order(f"all_reduce {16 << 20} 21 direct=3 {programs.SLOWED}=3")
        us = [float(word) for word in answer.split()]
        ratio = statistics.median(slowed / direct for direct, slowed in zip(us[::2], us[1::2]))
        self.assertGreater(ratio, 1.0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
