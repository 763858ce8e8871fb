"""A table as C++ compiles, runs, and decides as it was meant to. Usage: test_header.py COMPILER
INCLUDE_FOLDER"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import header
import made_up
from made_up import SIZES, all_alike, measured
from rules import Rule, decide, table_of

INCLUDE = pathlib.Path(sys.argv.pop() if len(sys.argv) > 2 else "include").resolve()
COMPILER = sys.argv.pop() if len(sys.argv) > 1 else "g++"

PROGRAM = """
#include "my_tuning.hpp"

#include <cstdio>
#include <vector>

using algorithm = allfold::tuned<my_tuning>;

int main() {
  for (int ranks = 2; ranks <= 4; ++ranks)
    for (std::size_t bytes : {SIZES}) {
      const auto print = [](const auto& plan) { std::printf("%s\\n", plan.name.data()); };
      algorithm{}.decide<true>(ranks, bytes, ranks > 2, print);
      algorithm::broadcast{}.decide<true>(ranks, bytes, ranks > 2, print);
    }
  allfold::spawn(3, [](auto& world) {
    std::vector<float> gradient(1 << 16, 1.0f);
    allfold::all_reduce<algorithm>(world, gradient);
    allfold::broadcast<algorithm>(world, gradient);
    allfold::barrier<algorithm>(world);
    if (gradient.back() != 3) throw allfold::usage_error{"a wrong sum"};
  });
}
"""


def table():
    times = {**all_alike("all_reduce", [2, 3, 4]), **all_alike("broadcast", [2, 3, 4]),
             **all_alike("barrier", [2, 3, 4], sizes=(0,))}
    for ranks, sizes, name in ((3, SIZES[2:4], "primary"), (4, SIZES[1:4], "primary")):
        for size in sizes:
            times["all_reduce", ranks, size, name] = 5.0
    for ranks in (2, 3):
        for size in SIZES[5:]:
            times["broadcast", ranks, size, "tree"] = 5.0
            times["broadcast", 4, size, "tree"] = 20.0
    return table_of(measured(times), made_up.facts())


class Headers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def compile(self, rules, program: str) -> str:
        """What the program prints."""
        facts = made_up.facts()
        (self.folder / "my_tuning.hpp").write_text(header.header(rules, facts, {"CPU": "abacus"}))
        (self.folder / "main.cpp").write_text(program)
        subprocess.run([COMPILER, "-std=c++20", "-O0", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                        f"-I{INCLUDE}", "main.cpp", "-pthread", "-o", "main"], cwd=self.folder,
                       check=True)
        return subprocess.run(["./main"], cwd=self.folder, check=True, capture_output=True,
                              text=True).stdout

    def test_it_decides_as_it_was_meant_to(self):
        rules = table()
        sizes = ", ".join(f"{size}ul" for size in SIZES)
        found = self.compile(rules, PROGRAM.replace("SIZES", sizes)).split()
        wanted = [decide(rules[name], ranks, size, ranks > 2) for ranks in (2, 3, 4)
                  for size in SIZES for name in ("all_reduce", "broadcast")]
        self.assertEqual(found, wanted)
        self.assertEqual(set(wanted), {"direct", "primary", "tree"})

    def test_without_rules_it_is_empty(self):
        facts = made_up.facts()
        self.assertEqual(header.table({"barrier": [Rule("direct")]}, facts),
                         "struct my_tuning : allfold::direct_tuning {};\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
