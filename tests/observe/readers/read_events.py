"""Lets TensorBoard read an event file:

    python3 read_events.py <write_samples>

Says that it is skipped, and exits with 77, where the package tensorboard is not installed.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.tensorflow_stub import errors
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
except ImportError as missing:
    print(f"skipped: TensorBoard can't be imported: {missing}")
    sys.exit(77)


def check(folder):
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"train/loss", "accuracy é"}, read.Tags()
    losses = read.Scalars("train/loss")
    assert [it.step for it in losses] == list(range(100))
    for it in losses:
        assert abs(it.value - 1 / (it.step + 1)) < 1e-7, it
    assert [(it.step, it.value) for it in read.Scalars("accuracy é")] == [(10**12, 0.875)]

    (weights,) = read.Histograms("weights")
    values = [0.25 * i for i in range(-50, 51)]
    drawn = weights.histogram_value
    assert weights.step == 99
    assert (drawn.min, drawn.max, drawn.num, drawn.sum) == (-12.5, 12.5, 101, 0), drawn
    assert drawn.sum_squares == sum(value * value for value in values)
    below = float("-inf")
    for limit, count in zip(drawn.bucket_limit, drawn.bucket, strict=True):
        assert count == sum(below <= value < limit for value in values), (below, limit, count)
        below = limit


def records(path):
    """TensorBoard's own reader, which checks the CRCs."""
    reader = PyRecordReader_New(str(path))
    count = 0
    try:
        while True:
            reader.GetNext()
            count += 1
    except errors.OutOfRangeError:
        return count


with tempfile.TemporaryDirectory() as folder:
    subprocess.run([sys.argv[1], folder], check=True)
    check(Path(folder) / "events")
    (file,) = (Path(folder) / "events").iterdir()
    assert records(file) == 103
    changed = bytearray(file.read_bytes())
    changed[-6] ^= 1  # in the last record's data
    file.write_bytes(changed)
    try:
        records(file)
    except errors.DataLossError as noticed:
        print(f"103 records are right, and a wrong one is noticed: {noticed}")
    else:
        sys.exit("a wrong CRC is not noticed")
