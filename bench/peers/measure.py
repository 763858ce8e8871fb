"""Who has a turn when: rounds over all sizes, in each of which every program has its turn."""

from __future__ import annotations

import dataclasses
import pathlib
import random
import time

import programs
from programs import Lost, Program, Spec
from results import Key, Results, Turn
from sizes import size_name

BATCH_US = 2500.0  # of calls in a row, by one contender
TURN_US = 300_000.0  # of all passes of a program together, if one pass takes no longer
ROUND_US = 1_500_000.0  # of one size; what takes longer has its turn in every third round
SLOW_US = 2_000_000.0  # of one program at one size; what takes longer, in every sixth round
ONE_HOP_BYTES = 1024
FLOOR_RANKS = (2, 4)


def takes_part(contender: str, collective: str, ranks: int, size: int) -> bool:
    """Whether a contender can do this at all."""
    if contender in programs.FLOORS:
        fits = contender != "one_hop" or size <= ONE_HOP_BYTES
        return collective == "all_reduce" and ranks in FLOOR_RANKS and fits
    if contender == programs.WITHOUT_CHECKS:
        return collective == "all_reduce" and size <= ONE_HOP_BYTES
    named = contender in programs.ALGORITHMS and contender != "automatic"
    return collective == "all_reduce" or not (named or contender == programs.SLOWED)


@dataclasses.dataclass
class Plan:
    """A collective's sizes, and when to be done with it."""

    collective: str
    sizes: list[int]
    deadline: float  # of time.monotonic()


class Session:
    """All programs with one number of ranks."""

    most_passes = 5  # in a turn

    def __init__(self, ranks: int, specs: list[Spec], folder: pathlib.Path, wanted: set[str],
                 results: Results, say, takes_part=takes_part) -> None:
        self.ranks, self.wanted, self.results, self.say = ranks, wanted, results, say
        self.takes_part = takes_part
        self.estimates: dict[Key, float] = {}  # µs
        self.shuffle = random.Random(2)
        self.programs: list[Program] = []
        allfold = next(spec for spec in programs.SPECS if spec.name == programs.ALLFOLD)
        self.meter = Program(allfold, folder, 2)
        try:
            for spec in specs:
                if wanted & set(spec.contenders):
                    self.start(spec, folder)
        except BaseException:
            self.close()
            raise

    def start(self, spec: Spec, folder: pathlib.Path) -> None:
        reason = spec.reason_to_leave_out(folder)
        try:
            if not reason:
                self.programs.append(Program(spec, folder, self.ranks))
        except (Lost, OSError) as error:
            reason = str(error)
        if reason:
            self.leave_out(spec, reason)

    def close(self) -> None:
        for program in [*self.programs, self.meter]:
            program.close()

    def leave_out(self, spec: Spec, reason: str) -> None:
        for name in spec.contenders:
            entry = [name, reason]
            if entry not in self.results.left_out:
                self.results.left_out.append(entry)
                self.say(f"left out: {name}: {reason}")

    # ---- one program's turn ----

    def contenders(self, program: Program, collective: str, size: int) -> list[Key]:
        if program.spec.all_reduce_only and collective != "all_reduce":
            return []
        return [Key(collective, self.ranks, size, name) for name in program.spec.contenders
                if name in self.wanted and self.takes_part(name, collective, self.ranks, size)]

    def iterations(self, key: Key) -> int:
        return max(1, min(100_000, int(BATCH_US / self.estimates[key])))

    def pass_us(self, keys: list[Key]) -> float:
        """What a pass will take, with the calls that warm up."""
        return sum(self.estimates[key] * (self.iterations(key) * 1.1 + 1) for key in keys)

    def passes(self, keys: list[Key]) -> int:
        return max(1, min(self.most_passes, int(TURN_US / self.pass_us(keys))))

    def order(self, program: Program, keys: list[Key], passes: int) -> list[list[float]] | None:
        """The µs of a call, by contender and pass; none if the program is lost by it."""
        words = [f"{program.spec.contenders[key.contender]}={self.iterations(key)}" for key in keys]
        text = f"{keys[0].collective} {keys[0].size} {passes} {' '.join(words)}"
        try:
            answer = program.order(text)
            numbers = [float(word) for word in answer.split()]
            if len(numbers) != passes * len(keys):
                raise Lost(f"it answers {answer!r}")
        except (Lost, ValueError) as error:
            self.lose(program, f"{error}, at {text!r}")
            return None
        found = [sorted(numbers[i::len(keys)]) for i in range(len(keys))]
        for key, us in zip(keys, found):
            self.estimates[key] = max(us[len(us) // 2], 1e-3)
        return found

    def lose(self, program: Program, why: str) -> None:
        self.programs.remove(program)
        self.leave_out(program.spec, why)
        program.close()

    def turn(self, program: Program, round_number: int, keys: list[Key]) -> None:
        keys = self.shuffle.sample(keys, len(keys))  # nobody is always first, or behind the same
        before = self.way_ns()
        found = self.order(program, keys, self.passes(keys))
        if found is None:
            return
        after = self.way_ns()
        for key, us in zip(keys, found):
            self.results.add(key, Turn(round_number, us[len(us) // 2], before, after))

    def way_ns(self) -> float:
        """Of a cache line from one core to the other; on virtual cores it changes by the second."""
        return 1000 * float(self.meter.order("machine 8 1 ping_pong=2000"))

    def memory(self, round_number: int) -> None:
        """How fast both cores together copy and read what does not fit the caches."""
        size = 64 << 20
        before = self.way_ns()
        copy, triad = (float(word) for word in
                       self.meter.order(f"machine {size} 1 copy_memory=3 triad=3").split())
        after = self.way_ns()
        for name, us in (("copy_memory", copy), ("triad", triad)):
            self.results.add(Key("machine", 2, size, name), Turn(round_number, us, before, after))

    # ---- all of them ----

    def try_out(self, collective: str, sizes: list[int]) -> None:
        """Each contender once with numbers whose result is known, then a first measurement: it says
        how many calls fill a batch."""
        for program in list(self.programs):
            for size in sizes:
                keys = self.contenders(program, collective, size)
                if not keys or program not in self.programs:
                    continue
                words = [f"{program.spec.contenders[key.contender]}=1" for key in keys]
                try:
                    answer = program.order(f"{collective} {size} 0 {' '.join(words)}").split()
                except Lost as error:
                    self.lose(program, f"{error}, at {collective} of {size_name(size)}")
                    continue
                verdicts = ["right" if key.contender in program.spec.idle else word
                            for key, word in zip(keys, answer[::2])]
                if verdicts != ["right"] * len(keys):
                    self.lose(program, f"a wrong result: {' '.join(answer)}")
                    continue
                self.estimates.update(zip(keys, (float(us) for us in answer[1::2])))
                for _ in range(2 if max(map(self.estimates.get, keys)) < BATCH_US else 0):
                    if program in self.programs:
                        self.order(program, keys, 1)

    def measure(self, plan: Plan, seed: int = 1) -> int:
        """Rounds until the time is over, at least one. Returns their number."""
        self.try_out(plan.collective, plan.sizes)
        order = random.Random(seed)
        done = 0
        while done == 0 or time.monotonic() < plan.deadline:
            sizes = list(plan.sizes)
            order.shuffle(sizes)
            for size in sizes:
                if done > 0 and time.monotonic() >= plan.deadline:
                    break
                self.measure_size(plan.collective, size, done)
            if plan.collective == "all_reduce" and self.ranks == 2:
                self.memory(done)
            done += 1
        return done

    def measure_size(self, collective: str, size: int, round_number: int) -> None:
        turns = [(program, self.contenders(program, collective, size)) for program in self.programs]
        turns = [(program, keys) for program, keys in turns if keys]
        costs = [self.passes(keys) * self.pass_us(keys) for _, keys in turns]
        if sum(costs) > ROUND_US and round_number % 3 != 0:
            return
        turns = [turn for turn, cost in zip(turns, costs)
                 if cost <= SLOW_US or round_number % 6 == 0]
        first = round_number % max(1, len(turns))
        for program, keys in turns[first:] + turns[:first]:
            if program in self.programs:
                self.turn(program, round_number, keys)
