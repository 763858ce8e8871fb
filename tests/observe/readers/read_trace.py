"""Reads traces as any program would, and checks what Perfetto needs to draw them, and that those of
replicas show buckets that are reduced during the backward pass, or after it:

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
REPLICAS_BUCKETS, BUCKET_BYTES = 4, 4_000


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


def early_buckets(trace):
    """How many buckets of a replica's trace began before their backward pass had ended. All must be
    there, and be reduced one after the other in their order."""
    passes = defaultdict(lambda: {"buckets": []})
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            its = passes[event["pid"], event["args"]["step"]]
            if event["name"] == "bucket":
                assert event["tid"] == 1 and event["args"]["bytes"] == BUCKET_BYTES, event
                its["buckets"].append(event)
            else:
                assert event["name"] == "backward" and "backward" not in its, event
                its["backward"] = event
    assert len(passes) == RANKS * STEPS, passes.keys()
    early = 0
    for its in passes.values():
        buckets = sorted(its["buckets"], key=lambda it: it["args"]["bucket"])
        assert [it["args"]["bucket"] for it in buckets] == list(range(REPLICAS_BUCKETS)), buckets
        now = its["backward"]["ts"]
        for bucket in buckets:
            assert bucket["ts"] >= now, f"bucket {bucket['args']['bucket']} is out of order"
            now = bucket["ts"] + bucket["dur"]
        end = its["backward"]["ts"] + its["backward"]["dur"]
        early += sum(bucket["ts"] < end for bucket in buckets)
    return early


def check_order_control(trace):
    """Buckets that are reduced in another order must be noticed."""
    other = copy.deepcopy(trace)
    for event in other["traceEvents"]:
        if event["name"] == "bucket":
            event["args"]["bucket"] ^= 1
    try:
        early_buckets(other)
    except AssertionError as noticed:
        assert "out of order" in str(noticed), noticed
    else:
        raise AssertionError("another order is not noticed")


with tempfile.TemporaryDirectory() as folder:
    subprocess.run([sys.argv[1], folder], check=True)
    trace, meanwhile, afterwards = (
        load((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("trace", "meanwhile", "afterwards")
    )
for each in trace, meanwhile, afterwards:
    assert complaints(each) == [], complaints(each)
check_content(trace)
check_controls(trace)
assert early_buckets(meanwhile) == RANKS * STEPS * REPLICAS_BUCKETS, early_buckets(meanwhile)
assert early_buckets(afterwards) == 0, early_buckets(afterwards)
check_order_control(meanwhile)
print(f"{len(trace['traceEvents'])} events are right, and two that are wrong are noticed; buckets")
print("are reduced during the backward pass or after it, in their order, and another is noticed")
