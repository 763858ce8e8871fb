#!/usr/bin/env python3
"""Reads what bench_collectives prints by the rules that parsers of nccl-tests' output go by.

usage: read_table.py PROGRAM

Two published parsers differ in what they rely on, and their rules are checked here:
 - SuperBench (microsoft/superbenchmark, cuda_nccl_bw_performance.py) takes the lines between the last
   one with "out-of-place" and the one with "Out of bounds values", finds "size" in the line of names,
   and counts time, algbw and busbw from that line's end.
 - awslabs' converter to CSV wants thirteen columns: size, count, a type, an operation, a root, and
   twice three numbers with an integer or N/A behind them; and "# Avg bus bandwidth : number".
Also checked: nothing is counted as wrong, the factors of busbw, the average, JSON, and the errors.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

RANKS = 3
FOLDS = {"all_reduce": 6, "reduce": 5, "reduce_scatter": 3}
MOVES = {"broadcast": 4, "all_gather": 3, "scatter": 2, "gather": 2, "all_to_all": 2, "barrier": 3}
FACTORS = {"all_reduce": 2 * (RANKS - 1) / RANKS, "reduce": 1, "broadcast": 1}
NAMES = ("size count type redop root time algbw busbw #wrong time algbw busbw #wrong").split()
FORM = re.compile(
    r"(\d+) +(\d+) +(\w+) +(\w+) +(-?\d+)" + 2 * r" +(\d+\.?\d*) +(\d+\.?\d*) +(\d+\.?\d*) +(\d+|N/A)"
)


def run(program, *words, status=0):
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=60)
    if done.returncode != status:
        sys.exit(f"{words}: exit status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done.stdout if status == 0 else done.stderr


def check(holds, what):
    if not holds:
        sys.exit(f"failed: {what}")


def tables(text):
    """(collective, text) of each table."""
    parts = re.split(r"^# Collective test starting: (\w+)$", text, flags=re.M)[1:]
    return list(zip(parts[::2], parts[1::2]))


def read_from_the_end(text, in_place):
    """size: (time, algbw, busbw) of the last table, by names whose places are counted from the end."""
    lines = text.splitlines()
    begin = max(i for i, line in enumerate(lines) if "out-of-place" in line)
    end = max(i for i, line in enumerate(lines) if "Out of bounds values" in line)
    lines = lines[begin + 1 : end]
    names = next(line for line in lines if "time" in line and "busbw" in line)[1:].split()
    places = {}
    for name in ("time", "algbw", "busbw"):
        found = [i for i, each in enumerate(names) if each == name]
        places[name] = found[-1 if in_place else 0] - len(names)
    rows = [line.split() for line in lines if re.match(r" *\d", line)]
    return {
        int(row[names.index("size")]): tuple(float(row[places[name]]) for name in places)
        for row in rows
    }


def read_by_columns(text):
    """The thirteen columns of each row, and the average bus bandwidth."""
    rows = [FORM.fullmatch(line.strip()) for line in text.splitlines() if re.match(r" *\d", line)]
    check(rows and all(rows), "every row has the form of thirteen columns")
    average = re.search(r"# Avg bus bandwidth\s*:\s*(\d+\.?\d*)", text)
    check(average, "the average is there")
    return [row.groups() for row in rows], float(average.group(1))


def check_table(collective, text):
    check(re.search(r"^# nThread \d+ nGpus \d+ minBytes \d+ maxBytes \d+ step: ", text, re.M), "head")
    check(re.search(r"^# Out of bounds values : 0 OK$", text, re.M), "the closing line says OK")
    lines = text.splitlines()
    names = next(line for line in lines if "busbw" in line)
    check(names[1:].split() == NAMES, f"the columns' names: {names}")
    rows, average = read_by_columns(text)
    for line in lines:
        if re.match(r" *\d", line):
            check(len(line) == len(names), f"{line!r} is as wide as the names of its columns")
    out_of_place, in_place = read_from_the_end(text, False), read_from_the_end(text, True)
    busbw = []
    for size, count, kind, redop, root, *figures in rows:
        check(figures[3] == figures[7] == "0", f"{collective}: nothing is wrong in {figures}")
        for half, read in (figures[:3], out_of_place), (figures[4:7], in_place):
            check(tuple(map(float, half)) == read[int(size)], "both parsers read the same")
            algorithm, bus = float(half[1]), float(half[2])
            factor = FACTORS.get(collective, (RANKS - 1) / RANKS)
            check(abs(bus - factor * algorithm) < 0.011 + 0.005 * factor, f"{collective}'s factor")
            busbw.append(bus)
        check((redop == "none") == (collective not in FOLDS), "redop")
        rooted = collective in ("reduce", "broadcast", "scatter", "gather")
        check(root == ("0" if rooted else "-1"), "root")
        if kind != "none":
            parts = collective in ("reduce_scatter", "all_gather", "scatter", "gather", "all_to_all")
            check(int(size) == int(count) * 4 * (RANKS if parts else 1), "size and count")
    check(abs(average - sum(busbw) / len(busbw)) < 0.006, "the average is that of the column")


def check_everything(program):
    common = ["-t", str(RANKS), "-n", "2", "-w", "1", "-c", "1"]
    text = run(program, "all", "--algorithm", "all", "-b", "24", "-e", "120K", "-f", "70", *common)
    found = {}
    for collective, table in tables(text):
        found[collective] = found.get(collective, 0) + 1
        check_table(collective, table)
    check(found == {**FOLDS, **MOVES}, f"a table for every algorithm of every collective: {found}")

    every = ["-b", "1.5K", "-e", "1.5K", *common]
    text = run(program, "all_reduce", "-d", "all", "-o", "all", "--algorithm", "ring", *every)
    rows, _ = read_by_columns(text)
    check(len({(row[2], row[3]) for row in rows}) == 50, "ten types and five operations")
    check(all(row[0] == "1536" and row[8] == row[12] == "0" for row in rows), "1.5K, nothing wrong")


def check_options(program):
    row = run(program, "-b", "64", "-e", "64", "-n", "1", "-c", "0").splitlines()
    row = next(line for line in row if re.match(r" *\d", line)).split()
    check(row[8] == row[12] == "N/A", "-c 0 checks nothing, and says so")
    steps = run(program, "broadcast", "-b", "0", "-e", "64", "-i", "16", "-n", "1", "-r", "all", "-t2")
    sizes = [line.split()[0] for line in steps.splitlines() if re.match(r" *\d", line)]
    check(sizes == ["0", "16", "32", "48", "64"] * 2, f"-i and -r all: {sizes}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "figures.json")
        words = ["-b", "64", "-e", "128", "-n", "3", "--statistics", "--json", path]
        text = run(program, *words)
        rows = [line.split() for line in text.splitlines() if re.match(r" *\d", line)]
        check([len(row) for row in rows] == [19, 19], "--statistics adds three columns to each half")
        with open(path, encoding="utf-8") as file:
            figures = json.load(file)
        check([row["bytes"] for row in figures["rows"]] == [64, 128], "JSON has the rows")
        half = figures["rows"][0]["in_place"]
        check(half["wrong"] == 0 and half["calls"] == 3 and half["batches"] == 100, "and settings")
        check(0 < half["minimum_us"] <= half["median_us"] <= half["p99_us"], "and statistics")


def check_errors(program):
    for words, text in (
        (["scatter", "--algorithm", "ring"], "no algorithm for scatter 'ring'; there is: automatic"),
        (["all_reduc"], "no collective 'all_reduc'; there is: all_reduce, reduce"),
        (["--communicator", "carrier-pigeon"], "not built in; there is: threads"),
        (["-d", "float8"], "no datatype 'float8'"),
        (["-o", "mean"], "no operation 'mean'"),
        (["-r", "2", "-t", "2"], "no rank '2'; there is: 0, 1, all"),
        (["-t", "0"], "Value 0 not in range"),
        (["-b", "8Q"], "'8Q' is no number of bytes"),
        (["-b", "2M", "-e", "1M"], "--minbytes is more than --maxbytes"),
    ):
        said = run(program, *words, status=2)
        check(text in said, f"{words} is answered by {said!r}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    check_everything(sys.argv[1])
    check_options(sys.argv[1])
    check_errors(sys.argv[1])
    print("read by both rules; nothing is wrong")
