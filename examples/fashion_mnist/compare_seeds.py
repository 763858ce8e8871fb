#!/usr/bin/env python3
"""Trains with each compression from several seeds, and writes a page of what was sent and of the
accuracy that it led to. Fails if the mean over the seeds of one is not within a point of the same
training uncompressed.

    compare_seeds.py FASHION_MNIST [--seeds N] [--page FILE] [ARGUMENT...]

FASHION_MNIST is the program of this folder; other arguments, such as --ranks 2, are its own."""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

WITHIN = 1.0  # points


def train(program, seed, arguments):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "figures.json")
        run = subprocess.run([program, "--strategy", "compressed", "--seed", str(seed), "--json",
                              path, *arguments], capture_output=True, text=True)
        if run.returncode != 0:
            sys.exit(f"{program} with seed {seed} says:\n{run.stdout}{run.stderr}")
        return json.loads(path.read_text())


def distances(runs, name):
    """Points above direct, by seed."""
    return [strategy["points_above_direct"] for run in runs for strategy in run["strategies"]
            if strategy["strategy"] == name]


def page(runs, seeds):
    here, chosen = runs[0]["machine"], runs[0]["settings"]
    first = runs[0]["strategies"]
    lines = [
        "# Accuracy of compressed training", "",
        "Written by `examples/fashion_mnist/compare_seeds.py`: a perceptron learns Fashion-MNIST,",
        f"{chosen['ranks']} ranks, {first[0]['steps']} steps of {chosen['batch']} samples, "
        f"{len(seeds)} seeds ({here['processor']}, {here['cores']} cores, {here['compiler']}).",
        "Sent is what a rank brings to collectives in a step, as a mean over the steps; accuracy is",
        "of the test images; points are of the same seed, above uncompressed.", "",
        "| strategy | KiB sent | of uncompressed | " +
        " | ".join(f"accuracy, seed {seed}" for seed in seeds) + " | points, mean | points, all |",
        "|---|" + "--:|" * (len(seeds) + 4)]
    for index, strategy in enumerate(first):
        points = distances(runs, strategy["strategy"])
        cells = [f"`{strategy['strategy']}`",
                 f"{strategy['ranks'][0]['bytes_sent_per_step'] / 1024:.1f}",
                 f"{100 * strategy['sent_of_uncompressed']:.2f} %"]
        cells += [f"{100 * run['strategies'][index]['test_accuracy']:.2f} %" for run in runs]
        cells += [f"{statistics.mean(points):+.2f}", f"{min(points):+.2f} to {max(points):+.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="how many, from 1 on")
    parser.add_argument("--page", type=pathlib.Path, metavar="FILE")
    options, arguments = parser.parse_known_args()
    seeds = range(1, options.seeds + 1)
    runs = [train(options.program, seed, arguments) for seed in seeds]
    text = page(runs, seeds)
    print(text, end="")
    if options.page:
        options.page.write_text(text)
    far = [strategy["strategy"] for strategy in runs[0]["strategies"]
           if abs(statistics.mean(distances(runs, strategy["strategy"]))) > WITHIN]
    if far:
        sys.exit(f"not within {WITHIN} points of uncompressed: {', '.join(far)}")


if __name__ == "__main__":
    main()
