"""Two hosts are what two_hosts says they are, and nothing of them is left, whatever ends them."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TWO_HOSTS = HERE / "two_hosts"
SKIPPED = 77


def run(*words, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", TWO_HOSTS, *map(str, words)], capture_output=True,
                          text=True, timeout=60, **more)


def payload(name: str, *words) -> list[str]:
    return ["--", sys.executable, str(HERE / "payload" / name), *map(str, words)]


def sent(outcome: subprocess.CompletedProcess) -> list[int]:
    """The bytes that host-0 and host-1 have sent over the cable."""
    return [int(it) for it in re.findall(r"host-\d sent (\d+) bytes", outcome.stderr)]


def running(mark: str) -> list[str]:
    """The processes that have `mark` among their arguments."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in entry.read_text().split("\0"):
                found.append(entry.parent.name)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has just ended
    return found


def await_that(condition, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


class Hosts(unittest.TestCase):
    def test_each_is_a_host_of_its_own(self):
        outcome = run(*payload("meet.py"))
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        ranks = [json.loads(line) for line in outcome.stdout.splitlines()]
        self.assertEqual([it["rank"] for it in ranks], [0, 1, 2, 3])
        self.assertEqual([it["host"] for it in ranks], ["host-0", "host-0", "host-1", "host-1"])
        self.assertEqual([it["local_rank"] for it in ranks], [0, 1, 0, 1])
        for it in ranks:
            self.assertEqual((it["size"], it["local_size"]), (4, 2))
            self.assertEqual(it["interfaces"], ["eth0", "lo"])
            self.assertEqual(it["folder"], os.getcwd())
            mates = [mate["rank"] for mate in ranks if mate["host"] == it["host"]]
            self.assertEqual(it["shared"], [f"meet.{rank}" for rank in mates])
        networks = [it["network"] for it in ranks]
        self.assertEqual(networks[0], networks[1])
        self.assertEqual(networks[2], networks[3])
        self.assertEqual(len({networks[0], networks[2], os.readlink("/proc/self/ns/net")}), 3)

    def test_what_is_sent_between_them_passes_the_cable(self):
        little = sent(run("--ranks-per-host", 1, *payload("meet.py")))
        much = sent(run("--ranks-per-host", 1, *payload("meet.py", 1_000_000)))
        self.assertLess(max(little), 50_000)
        self.assertGreater(much[1], 1_000_000)  # by rank 1, to rank 0
        self.assertLess(much[0], 500_000)

    def test_what_is_sent_within_one_does_not(self):
        within = textwrap.dedent("""
            import socket
            server = socket.create_server(("", 5000))
            mine = socket.create_connection((socket.gethostname(), 5000))
            its = server.accept()[0]
            for _ in range(100):
                mine.sendall(b"x" * 10_000)
                its.recv(10_000, socket.MSG_WAITALL)
            """)
        outcome = run("--ranks-per-host", 1, "--", sys.executable, "-c", within)
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assertLess(max(sent(outcome)), 50_000)

    def test_the_cable_can_be_pulled_and_plugged_again(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = run("--ranks-per-host", 1, "--unplug", f"{folder}/ticking",
                          "--plug", f"{folder}/silent", *payload("tick.py", folder))
        self.assertEqual(outcome.returncode, 0, outcome.stderr)
        self.assertEqual(outcome.stdout.split(), ["silent", "again"])
        self.assertRegex(outcome.stderr, r"(?s)cable is pulled after .*cable is plugged after ")

    def test_the_first_failure_is_the_status(self):
        self.assertEqual(run("--", "sh", "-c", "exit $((RANK * 5))").returncode, 5)
        self.assertEqual(run("--", "sh", "-c", "kill -SEGV $$").returncode, 128 + signal.SIGSEGV)
        late = "[ $RANK = 2 ] || sleep 0.5; exit $((RANK + 5))"  # so the first is not rank 0
        self.assertEqual(run("--", "sh", "-c", late).returncode, 7)


class Ends(unittest.TestCase):
    """`sleep` is told a number of seconds that no other process is: its mark."""

    def setUp(self):
        self.mark = f"1{os.getpid()}.{time.monotonic_ns() % 10**6}"

    def start(self) -> subprocess.Popen:
        it = subprocess.Popen([sys.executable, "-B", TWO_HOSTS, "--", "setsid", "sleep", self.mark],
                              stderr=subprocess.DEVNULL)
        self.addCleanup(it.wait)
        self.addCleanup(it.kill)
        # Beside four sleeps, what started the hosts has it among its arguments.
        self.assertTrue(await_that(lambda: len(running(self.mark)) > 4 + 1))
        return it

    def assert_nothing_is_left(self):
        self.assertTrue(await_that(lambda: not running(self.mark)), running(self.mark))

    def test_by_its_time(self):
        begin = time.monotonic()
        outcome = run("--timeout", 0.5, "--", "setsid", "sleep", self.mark)
        self.assertEqual(outcome.returncode, 124)
        self.assertIn("4 of 4 processes still ran after 0.5 s", outcome.stderr)
        self.assertLess(time.monotonic() - begin, 10)
        self.assert_nothing_is_left()

    def test_by_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            it = self.start()
            it.send_signal(number)
            self.assertIn(it.wait(timeout=10), (128 + number, -number))
            self.assert_nothing_is_left()


class Skips(unittest.TestCase):
    def test_where_there_is_no_ip_it_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = run("--", "true", env={**os.environ, "PATH": folder})
        self.assertEqual(outcome.returncode, SKIPPED)
        self.assertIn("skipped: two hosts can't be made: there is no ip", outcome.stdout)


if __name__ == "__main__":
    trial = run("--ranks-per-host", 1, "--", "true")
    if trial.returncode == SKIPPED:
        print(trial.stdout, end="")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
