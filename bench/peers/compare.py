"""Runs the comparison and writes what it found. Called by bench/compare."""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys
import time

import machine
import pictures
import programs
import report
import targets
from measure import Plan, Session
from results import Results
from sizes import parse_size

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZES = "8,64,256,1Ki,4Ki,32Ki,256Ki,1Mi,4Mi,16Mi,64Mi,256Mi"
QUICK_SIZES = "8,1Ki,32Ki,1Mi,16Mi,64Mi"
OTHER_SIZES = "8,1Ki,32Ki,1Mi,16Mi"
COLLECTIVES = ("all_reduce", "broadcast", "reduce", "all_gather", "reduce_scatter", "all_to_all",
               "barrier")
FOR_ALL_REDUCE = 0.68  # of the time, where there is something else too


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _sizes(text: str) -> list[int]:
    try:
        return [parse_size(word) for word in _list(text)]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _known(words: list[str], known) -> list[str]:
    unknown = [word for word in words if word not in known]
    if unknown:
        sys.exit(f"bench/compare: unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return words


def arguments() -> argparse.Namespace:
    names = [name for spec in programs.SPECS for name in spec.contenders]
    it = argparse.ArgumentParser(
        prog="bench/compare", description="Lets allfold and its peers do the same work in one run.",
        epilog="Contenders: " + ", ".join(names) + ". For the script itself: --build FOLDER builds "
        "there (default: build/compare), --jobs N compiles so many files at a time.")
    it.add_argument("--minutes", type=float, help="how long to measure (default: 10; --quick: 1.5)")
    it.add_argument("--quick", action="store_true", help="fewer sizes, less time")
    it.add_argument("--ranks", type=_list, default=["2", "4"], help="numbers of ranks")
    it.add_argument("--sizes", type=_sizes, help=f"of all_reduce, in bytes (default: {SIZES})")
    it.add_argument("--contenders", type=_list, help="only these")
    it.add_argument("--collectives", type=_list, default=list(COLLECTIVES), help="only these")
    it.add_argument("--slowed", action="store_true",
                    help=f"also {programs.SLOWED}: slower on purpose, to see that it shows")
    it.add_argument("--json", type=pathlib.Path, help="write the figures to this file too")
    it.add_argument("--results", type=pathlib.Path, default=ROOT / "docs/results",
                    help="the folder for host.md, host.json and the pictures (docs/results)")
    it.add_argument("--from", dest="source", type=pathlib.Path, metavar="JSON",
                    help="measure nothing: write the report anew from this file")
    it.add_argument("--programs", type=pathlib.Path, help=argparse.SUPPRESS)
    given = it.parse_args()
    _known(given.collectives, COLLECTIVES)
    on_demand = {programs.SLOWED} - ({programs.SLOWED} if given.slowed else set())
    given.contenders = (_known(given.contenders, names) if given.contenders
                        else [name for name in names if name not in on_demand])
    given.sizes = given.sizes or _sizes(QUICK_SIZES if given.quick else SIZES)
    given.minutes = given.minutes or (1.5 if given.quick else 10)
    return given


def _plans(given: argparse.Namespace, begin: float, end: float) -> list[Plan]:
    """What to do between two moments."""
    others = [name for name in given.collectives if name != "all_reduce"]
    plans = []
    if "all_reduce" in given.collectives:
        share = FOR_ALL_REDUCE if others else 1.0
        plans.append(Plan("all_reduce", given.sizes, begin + share * (end - begin)))
    first = plans[0].deadline if plans else begin
    for number, name in enumerate(others, 1):
        deadline = first + (end - first) * number / len(others)
        plans.append(Plan(name, [0] if name == "barrier" else _sizes(OTHER_SIZES), deadline))
    return plans


def run(given: argparse.Namespace, say) -> Results:
    results = Results()
    results.machine = machine.describe(given.programs / "bench_peer_allfold")
    say("compiling an include of the library")
    results.compile_seconds = machine.compile_seconds(ROOT / "include")
    rounds = []
    begin = time.monotonic()
    for number, ranks in enumerate(map(int, given.ranks)):
        share = given.minutes * 60 / len(given.ranks)
        say(f"{ranks} ranks")
        session = Session(ranks, list(programs.SPECS), given.programs, set(given.contenders),
                          results, say)
        try:
            for plan in _plans(given, begin + number * share, begin + (number + 1) * share):
                rounds.append(session.measure(plan))
                say(f"  {plan.collective}: {rounds[-1]} rounds")
        finally:
            session.close()
    results.settings = {"minutes": f"{(time.monotonic() - begin) / 60:.1f}",
                        "rounds": f"{min(rounds)} to {max(rounds)}" if rounds else "0"}
    return results


def main() -> int:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that programs are ended first

    def say(text: str) -> None:
        print(text, flush=True)

    results = Results.load(given.source) if given.source else run(given, say)
    given.results.mkdir(parents=True, exist_ok=True)
    results.save(given.results / "host.json")
    if given.json:
        results.save(given.json)
    names = pictures.draw(results, given.results)
    (given.results / "host.md").write_text(report.markdown(results, names))
    for it in targets.targets(results):
        say(f"{it.verdict.replace('*', ''):32}  {it.name}")
    say(f"written: {given.results}: host.md, host.json, {len(names)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
