"""Who has a turn when: rounds, in each of which every contender has its turn in every setting."""

from __future__ import annotations

import pathlib
import random
import time

from contenders import ALLFOLD, Case, Plan, engine_of
from figures import Figures, Turn, Work
from programs import Lost, Program, Spec

WAYS = (("together", "apart", "apart", "together"),  # what drifts meanwhile cancels out
        ("apart", "together", "together", "apart"))
HOPS = 2000


class Session:
    """All programs, each with one rank and with several."""

    def __init__(self, plan: Plan, specs: list[Spec], folder: pathlib.Path, figures: Figures,
                 say) -> None:
        self.plan, self.figures, self.say = plan, figures, say
        self.random = random.Random(1)
        self.programs: dict[tuple[str, int], Program] = {}
        try:
            for spec in specs:
                self.start(spec, folder)
        except BaseException:
            self.close()
            raise

    def start(self, spec: Spec, folder: pathlib.Path) -> None:
        for ranks in (1, self.plan.ranks):
            reason = spec.reason_to_leave_out(folder)
            try:
                if not reason:
                    self.programs[spec.name, ranks] = Program(spec, folder, ranks)
                    continue
            except (Lost, OSError) as error:
                reason = str(error)
            self.leave_out(spec.name, reason)
            return

    def leave_out(self, engine: str, reason: str) -> None:
        """Nothing can be compared without the library itself."""
        if engine == ALLFOLD:
            raise Lost(f"{engine}: {reason}")
        for key in [key for key in self.programs if key[0] == engine]:
            self.programs.pop(key).close()
        self.figures.left_out.append([engine, reason])
        self.say(f"left out: {engine}: {reason}")

    def close(self) -> None:
        for program in self.programs.values():
            program.close()
        self.programs.clear()

    def order(self, case: Case, what: str, rest: str = "") -> str:
        """The answer; empty if the program is lost by it."""
        program = self.programs.get((engine_of(case.contender), case.ranks))
        if program is None:
            return ""
        try:
            return program.order(f"{what} {case.contender} {case.batch} {rest}")
        except Lost as error:
            self.leave_out(engine_of(case.contender), f"{error}, at {what} by {case.ranks} ranks")
            return ""

    def turn(self, case: Case, number: int) -> Turn | None:
        ways = self.random.choice(WAYS)
        answer = self.order(case, "turn", f"{self.plan.steps} {' '.join(ways)}").split()
        if not answer:
            return None
        mean = {way: sum(float(us) for us, which in zip(answer, ways) if which == way) / 2
                for way in ways}
        return Turn(number, round(mean["together"], 1), round(mean["apart"], 1))

    def round(self, number: int) -> None:
        cases = self.plan.cases()
        self.random.shuffle(cases)
        for case in cases:
            turn = self.turn(case, number)
            if turn:
                self.figures.add(case, turn)
        program = self.programs[ALLFOLD, self.plan.ranks]
        self.figures.way_ns.append(round(float(program.order(f"way {HOPS}")), 1))

    def measure(self, minutes: float, rounds: int | None) -> int:
        """Rounds until the time is over, or so many; at least one. Returns their number."""
        for case in self.plan.cases():  # what comes into being at the first turn, does so here
            self.turn(case, -1)
        begin = said = time.monotonic()
        done = 0
        while done == 0 or (done < rounds if rounds else time.monotonic() < begin + 60 * minutes):
            self.round(done)
            done += 1
            if time.monotonic() > said + 20:
                said = time.monotonic()
                self.say(f"  {done} rounds in {said - begin:.0f} s")
        return done

    def collect_work(self) -> None:
        """What everybody did, to see that it is the same."""
        for case in self.plan.cases():
            amount = dict(word.split("=") for word in self.order(case, "work").split())
            for way in ("together", "apart") if amount else ():
                steps, early, late, *hashes = self.order(case, "state", way).split()
                self.figures.work.append(Work(
                    case, way, int(amount["parameters"]), int(amount["gradient_bytes"]),
                    int(amount["images"]), int(steps), float(early), float(late), hashes))
