"""Every algorithm of every collective does what it is told, and `nothing` does nothing. Usage:
test_algorithms.py bench_algorithms"""

import pathlib
import sys
import unittest

import facts
from programs import Program, Spec

PROGRAM = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else "bench_algorithms").resolve()
KNOWN = facts.Facts({"cores": 2, "contenders": facts.contenders(PROGRAM), "chosen": []})


class Contenders(unittest.TestCase):
    def start(self, ranks: int) -> Program:
        program = Program(Spec("allfold", PROGRAM.name, {}), PROGRAM.parent, ranks)
        self.addCleanup(program.close)
        return program

    def verdicts(self, program: Program, collective: str, size: int) -> dict[str, str]:
        names = KNOWN.named(collective)
        answer = program.order(f"{collective} {size} 0 " + " ".join(f"{it}=1" for it in names))
        return dict(zip(names, answer.split()[::2], strict=True))

    def test_all_results_are_right(self):
        for ranks in (2, 3, 4):
            program = self.start(ranks)
            for collective in KNOWN.collectives():
                for size in (0,) if collective == "barrier" else (8, 1024, 8192, 1 << 20):
                    found = self.verdicts(program, collective, size)
                    idle = found.pop("nothing")
                    with self.subTest(collective=collective, ranks=ranks, size=size):
                        self.assertEqual(set(found.values()), {"right"}, found)
                        self.assertEqual(idle, "right" if collective == "barrier" else "wrong")

    def test_times_are_told(self):
        answer = self.start(2).order("broadcast 4096 2 nothing=10 tree=10 direct=10").split()
        self.assertEqual(len(answer), 6)
        self.assertTrue(all(float(word) > 0 for word in answer), answer)

    def test_an_unknown_contender_is_named(self):
        self.assertIn("unknown", self.start(2).order("gather 8 1 tree=1"))


class Told(unittest.TestCase):
    def test_the_list(self):
        self.assertEqual(len(KNOWN.collectives()), 9)
        self.assertEqual(KNOWN.algorithms("barrier"), ["direct", "dissemination"])
        self.assertEqual(KNOWN.spelling("primary"), "primary<>")
        orders = {name: KNOWN.folds_in_another_order("all_reduce", name)
                  for name in KNOWN.algorithms("all_reduce")}
        self.assertEqual({name for name, other in orders.items() if not other},
                         {"direct", "primary"})

    def test_what_automatic_takes(self):
        found = facts.chosen(PROGRAM, [("all_reduce", 2, 8), ("barrier", 2, 0)])
        self.assertEqual(found, [["all_reduce", 2, 8, "direct"], ["barrier", 2, 0, "direct"]])


if __name__ == "__main__":
    unittest.main(verbosity=2)
