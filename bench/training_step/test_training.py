"""A run in little, with PyTorch where there is one: the report says what it must, and it fails if
ranks end with different parameters. Usage: test_training.py FOLDER_OF_THE_PROGRAM"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

import training
from contenders import CONTENDERS, DDP, STRATEGIES, python_with_torch
from summary import label

PROGRAMS = pathlib.Path(sys.argv.pop() if len(sys.argv) > 1 else ".").resolve()
SKIPPED = 77


def run(folder: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-B", str(HERE / "training.py"), "--programs", str(PROGRAMS),
         "--results", folder, *options], capture_output=True, text=True, check=False)


class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.done = run(cls.folder.name, "--rounds", "2", "--steps", "4")
        cls.file = pathlib.Path(cls.folder.name) / "training.json"
        cls.text = cls.file.with_suffix(".md").read_text() if cls.file.exists() else ""

    def test_all_checks_hold(self):
        self.assertEqual(self.done.returncode, 0, self.done.stdout + self.done.stderr)
        self.assertEqual(self.text.count("| yes |"), 5)
        self.assertNotIn("**no**", self.text)

    def test_everybody_is_in_the_report(self):
        there = CONTENDERS if python_with_torch() else STRATEGIES
        for name in there:
            for heading in ("Communication", "Scaling", "The same work"):
                part = self.text.split(f"## {heading}")[1].split("## ")[0]
                self.assertIn(f"| {label(name)} |", part, heading)
        for case in json.loads(self.file.read_text())["measured"]:
            self.assertEqual(len(case["turns"]), 2, case)
            self.assertTrue(all(us > 0 for _, *both in case["turns"] for us in both), case)

    def test_without_pytorch_it_says_so(self):
        if python_with_torch():
            with tempfile.TemporaryDirectory() as folder:
                done = run(folder, "--rounds", "1", "--steps", "4", "--without-torch")
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                text = (pathlib.Path(folder) / "training.md").read_text()
        else:
            text = self.text
        self.assertIn("- Left out: PyTorch: it is not installed", text)
        self.assertNotIn(f"| {label(DDP)} |", text)
        self.assertIn(f"| {label(STRATEGIES[0])} |", text)

    def test_ranks_that_differ_fail_it(self):
        """As after training apart: with the hashes of the one in the place of the other."""
        figures = json.loads(self.file.read_text())
        for row in figures["work"]:
            row["way"] = {"together": "apart", "apart": "together"}[row["way"]]
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "swapped.json"
            source.write_text(json.dumps(figures))
            done = run(folder, "--from", str(source))
            text = (pathlib.Path(folder) / "training.md").read_text()
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(text, r"\| ranks that trained together .*\| \*\*no\*\* \|")


if __name__ == "__main__":
    if not (training.DATA / "train-images-idx3-ubyte.gz").exists():
        print(f"skipped: there is no data set in {training.DATA} (dataset-fashion-mnist)")
        sys.exit(SKIPPED)
    if not python_with_torch():
        print("without PyTorch: it is not installed (python3-torch)")
    unittest.main(verbosity=2)
