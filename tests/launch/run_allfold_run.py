"""Every promise of allfold-run:

    python3 run_allfold_run.py <allfold-run> [unittest's arguments]
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import unittest

LAUNCHER = None  # set from the command line
LONG = 60  # seconds; only a hang takes so long
QUIET = {name: value for name, value in os.environ.items()
         if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")}


def command(*arguments):
    return [sys.executable, LAUNCHER, *map(str, arguments)]


def run(*arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": LONG, "env": QUIET,
               **options}
    return subprocess.run(command(*arguments), check=False, **options)


def begin(*arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": QUIET, **options}
    return subprocess.Popen(command(*arguments), **options)


def python(text):
    return [sys.executable, "-u", "-c", text]


def wait_until(condition):
    end = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it does not come true")
        time.sleep(0.01)


def state(pid):
    """A letter, or nothing for a process that is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def runs(pid):
    return state(pid) not in ("", "Z", "X")


def children(pid):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


class Launched(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir()
        self.environment = {**QUIET, "TMPDIR": str(self.temporary)}

    def run_ranks(self, *arguments, **options):
        return run(*arguments, **{"env": self.environment, **options})

    def begin_ranks(self, *arguments, **options):
        it = begin(*arguments, **{"env": self.environment, **options})
        self.addCleanup(self.put_away, it)
        return it

    @staticmethod
    def put_away(it):
        it.kill()
        it.communicate()

    def lines(self, *arguments, **options):
        done = self.run_ranks(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return sorted(done.stdout.decode().splitlines())

    def pids(self, name, count):
        """The numbers of processes that ranks write to files that begin with `name`."""
        def found():
            return [int(text) for file in self.folder.glob(name + "*")
                    if (text := file.read_text()).endswith("\n")]
        wait_until(lambda: len(found()) == count)
        return found()

    def note_pid(self, name):
        """For a shell: writes its own number to a file."""
        return f"echo $$ > {shlex.quote(str(self.folder))}/{name}$RANK; "


class Environment(Launched):
    def test_what_each_rank_is_told(self):
        shown = ("$RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT "
                 "$ALLFOLD_JOB $ALLFOLD_RENDEZVOUS $#:$1")
        lines = self.lines("-n", 3, "sh", "-c", f'test -d "$ALLFOLD_RENDEZVOUS" && echo "{shown}"',
                           "it", "-n 7")
        self.assertEqual(len(lines), 3)
        words = [line.split() for line in lines]
        for rank, line in enumerate(words):
            self.assertEqual(line[:5], [f"[{rank}]", str(rank), "3", str(rank), "3"])
            self.assertEqual(line[5], "127.0.0.1")
            self.assertTrue(16384 <= int(line[6]) < 32768)
            self.assertEqual(line[6:], words[0][6:])
            self.assertTrue(re.fullmatch("[0-9a-f]{32}", line[7]))
            self.assertTrue(line[8].startswith(str(self.temporary)))
            self.assertEqual(line[9:], ["1:-n", "7"])
        again = self.lines("-n", 1, "sh", "-c", "echo $ALLFOLD_JOB")
        self.assertNotEqual(again[0].split()[1], words[0][7])

    def test_several_machines(self):
        shown = "$RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT " \
                "$ALLFOLD_JOB -$ALLFOLD_RENDEZVOUS"
        lines = self.lines("-n", 2, "--nodes", 3, "--node-rank", 2, "--address", "node7", "--job",
                           "it", "sh", "-c", f'echo "{shown}"')
        self.assertEqual(lines, ["[4] 4 6 0 2 node7 29500 it -", "[5] 5 6 1 2 node7 29500 it -"])
        lines = self.lines("-n", 1, "--nodes", 2, "--node-rank", 0, "--address", "a", "--job", "b",
                           "--port", 17, "sh", "-c", "echo $MASTER_PORT $WORLD_SIZE")
        self.assertEqual(lines, ["[0] 17 2"])

    def test_of_an_outer_launcher_nothing_is_left(self):
        outer = {**self.environment, "RANK": "7", "WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": "it",
                 "ALLFOLD_JOB": "old", "OTHER": "stays"}
        lines = self.lines("-n", 1, "sh", "-c", "echo $RANK $WORLD_SIZE -$TORCHELASTIC_RUN_ID $OTHER",
                           env=outer)
        self.assertEqual(lines, ["[0] 0 1 - stays"])

    def test_variables(self):
        lines = self.lines("-n", 2, "--env", "A=1 2", "--env", "B=x=y", "--env", "C=", "sh", "-c",
                           'echo "$A,$B,${C-unset}"')
        self.assertEqual(lines, ["[0] 1 2,x=y,", "[1] 1 2,x=y,"])

    def test_standard_input_is_empty(self):
        done = self.run_ranks("-n", 2, "cat", input=b"words\n")
        self.assertEqual((done.returncode, done.stdout), (0, b""))

    def test_binding(self):
        cores = sorted(os.sched_getaffinity(0))
        show = python("import os; print(*sorted(os.sched_getaffinity(0)))")
        everywhere = " ".join(map(str, cores))
        self.assertEqual(self.lines("-n", 1, *show), [f"[0] {everywhere}"])
        ranks = len(cores) + 1
        lines = self.lines("-n", ranks, "--bind", "even", *show)
        self.assertEqual(lines, sorted(f"[{r}] {cores[r % len(cores)]}" for r in range(ranks)))
        self.assertEqual(self.lines("-n", 1, "--bind", "even", *show), [f"[0] {everywhere}"])
        first, last = cores[0], cores[-1]
        lines = self.lines("-n", 3, "--bind", f"{first}:{first},{last}-{last}", *show)
        both = f"{first} {last}" if first != last else f"{first}"
        self.assertEqual(lines, [f"[0] {first}", f"[1] {both}", f"[2] {first}"])


class Output(Launched):
    def test_lines_of_many_ranks_that_write_at_once(self):
        text = """
import os, random
rank = int(os.environ["RANK"])
mine = "".join(f"{target} {i} " + chr(97 + rank) * (i * 7 %% 300) + "\\n" for i in range(1500)
               for target in "%s")
at, dice = 0, random.Random(rank)
while at < len(mine):
    size = dice.choice((1, 3, 50, 1000, 5000))
    os.write(%d, mine[at:at + size].encode())
    at += size
"""
        both = text % ("o", 1) + text % ("e", 2)
        done = self.run_ranks("-n", 8, *python(both))
        self.assertEqual(done.returncode, 0)
        for target, found in (("o", done.stdout), ("e", done.stderr)):
            ranks = [[] for _ in range(8)]
            for line in found.decode().splitlines():
                whole = re.fullmatch(r"\[(\d)\] (.*)", line)
                ranks[int(whole[1])].append(whole[2])
            for rank, lines in enumerate(ranks):
                letter = chr(97 + rank)
                expected = [f"{target} {i} " + letter * (i * 7 % 300) for i in range(1500)]
                self.assertEqual("".join(lines), "".join(expected))
                # All but those in the middle of which a rank had to wait for its core.
                self.assertGreater(len(set(lines) & set(expected)), 1450)

    def test_lines_without_an_end(self):
        done = self.run_ranks("-n", 2, "sh", "-c", 'printf "a\\n\\nb"; printf "c" >&2')
        self.assertEqual(sorted(done.stdout.split(b"\n")),
                         sorted(b"[0] a\n[0] \n[0] b\n[1] a\n[1] \n[1] b\n".split(b"\n")))
        self.assertEqual(sorted(done.stderr.splitlines()), [b"[0] c", b"[1] c"])

    def test_the_beginning_of_a_line_is_not_kept_for_long(self):
        wait = f"while not os.path.exists('{self.folder}/go%d'): time.sleep(0.01)\n"
        it = self.begin_ranks("-n", 1, *python(
            "import os, time\nprint('epoch 1', end=' ')\n" + wait % 1 + "print('done\\nnext')\n"
            "print('whole', end='')\n" + wait % 2 + "print('\\nlast')"))
        self.assertEqual(it.stdout.readline(), b"[0] epoch 1 \n")
        (self.folder / "go1").touch()
        lines = [it.stdout.readline() for _ in range(3)]
        self.assertEqual(lines, [b"[0] done\n", b"[0] next\n", b"[0] whole\n"])
        (self.folder / "go2").touch()
        self.assertEqual(it.stdout.read(), b"[0] last\n")

    def test_any_bytes_and_very_long_lines(self):
        done = self.run_ranks("-n", 1, *python(
            'import os\nos.write(1, bytes(range(256)) + b"\\n")\n'
            'for _ in range(100): os.write(1, b"x" * 5000)\nos.write(1, b"\\n\\r1%\\r2%\\r\\n")'))
        expected = bytes(range(256)).replace(b"\n", b"\n[0] ") + b"\n[0] " + b"x" * 500000
        self.assertEqual(done.stdout, b"[0] " + expected + b"\n[0] \r1%\r2%\r\n")
        done = self.run_ranks("-n", 1, *python(
            'import os\nfor _ in range(30): os.write(1, b"x" * 100000)'))
        self.assertEqual(done.stdout.replace(b"[0] ", b"").replace(b"\n", b""), b"x" * 3000000)

    def test_without_prefix(self):
        done = self.run_ranks("-n", 2, "--no-prefix", "sh", "-c", "echo a; printf b; echo c >&2")
        self.assertEqual(sorted(done.stdout.splitlines()), [b"a", b"a", b"b", b"b"])
        self.assertEqual(done.stderr, b"c\nc\n")

    def test_files(self):
        out = self.folder / "new" / "out"
        for _ in range(2):  # what was there before is gone
            done = self.run_ranks("-n", 2, "--output-dir", out, "sh", "-c",
                                  'echo "out $RANK"; printf "err $RANK" >&2')
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        found = {file.name: file.read_text() for file in out.iterdir()}
        self.assertEqual(found, {"rank0.out": "out 0\n", "rank1.out": "out 1\n",
                                 "rank0.err": "err 0", "rank1.err": "err 1"})
        done = self.run_ranks("-n", 2, "--output-dir", "/proc/none", "true")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"allfold-run: --output-dir: ", done.stderr)

    def test_a_slow_reader_loses_nothing(self):
        it = self.begin_ranks("-n", 2, *python(
            'import os\nfor i in range(40000): os.write(1, b"line %d\\n" % i)'))
        time.sleep(1)
        lines = it.communicate(timeout=LONG)[0].decode().splitlines()
        self.assertEqual([line for line in lines if line.startswith("[1]")],
                         [f"[1] line {i}" for i in range(40000)])
        self.assertEqual(it.returncode, 0)

    def test_output_that_does_not_block(self):
        # As where it is shared with a program that has made it so: a full pipe is no broken one.
        for stream in ("stdout", "stderr"):
            reads, writes = os.pipe()
            os.set_blocking(writes, False)
            it = self.begin_ranks("-n", 1, *python(
                f"import sys\nfor i in range(40000): print('line', i, file=sys.{stream})"),
                **{stream: writes})
            os.close(writes)
            time.sleep(1)
            with open(reads, "rb") as pipe:
                lines = pipe.read().decode().splitlines()
            it.communicate(timeout=LONG)
            self.assertEqual(lines, [f"[0] line {i}" for i in range(40000)])
            self.assertEqual(it.returncode, 0)

    def test_nobody_reads_any_more(self):
        it = self.begin_ranks("-n", 2, *python('while True: print("more")'))
        it.stdout.readline()
        it.stdout.close()
        it.wait(timeout=LONG)
        self.assertEqual(it.returncode, 128 + signal.SIGPIPE)
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_a_process_that_has_left_its_rank_does_not_keep_the_job(self):
        leave = f"import os, time\nos.setsid()\nopen('{self.folder}/left', 'w')" \
                ".write(f'{os.getpid()}\\n')\ntime.sleep(100)"
        wait = f"while ! test -s {self.folder}/left; do sleep 0.01; done"
        start = time.monotonic()
        done = self.run_ranks("-n", 1, "sh", "-c",
                              f"{shlex.join(python(leave))} & {wait}; echo over")
        (left,) = self.pids("left", 1)
        self.addCleanup(os.kill, left, signal.SIGKILL)
        self.assertEqual((done.returncode, done.stdout), (0, b"[0] over\n"))
        self.assertLess(time.monotonic() - start, 20)


class Failure(Launched):
    def test_a_rank_that_fails_ends_all(self):
        start = time.monotonic()
        done = self.run_ranks("-n", 4, "sh", "-c",
                              self.note_pid("pid") + "[ $RANK = 2 ] && sleep 0.3 && exit 7; "
                              "exec sleep 100")
        self.assertEqual(done.returncode, 7)
        pids = {file.name: int(file.read_text()) for file in self.folder.glob("pid*")}
        self.assertRegex(done.stderr.decode(),
                         rf"^allfold-run: rank 2 \(pid {pids['pid2']}\) exited with status 7 after "
                         r"\d+\.\d s; ending ranks 0, 1 and 3\n$")
        self.assertFalse(any(map(runs, pids.values())))
        self.assertLess(time.monotonic() - start, 25)  # SIGTERM was enough
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_a_rank_that_is_killed(self):
        for name in ("KILL", "SEGV", "ABRT"):
            done = self.run_ranks("-n", 2, "sh", "-c",
                                  f"[ $RANK = 1 ] && kill -{name} $$; exec sleep 100")
            self.assertEqual(done.returncode, 128 + signal.Signals[f"SIG{name}"])
            self.assertRegex(done.stderr.decode(), rf"rank 1 \(pid \d+\) was killed by SIG{name} "
                             r"after \d+\.\d s; ending rank 0\n$")
        number = signal.SIGRTMIN + 3
        done = self.run_ranks("-n", 1, "sh", "-c", f"kill -{number} $$")
        self.assertEqual(done.returncode, 128 + number)
        self.assertIn(f"was killed by signal {number} after", done.stderr.decode())

    def test_the_first_failure_counts_though_many_follow_at_once(self):
        # The launcher is stopped while all ranks end, rank 3 first.
        for first in (3, 0):
            go = self.folder / f"go{first}"
            it = self.begin_ranks("-n", 5, "sh", "-c", self.note_pid(f"at{first}.") +
                                  f"while ! test -e {go}$RANK; do sleep 0.01; done; exit 1$RANK")
            pids = self.pids(f"at{first}.", 5)
            os.kill(it.pid, signal.SIGSTOP)
            wait_until(lambda: state(it.pid) == "T")
            for rank in (first, *(rank for rank in range(5) if rank != first)):
                pathlib.Path(f"{go}{rank}").touch()
                pid = int((self.folder / f"at{first}.{rank}").read_text())
                wait_until(lambda pid=pid: not runs(pid))
            os.kill(it.pid, signal.SIGCONT)
            errors = it.communicate(timeout=LONG)[1].decode()
            self.assertEqual(it.returncode, 10 + first)
            self.assertRegex(errors, rf"^allfold-run: rank {first} \(pid \d+\) exited with status "
                             rf"1{first} after .*\n$")
            self.assertFalse(any(map(runs, pids)))

    def test_those_that_are_left_may_go_on(self):
        failing = ("[ $RANK = 2 ] && exit 7; sleep 0.4; [ $RANK = 1 ] && kill -KILL $$; sleep 0.4; "
                   "echo over")
        for options, status in ((("--keep-going",), 7), (("--may-lose", 1), 7),
                                (("--may-lose", 2), 0)):
            done = self.run_ranks("-n", 4, *options, "sh", "-c", failing)
            self.assertEqual(done.returncode, status, options)
            self.assertEqual(sorted(done.stdout.splitlines()), [b"[0] over", b"[3] over"])
            after = r"after \d+\.\d s; "
            self.assertRegex(done.stderr.decode(),
                             r"^allfold-run: rank 2 \(pid \d+\) exited with status 7 " + after +
                             r"ranks 0, 1 and 3 go on\n"
                             r"allfold-run: rank 1 \(pid \d+\) was killed by SIGKILL " + after +
                             r"ranks 0 and 3 go on\n$")

    def test_if_all_fail_it_is_a_failure(self):
        done = self.run_ranks("-n", 2, "--may-lose", 2, "sh", "-c", "sleep 0.$RANK; exit 1$RANK")
        self.assertEqual(done.returncode, 10)
        self.assertIn(b"; rank 1 goes on\n", done.stderr)

    def test_the_time_limit_is_no_loss(self):
        done = self.run_ranks("-n", 3, "--may-lose", 2, "--timeout", 1.5, "sh", "-c",
                              "[ $RANK = 1 ] && exit 7; exec sleep 100")
        self.assertEqual(done.returncode, 124)

    def test_a_lost_rank_leaves_nothing_while_others_go_on(self):
        leave = f"sleep 100 & echo $! > {self.folder}/child; exit 7"
        it = self.begin_ranks("-n", 2, "--keep-going", "sh", "-c",
                              f"[ $RANK = 1 ] && {{ {leave}; }}; "
                              f"while ! test -e {self.folder}/go; do sleep 0.01; done")
        (child,) = self.pids("child", 1)
        wait_until(lambda: not runs(child))
        (self.folder / "go").touch()
        it.communicate(timeout=LONG)
        self.assertEqual(it.returncode, 7)

    def test_grandchildren(self):
        for ending, status in (("exit 0", 0), ("exit 5", 5)):
            done = self.run_ranks(
                "-n", 2, "sh", "-c", f"(trap '' TERM; exec sleep 100) & echo $! > "
                f"{self.folder}/child{status}$RANK; until [ -s {self.folder}/child{status}0 ] && "
                f"[ -s {self.folder}/child{status}1 ]; do sleep 0.01; done; {ending}")
            self.assertEqual(done.returncode, status)
            for pid in self.pids(f"child{status}", 2):
                wait_until(lambda pid=pid: not runs(pid))

    def test_a_rank_that_does_not_listen(self):
        start = time.monotonic()
        done = self.run_ranks(
            "-n", 3, "--grace", 0.7, "sh", "-c",
            "trap '' TERM; " + self.note_pid("pid") +
            f"while [ $(ls {self.folder}/pid* | wc -l) != 3 ]; do sleep 0.01; done; "
            "[ $RANK = 1 ] && exit 9; while true; do sleep 0.1; done")
        self.assertEqual(done.returncode, 9)
        self.assertIn(b"allfold-run: ranks 0 and 2 did not end within 0.7 s of SIGTERM: killed\n",
                      done.stderr)
        self.assertGreater(time.monotonic() - start, 0.7)
        self.assertFalse(any(map(runs, self.pids("pid", 3))))

    def test_a_stopped_rank_is_ended_too(self):
        done = self.run_ranks("-n", 2, "sh", "-c", self.note_pid("pid") +
                              "[ $RANK = 0 ] && kill -STOP $$ && exit 0; "
                              f"while ! test -s {self.folder}/pid0; do sleep 0.01; done; "
                              "sleep 0.3; exit 4")
        self.assertEqual(done.returncode, 4)
        self.assertNotIn(b"did not end", done.stderr)
        self.assertFalse(any(map(runs, self.pids("pid", 2))))

    def test_a_program_that_cannot_be_started(self):
        script = self.folder / "script"
        script.write_text("#!/no/such/interpreter\n")
        script.chmod(0o755)
        plain = self.folder / "plain"
        plain.write_text("no program")
        noise = self.folder / "noise"
        noise.write_bytes(b"\x7fELF no program")
        noise.chmod(0o755)
        for program, status, text in (
                ("/no/such/program", 127, "No such file or directory"),
                ("no-such-program", 127, "No such file or directory"),
                (script, 127, "its first line names a program that is not there"),
                (plain, 126, "Permission denied"), (self.folder, 126, "Permission denied"),
                (noise, 126, "Exec format error")):
            done = self.run_ranks("-n", 3, program)
            self.assertEqual(done.returncode, status, program)
            self.assertIn(f"allfold-run: can't start {program}: ", done.stderr.decode())
            self.assertIn(text, done.stderr.decode())
            self.assertEqual(done.stdout, b"")
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_the_time_limit(self):
        start = time.monotonic()
        done = self.run_ranks("-n", 2, "--timeout", 1.5, "sh", "-c",
                              self.note_pid("pid") + "exec sleep 100")
        self.assertEqual(done.returncode, 124)
        self.assertEqual(done.stderr, b"allfold-run: the time limit of 1.5 s is over\n")
        self.assertGreater(time.monotonic() - start, 1.5)
        for file in self.folder.glob("pid*"):
            self.assertFalse(runs(int(file.read_text() or 0)))


class Signals(Launched):
    HANDLE = """
import os, signal, sys, time
def note(number, _):
    print(signal.Signals(number).name)
    if number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): sys.exit(0)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, note)
print("ready")
while True: time.sleep(1)
"""

    def begin_ready(self, ranks, *arguments, **options):
        it = self.begin_ranks("-n", ranks, *arguments, **options)
        for _ in range(ranks):
            self.assertIn(b"ready", it.stdout.readline())
        return it

    def test_signals_are_passed_on(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            it = self.begin_ready(3, *python(self.HANDLE))
            it.send_signal(signal.SIGUSR1)
            lines = sorted(it.stdout.readline() for _ in range(3))
            self.assertEqual(lines, [b"[%d] SIGUSR1\n" % rank for rank in range(3)])
            it.send_signal(signal.SIGUSR2)
            lines = sorted(it.stdout.readline() for _ in range(3))
            self.assertEqual(lines, [b"[%d] SIGUSR2\n" % rank for rank in range(3)])
            it.send_signal(number)
            out, errors = it.communicate(timeout=LONG)
            name = signal.Signals(number).name.encode()
            self.assertEqual(sorted(out.splitlines()), [b"[%d] %s" % (r, name) for r in range(3)])
            self.assertEqual((it.returncode, errors), (0, b""))
            self.assertEqual(list(self.temporary.iterdir()), [])

    def test_a_rank_that_dies_of_it(self):
        it = self.begin_ready(2, "sh", "-c", "echo ready; exec sleep 100")
        it.send_signal(signal.SIGINT)
        errors = it.communicate(timeout=LONG)[1]
        self.assertEqual(it.returncode, 128 + signal.SIGINT)
        self.assertIn(b"was killed by SIGINT after", errors)

    def test_whom_a_signal_reaches(self):
        # A shell that waits for a child: SIGUSR1 is the shell's, SIGTERM goes to both.
        it = self.begin_ready(1, "sh", "-c", "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; "
                              f"sleep 100 & echo $! > {self.folder}/child; echo ready; "
                              "while true; do wait; done")
        (child,) = self.pids("child", 1)
        it.send_signal(signal.SIGUSR1)
        self.assertEqual(it.stdout.readline(), b"[0] usr1\n")
        time.sleep(0.2)
        self.assertTrue(runs(child))
        it.send_signal(signal.SIGTERM)
        self.assertEqual(it.communicate(timeout=LONG)[0], b"[0] term\n")
        self.assertEqual(it.returncode, 3)
        self.assertFalse(runs(child))

    STUBBORN = ("import signal, time\nsignal.signal(signal.SIGTERM, lambda *_: print('no'))\n"
                "print('ready')\nwhile True: time.sleep(1)")

    def test_the_second_gives_grace_and_the_third_none(self):
        it = self.begin_ready(2, "--grace", 1, *python(self.STUBBORN))
        it.send_signal(signal.SIGTERM)
        self.assertIn(b"no", it.stdout.readline())
        self.assertIn(b"no", it.stdout.readline())
        time.sleep(1.3)
        self.assertIsNone(it.poll())  # the first one only asks
        it.send_signal(signal.SIGTERM)
        errors = it.communicate(timeout=LONG)[1]
        self.assertIn(b"ranks 0 and 1 did not end within 1 s of SIGTERM: killed", errors)
        self.assertEqual(it.returncode, 128 + signal.SIGTERM)

        it = self.begin_ready(2, "--grace", 1000, *python(self.STUBBORN))
        for _ in range(3):
            it.send_signal(signal.SIGTERM)
            time.sleep(0.2)
        errors = it.communicate(timeout=LONG)[1]
        self.assertIn(b"ranks 0 and 1 did not end: killed", errors)
        self.assertEqual(it.returncode, 128 + signal.SIGTERM)

    def test_stop_and_go_on(self):
        it = self.begin_ready(2, "--timeout", 30, *python(
            f"import os, time\nopen(f'{self.folder}/pid{{os.environ[\"RANK\"]}}', 'w')"
            ".write(f'{os.getpid()}\\n')\nprint('ready')\n"
            f"while not os.path.exists('{self.folder}/go'): time.sleep(0.01)\nprint('went on')"))
        pids = self.pids("pid", 2)
        it.send_signal(signal.SIGTSTP)
        for pid in (it.pid, *pids):
            wait_until(lambda pid=pid: state(pid) == "T")
        (self.folder / "go").touch()
        time.sleep(0.3)
        self.assertEqual([state(pid) for pid in pids], ["T", "T"])
        it.send_signal(signal.SIGCONT)
        out = it.communicate(timeout=LONG)[0]
        self.assertEqual(sorted(out.splitlines()), [b"[0] went on", b"[1] went on"])
        self.assertEqual(it.returncode, 0)

    def test_the_time_limit_stands_still_meanwhile(self):
        it = self.begin_ready(1, "--timeout", 4, "sh", "-c", "echo ready; sleep 0.5; echo end")
        it.send_signal(signal.SIGTSTP)
        wait_until(lambda: state(it.pid) == "T")
        time.sleep(4.2)
        it.send_signal(signal.SIGCONT)
        self.assertEqual(it.communicate(timeout=LONG)[0], b"[0] end\n")
        self.assertEqual(it.returncode, 0)

    def test_nohup(self):
        it = self.begin_ready(1, *python(self.HANDLE),
                              preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        it.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        self.assertIsNone(it.poll())
        it.send_signal(signal.SIGTERM)
        self.assertEqual(it.communicate(timeout=LONG)[0], b"[0] SIGTERM\n")

    def begin_to_be_killed(self):
        it = self.begin_ranks(
            "-n", 2, "sh", "-c", self.note_pid("rank") + "trap '' TERM INT HUP; "
            f"sleep 100 & echo $! > {self.folder}/child$RANK; wait")
        ranks = self.pids("rank", 2)
        return it, ranks, self.pids("child", 2)

    def test_the_launcher_is_killed(self):
        it, ranks, grandchildren = self.begin_to_be_killed()
        self.assertEqual(len(list(self.temporary.iterdir())), 1)
        os.kill(it.pid, signal.SIGKILL)
        it.communicate(timeout=LONG)
        for pid in (*ranks, *grandchildren):
            wait_until(lambda pid=pid: not runs(pid))
        wait_until(lambda: not list(self.temporary.iterdir()))

    def test_the_launcher_is_killed_with_the_process_that_watches_it(self):
        it, ranks, grandchildren = self.begin_to_be_killed()
        (watchdog,) = set(children(it.pid)) - set(ranks)
        os.kill(it.pid, signal.SIGSTOP)
        os.kill(watchdog, signal.SIGKILL)
        os.kill(it.pid, signal.SIGKILL)
        it.wait(timeout=LONG)
        for pid in ranks:  # by the system
            wait_until(lambda pid=pid: not runs(pid))
        for pid in grandchildren:  # of these nobody knows
            os.kill(pid, signal.SIGKILL)

    def test_what_watches_the_launcher_is_killed(self):
        go = self.folder / "go"
        it = self.begin_ready(2, "sh", "-c",
                              f"echo ready; while ! test -e {go}; do sleep 0.01; done; echo $RANK")
        own = pathlib.Path(f"/proc/{it.pid}/cmdline").read_text()
        (watches,) = (pid for pid in children(it.pid)  # the only one that is no other program
                      if pathlib.Path(f"/proc/{pid}/cmdline").read_text() == own)
        os.kill(watches, signal.SIGKILL)
        wait_until(lambda: not runs(watches))
        go.touch()
        out, errors = it.communicate(timeout=LONG)
        self.assertEqual((it.returncode, errors), (0, b""))
        self.assertEqual(sorted(out.splitlines()), [b"[0] 0", b"[1] 1"])

    def test_nothing_is_left_of_the_launcher_itself(self):
        it = self.begin_ready(2, "sh", "-c", "echo ready; sleep 0.2")
        known = children(it.pid)
        self.assertEqual(len(known), 3)
        it.communicate(timeout=LONG)
        self.assertFalse(any(map(runs, known)))


class Options(Launched):
    def test_help(self):
        done = run("--help")
        self.assertEqual(done.returncode, 0)
        text = done.stdout.decode()
        for name in ("-n", "--no-prefix", "--output-dir", "--grace", "--keep-going", "--may-lose",
                     "--timeout", "--env", "--bind", "--nodes", "--node-rank", "--address",
                     "--port", "--job", "SIGUSR1", "exit status"):
            self.assertIn(name, text)
        self.assertLessEqual(max(map(len, text.splitlines())), 110)

    def test_what_is_wrong(self):
        core = max(os.sched_getaffinity(0)) + 1
        for arguments, text in (
                ((), "-n"), (("-n", 2), "which program?"), (("true",), "-n"),
                (("-n", 0, "true"), "0: must be 1 or more"), (("-n", "x", "true"), "'x'"),
                (("-n", 1, "--grace", -1, "true"), "-1: must be 0 or more"),
                (("-n", 1, "--grace", "nan", "true"), "nan: must be 0 or more"),
                (("-n", 1, "--may-lose", -1, "true"), "-1: must be 0 or more"),
                (("-n", 1, "--env", "A", "true"), "A: must be NAME=VALUE"),
                (("-n", 1, "--env", "RANK=1", "true"), "RANK is set by allfold-run itself"),
                (("-n", 1, "--bind", "x", "true"), "must be like 0-3,8:4-7, or even"),
                (("-n", 1, "--bind", f"{core}", "true"), f"{core}: there are only the cores "),
                (("-n", 1, "--bind", "1-0", "true"), "1-0: there are only the cores "),
                (("-n", 1, "--port", 65536, "true"), "--port 65536: must be 65535 or less"),
                (("-n", 1, "--nodes", 2, "true"), "--nodes 2 needs --node-rank"),
                (("-n", 1, "--nodes", 2, "--node-rank", 0, "true"), "--nodes 2 needs --address"),
                (("-n", 1, "--nodes", 2, "--node-rank", 0, "--address", "a", "true"),
                 "--nodes 2 needs --job"),
                (("-n", 1, "--node-rank", 1, "true"), "--node-rank 1: must be below --nodes"),
                (("-n", 1, "--unknown", "true"), "--unknown")):
            done = self.run_ranks(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(text, done.stderr.decode(), arguments)
            self.assertEqual(done.stdout, b"")
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_options_of_the_program_are_its_own(self):
        for separator in ((), ("--",)):
            lines = self.lines("-n", 1, *separator, "echo", "-n", "2", "--grace", "--", "x")
            self.assertEqual(lines, ["[0] 2 --grace -- x"])


if __name__ == "__main__":
    LAUNCHER = sys.argv.pop(1)
    unittest.main()
