"""Measures a training step by allfold and by PyTorch, and writes what it found. Called by
bench/training."""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))  # for programs that take turns, and their reports

import contenders
import machine
import picture
import summary
from checks import checks
from contenders import Plan
from figures import Figures
from programs import Lost
from rounds import Session

ROOT = HERE.parents[1]
DATA = pathlib.Path("/usr/share/datasets/fashion-mnist")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive")
    return number


def arguments() -> argparse.Namespace:
    plan = Plan()
    it = argparse.ArgumentParser(
        prog="bench/training", epilog="For the script itself: --build FOLDER builds there "
        "(default: build/training), --jobs N compiles so many files at a time.",
        description="Measures a training step on Fashion-MNIST by allfold and by PyTorch, and how "
        "much of it is communication.")
    it.add_argument("--minutes", type=float, help="how long to measure (default: 4; --quick: 0.5)")
    it.add_argument("--rounds", type=_positive, help="so many rounds, however long they take")
    it.add_argument("--quick", action="store_true", help="less time")
    it.add_argument("--ranks", type=_positive, default=plan.ranks,
                    help="beside one (%(default)s)")
    it.add_argument("--batch", type=_positive, default=plan.batch,
                    help="images for each rank, in weak scaling (%(default)s)")
    it.add_argument("--global-batch", type=_positive, default=plan.global_batch,
                    help="images for all ranks together, in strong scaling (%(default)s)")
    it.add_argument("--steps", type=_positive, default=plan.steps,
                    help="in a row; a turn is four times as many (%(default)s)")
    it.add_argument("--data", type=pathlib.Path, default=DATA,
                    help="folder of the four .gz files (%(default)s)")
    it.add_argument("--json", type=pathlib.Path, help="write the figures to this file too")
    it.add_argument("--results", type=pathlib.Path, default=ROOT / "docs/results",
                    help="the folder for training.md, training.json and the picture (docs/results)")
    it.add_argument("--from", dest="source", type=pathlib.Path, metavar="JSON",
                    help="measure nothing: write the report anew from this file")
    it.add_argument("--programs", type=pathlib.Path, help=argparse.SUPPRESS)
    it.add_argument("--without-torch", action="store_true", help="as if PyTorch were missing")
    given = it.parse_args()
    given.minutes = given.minutes or (0.5 if given.quick else 4)
    if given.ranks < 2:
        it.error("--ranks: one rank is always there; beside it there are at least 2")
    if given.global_batch % given.ranks:
        it.error(f"--global-batch: {given.ranks} ranks can't share {given.global_batch} images")
    return given


def run(given: argparse.Namespace, say) -> Figures:
    figures = Figures(Plan(given.ranks, given.batch, given.global_batch, given.steps))
    torch = "" if given.without_torch else contenders.python_with_torch()
    specs = contenders.specs(given.data.resolve(), torch)
    figures.machine = {
        **machine.hardware(),
        "compiler and flags": machine.output(str(given.programs / "bench_training_step"),
                                             "--about"),
        "PyTorch": torch and machine.output(*specs[1].command(given.programs, 1)[:-1], "--about")}
    if not torch:
        specs.pop()
        figures.left_out.append([contenders.TORCH, "it is not installed (python3-torch)"])
        say(f"left out: {': '.join(figures.left_out[-1])}")
    session = Session(figures.plan, specs, given.programs, figures, say)
    try:
        say("measuring")
        begin = time.monotonic()
        figures.rounds = session.measure(given.minutes, given.rounds)
        figures.minutes = round((time.monotonic() - begin) / 60, 1)
        session.collect_work()
    finally:
        session.close()
    return figures


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that programs are ended first

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        figures = Figures.load(given.source) if given.source else run(given, say)
    except Lost as error:
        sys.exit(f"bench/training: {error}")
    given.results.mkdir(parents=True, exist_ok=True)
    figures.save(given.results / "training.json")
    if given.json:
        figures.save(given.json)
    name = picture.draw(figures, given.results)
    (given.results / "training.md").write_text(summary.markdown(figures, name))
    for check in checks(figures):
        say(f"{'yes' if check.holds else 'NO':4}{check.what}: {check.found}")
    say(f"written: {given.results}: training.md, training.json{', ' + name if name else ''}")
    return 0 if all(check.holds for check in checks(figures)) else 1


if __name__ == "__main__":
    sys.exit(main())
