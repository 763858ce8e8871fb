"""Measures every algorithm, and writes what follows from it. Called by bench/tune."""

from __future__ import annotations

import argparse
import os
import pathlib
import random
import signal
import sys
import time

import drawing
import facts
import header
import machine
import markdown
import targets
import verdicts
from facts import Facts
from findings import Findings
from measure import Session
from model import Predictor
from programs import Spec
from results import Results
from sizes import parse_size

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZES = "8,64,256,1Ki,4Ki,16Ki,64Ki,256Ki,1Mi,4Mi,16Mi"
QUICK_SIZES = "8,1Ki,8Ki,64Ki,1Mi,4Mi"
PROGRAM = "tuning/bench_algorithms"


def _ranks(text: str) -> list[int]:
    ranks = [int(word) for word in text.split(",") if word]
    if not ranks or min(ranks) < 2:
        raise argparse.ArgumentTypeError("numbers of ranks are 2 or more")
    return sorted(set(ranks))


def arguments() -> argparse.Namespace:
    it = argparse.ArgumentParser(
        prog="bench/tune", description="Measures every collective by every algorithm, says whether "
        "`automatic` takes the best, and makes a table of what is.",
        epilog="For the script itself: --build FOLDER builds there (default: build/tune), --jobs N "
        "compiles so many files at a time.")
    it.add_argument("--minutes", type=float, help="how long to measure (default: 6; --quick: 1)")
    it.add_argument("--quick", action="store_true", help="fewer sizes, less time")
    it.add_argument("--ranks", type=_ranks, default=[2, 3, 4],
                    help="numbers of ranks (default: 2,3,4)")
    it.add_argument("--header", type=pathlib.Path, help="write the table to this file, as C++")
    it.add_argument("--any-order", action="store_true",
                    help="let the table have algorithms that fold in another order than that of "
                    "the ranks")
    it.add_argument("--results", type=pathlib.Path, default=ROOT / "docs/results",
                    help="the folder for tuning.md, tuning.json and the pictures (docs/results)")
    it.add_argument("--from", dest="source", type=pathlib.Path, metavar="JSON",
                    help="measure nothing: write the report anew from this file")
    it.add_argument("--programs", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    given = it.parse_args()
    given.minutes = given.minutes or (1 if given.quick else 6)
    return given


# ---- measuring ----


def sizes_of(collective: str, quick: bool) -> list[int]:
    if collective == "barrier":
        return [0]
    return [parse_size(word) for word in (QUICK_SIZES if quick else SIZES).split(",")]


def start(ranks: int, known: Facts, folder: pathlib.Path, results: Results, say) -> Session:
    names = list(dict.fromkeys(it.name for it in known.contenders))
    spec = Spec("allfold", f"../{PROGRAM}", {name: name for name in names}, idle=(facts.NOTHING,))
    session = Session(ranks, [spec], folder / "peers", set(names), results, say,
                      lambda name, collective, ranks, size: name in known.named(collective))
    session.most_passes = 3  # rather more rounds: ratios are taken by them
    return session


def measure(sessions: list[Session], sizes: dict[str, list[int]], deadline: float, say) -> int:
    """Rounds over all cases, each in an order of its own, until the time is over; at least one.
    What is slow has a turn in some rounds only."""
    for session in sessions:
        say(f"trying out {session.ranks} ranks")
        for collective, each in sizes.items():
            session.try_out(collective, each)
        if not session.programs:
            raise SystemExit("bench/tune: there is nothing to measure")
    shuffle = random.Random(1)
    cases = [(session, collective, size) for session in sessions
             for collective, each in sizes.items() for size in each]
    done = 0
    while done == 0 or time.monotonic() < deadline:
        shuffle.shuffle(cases)
        for session, collective, size in cases:
            if done > 0 and time.monotonic() >= deadline:
                break
            session.measure_size(collective, size, done)
        sessions[0].memory(done)
        done += 1
        say(f"round {done}")
    return done


def known_of(program: pathlib.Path, sizes: dict[str, list[int]], ranks: list[int]) -> dict:
    cases = [(collective, number, size) for collective, each in sizes.items()
             for number in ranks for size in each]
    return {"cores": facts.cores(), "contenders": facts.contenders(program),
            "chosen": facts.chosen(program, cases)}


def run(given: argparse.Namespace, say) -> Results:
    program = given.programs / PROGRAM
    begin = time.monotonic()
    results = Results()
    results.machine = {name: value for name, value in machine.describe(program).items()
                       if name not in targets.PEERS}
    results.machine["load before"] = f"{os.getloadavg()[0]:.1f}, mean of a minute"
    collectives = dict.fromkeys(words[0] for words in facts.contenders(program))
    sizes = {name: sizes_of(name, given.quick) for name in collectives}
    results.known = known_of(program, sizes, given.ranks)
    sessions: list[Session] = []
    try:
        for ranks in given.ranks:
            sessions.append(start(ranks, Facts(results.known), given.programs, results, say))
        measure(sessions, sizes, begin + 60 * given.minutes, say)
    finally:
        for session in sessions:
            session.close()
    turns = [len(turns) for key, turns in results.turns.items() if key.collective in sizes]
    results.settings = {"minutes": f"{(time.monotonic() - begin) / 60:.1f}",
                        "rounds": f"{min(turns)} to {max(turns)}"}
    return results


# ---- what follows ----


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that programs are ended first

    def say(text: str) -> None:
        print(text, flush=True)

    results = Results.load(given.source) if given.source else run(given, say)
    given.results.mkdir(parents=True, exist_ok=True)
    results.save(given.results / "tuning.json")
    results = Results.load(given.results / "tuning.json")  # what follows, follows from the file
    predict = Predictor(given.programs / "tuning/bench_cost", results.known["cores"])
    found = Findings.of(results, predict, given.any_order)
    names = drawing.draw(found, given.results)
    (given.results / "tuning.md").write_text(markdown.markdown(found, names))
    if given.header:
        given.header.write_text(header.header(found.table, found.facts, results.machine))
    for collective, cases in {**found.cases, "all": found.every_case()}.items():
        say(f"{collective:15} {verdicts.summary(cases)}")
    say(f"written: {given.results}: tuning.md, tuning.json, {len(names)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
