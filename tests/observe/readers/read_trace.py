"""Reads a trace as any program would, and checks what Perfetto needs to draw it:

    python3 read_trace.py <write_samples>
"""

import copy
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

RANKS, STEPS, BUCKETS = 3, 3, 2


def load(text):
    """Times as written: a binary fraction would make spans that touch overlap."""
    return json.loads(text, parse_float=Decimal)


def complaints(trace):
    """What is wrong with a trace; nothing if it is right."""
    wrong = []
    tracks = defaultdict(list)
    named = set()
    for event in trace["traceEvents"]:
        if event["ph"] == "M":
            named.add((event["name"], event["pid"], event["tid"]))
        elif event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(event)
        else:
            wrong.append(f"an event of phase {event['ph']}")
    for (rank, track), events in tracks.items():
        if ("process_name", rank, 0) not in named or ("thread_name", rank, track) not in named:
            wrong.append(f"track {track} of rank {rank} has no name")
        inside = []  # the ends of the spans that the next one may be nested in
        for event in sorted(events, key=lambda it: (it["ts"], -it["dur"])):
            begin, end = event["ts"], event["ts"] + event["dur"]
            if begin < 0 or end < begin:
                wrong.append(f"{event['name']} has impossible times")
            while inside and inside[-1] <= begin:
                inside.pop()
            if inside and end > inside[-1]:
                wrong.append(f"{event['name']} overlaps another span of its track")
            inside.append(end)
    return wrong


def check_content(trace):
    spans = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    names = defaultdict(int)
    for span in spans:
        names[span["name"]] += 1
    expected = {name: RANKS * STEPS for name in ("step", "forward", "backward")}
    expected |= {f'all_reduce "{bucket}"\t\\': RANKS * STEPS for bucket in range(BUCKETS)}
    assert names == expected, names
    assert {span["pid"] for span in spans} == set(range(RANKS))
    assert min(span["ts"] for span in spans) == 0
    for span in spans:
        assert 0 <= span["args"]["step"] < STEPS, span
        if span["name"].startswith("all_reduce"):
            assert span["args"]["bytes"] == 40_000 and span["tid"] == 1, span
        if span["name"] == "forward":
            assert abs(float(span["args"]["loss"]) - 1 / (span["args"]["step"] + 1)) < 1e-15, span


def check_controls(trace):
    """The complaints above must be able to fail."""
    first = next(i for i, it in enumerate(trace["traceEvents"]) if it.get("name") == "forward")
    late = copy.deepcopy(trace)
    late["traceEvents"][first]["dur"] += 10**9
    assert any("overlaps" in each for each in complaints(late)), "an overlap is not noticed"
    nameless = copy.deepcopy(trace)
    nameless["traceEvents"] = [it for it in nameless["traceEvents"] if it["name"] != "thread_name"]
    assert any("no name" in each for each in complaints(nameless)), "no name is not noticed"


with tempfile.TemporaryDirectory() as folder:
    subprocess.run([sys.argv[1], folder], check=True)
    trace = load((Path(folder) / "trace.json").read_text(encoding="utf-8"))
assert complaints(trace) == [], complaints(trace)
check_content(trace)
check_controls(trace)
print(f"{len(trace['traceEvents'])} events are right, and two that are wrong are noticed")
