"""The findings in Markdown."""

from __future__ import annotations

import dataclasses
import statistics

import extrapolate
import header
import report
import verdicts
from facts import DIRECT, NOTHING
from findings import Findings
from model import CONSTANTS
from sizes import size_name, three_digits
from verdicts import Case


def _times(spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def _name(name: str) -> str:
    return f"`{name}`"


# ---- is automatic the best? ----


def _verdict(it: Findings) -> str:
    rows = []
    for collective, cases in it.cases.items():
        worst = max(cases, key=lambda case: case.ratio.median)
        rows.append([collective, verdicts.summary(cases), _times(worst.ratio)])
    rows.append(["**all**", f"**{verdicts.summary(it.every_case())}**", ""])
    text = ("## Does `automatic` take the best?\n\nIts time as a multiple of the fastest "
            "algorithm's there; the fastest is the one whose ratio to `direct`'s time is the "
            "lowest:\n\n")
    return text + report.table(["", "`automatic` is", "at most × the fastest's time (quartiles)"],
                               rows)


def _miss(it: Findings, case: Case) -> list[str]:
    best = _name(case.key.contender)
    if it.facts.folds_in_another_order(case.key.collective, case.key.contender):
        best += ", which folds in another order"
    return [case.at, _name(case.chosen), best, _times(case.ratio)]


def _misses(it: Findings) -> str:
    rows = [_miss(it, case) for case in it.every_case() if not case.within]
    if not rows:
        return ""
    return "\nEach that is not:\n\n" + report.table(
        ["", "`automatic` is", "the fastest", "× its time (quartiles)"], rows)


def _chance(it: Findings) -> str:
    rows = []
    for collective in it.cases:
        ratios = sorted(verdicts.chance(it.all, it.facts, collective))
        if ratios:
            off = sum(not 1 / verdicts.LIMIT <= ratio <= verdicts.LIMIT for ratio in ratios)
            rows.append([collective, str(len(ratios)), f"{ratios[0]:.2f}",
                         f"{statistics.median(ratios):.2f}", f"{ratios[-1]:.2f}", str(off)])
    return ("\n## How far chance goes\n\nWhere `automatic` is `direct`, both run the same code but "
            "for the choice itself, a few comparisons: the ratio of their times would be 1 on a "
            "machine without noise. Over all such cases:\n\n"
            + report.table(["", "cases", "the lowest ratio", "median", "the highest",
                            "more than 5 % off"], rows))


# ---- the table ----


def _table(it: Findings) -> str:
    order = ("Algorithms that fold in another order than that of the ranks are allowed."
             if it.any_order else
             "Collectives that fold have only algorithms that do so in rank order, so that results "
             "are the same bits by whichever rule.")
    return ("\n## A table for this machine\n\nThe fewest rules that take the fastest algorithm "
            "wherever that is more than 5 % faster than `direct`, with both quartiles of the ratio "
            "on its side and in more rounds than chance would have it once in a hundred times, and "
            f"`direct` elsewhere. {order}\n\n```cpp\n"
            + header.table(it.table, it.facts) + "```\n")


# ---- all figures ----


def _figures(it: Findings, collective: str, ranks: int) -> str:
    names = it.names(collective)
    rows = []
    for case in it.cases[collective]:
        if case.key.ranks != ranks:
            continue
        times = [it.all.time(dataclasses.replace(case.key, contender=name))
                 for name in (NOTHING, *names)]
        rows.append([size_name(case.key.size) if case.key.size else "",
                     *(three_digits(time.median) if time else "" for time in times),
                     _name(case.key.contender), _name(case.chosen), _times(case.ratio),
                     "yes" if case.within else "**no**"])
    if not rows:
        return ""
    head = ["size", *map(_name, (NOTHING, *names)), "the fastest", "`automatic` is",
            "× the fastest's time (quartiles)", "within 5 %"]
    return f"\n### {collective}, {ranks} ranks\n\n" + report.table(head, rows)


def _every_figure(it: Findings, pictures: list[str]) -> str:
    text = ("\n## Every case\n\nµs a call, medians of all rounds; what writing the elements and "
            "meeting take is in all of them, and alone in the column `nothing`.\n\n")
    text += "".join(f"![{name}]({name})\n" for name in pictures if "algorithms" in name)
    return text + "".join(_figures(it, collective, ranks)
                          for collective in it.cases for ranks in it.all.ranks())


# ---- the model ----


def _constants(it: Findings) -> str:
    rows = []
    for (ranks, sizes), fit in it.fits.items():
        call, latency, message, byte, folded = fit.costs
        rows.append([f"{ranks} ranks, {sizes}", str(len(fit.points)),
                     *(f"{1e9 * cost:.0f}" for cost in (call, latency, message)),
                     *(f"{1e12 * cost:.0f}" for cost in (byte, folded)),
                     f"{fit.median():.2f}", f"{max(fit.factors()):.1f}"])
    units = ("ns", "ns", "ns", "ps", "ps")
    head = ["", "points", *(f"`{name}`, {unit}" for name, unit in zip(CONSTANTS, units)),
            "off by a factor of, median", "at most"]
    return report.table(head, rows)


def _errors(it: Findings) -> str:
    names = it.facts.algorithms("all_reduce")
    rows = [[f"{ranks} ranks, {sizes}",
             *(f"{fit.bias(name):.2f} ({max(fit.factors(name)):.1f})" if fit.factors(name) else ""
               for name in names)] for (ranks, sizes), fit in it.fits.items()]
    return report.table(["", *map(_name, names)], rows)


def _reasons(it: Findings) -> str:
    """What the model knows nothing of, where the data show it."""
    def fitting(factor) -> str:
        found = [(f"{ranks} ranks, {sizes}", factor(ranks, fit))
                 for (ranks, sizes), fit in it.fits.items()]
        return ", ".join(f"{times:.1f} ({name})" for name, times in found if times > 1.25)

    text = ""
    caches = fitting(lambda ranks, fit: fit.bias(DIRECT) / fit.bias("ring"))
    if caches:
        text += ("\nBeside `ring`, `direct` is faster than the model says, by a factor of "
                 f"{caches}. A likely reason are the caches, of which it knows nothing: a line "
                 "that its reader then also writes, as in `direct`, moves once; one that both go "
                 "on reading, as in `ring` and `tree`, has to be invalidated before it is written "
                 "again.\n")
    turns = fitting(lambda ranks, fit: fit.bias("primary") / fit.bias(DIRECT)
                    if it.facts.crowded(ranks) else 1)
    if turns:
        text += ("\nBeside `direct`, `primary` is faster than the model says, by a factor of "
                 f"{turns}. The model lets all ranks work at the same time. Where they outnumber "
                 "the cores they take turns, and an algorithm in which one works for all loses "
                 "nothing by it.\n")
    return text


def _model(it: Findings, pictures: list[str]) -> str:
    if not it.fits:
        return ""
    text = ("\n## The cost model\n\n`allfold::predicted_seconds` walks through a schedule's steps "
            "with the five constants of `allfold::machine_cost`. These fit the times of all "
            "all_reduces best, less those of `nothing` in the same round: by the squares of the "
            "logarithms of predicted over measured, none below zero. Above 1 MiB, where elements "
            "do not fit the caches, only `byte` and `folded_byte` are fitted anew. A constant that "
            f"is 0 explains nothing that the others do not. There are {it.facts.cores} cores.\n\n")
    text += _constants(it)
    text += ("\nPredicted as a multiple of measured time, median over the sizes, and in "
             "parentheses the largest factor by which a prediction is too long or too short:\n\n")
    text += _errors(it) + _reasons(it) + "\n"
    return text + "".join(f"![{name}]({name})\n" for name in pictures if "model" in name)


# ---- what is not measured ----


def _row(it: Findings, link: extrapolate.Link, ranks: int, size: int) -> list[str]:
    found = {name: it.predictions[link.name, name, ranks, size] for name in extrapolate.ALGORITHMS}
    best = min(found.values(), key=lambda one: one.seconds)
    cells = []
    for name, one in found.items():
        text = three_digits(1e6 * one.seconds)
        text = f"**{text}**" if one is best else text
        cells.append(text + (f" in {one.pieces}" if len(extrapolate.ALGORITHMS[name]) > 1 else ""))
    return [str(ranks), *cells]


def _predictions(it: Findings, pictures: list[str]) -> str:
    text = ("\n## PREDICTION: on links that are not at hand\n\nNothing below is measured. It is "
            "what `allfold::predicted_seconds` says of an all_reduce with what is published of "
            "links. The model takes it that every rank reaches every other at the link's full "
            "speed, whatever the others do, and divides bytes evenly, even into less than an "
            "element.\n\n")
    for link in extrapolate.LINKS:
        text += f"{link.name}, up to {link.most_ranks} ranks:\n\n"
        text += "".join(f"- {source}\n" for source in link.sources) + "\n"
    text += "".join(f"![{name}]({name})\n" for name in pictures if "prediction" in name)
    for link in extrapolate.LINKS:
        for size in extrapolate.SIZES:
            rows = [_row(it, link, ranks, size) for ranks in extrapolate.ranks_of(link)]
            text += (f"\nPredicted: {link.name}, {size_name(size)}, µs (`tree` in so many "
                     "pieces):\n\n")
            text += report.table(["ranks", *map(_name, extrapolate.ALGORITHMS)], rows)
    return text


# ---- all of it ----


def markdown(it: Findings, pictures: list[str]) -> str:
    settings = it.all.settings
    text = ("# Which algorithm is the fastest when\n\nWritten by `bench/tune`: no figure here is "
            "typed by hand.\n\n" + report.machine(it.all) + "\nEvery collective by every "
            f"algorithm, taking turns for {settings['minutes']} minutes: {settings['rounds']} "
            "rounds. Elements are float32; an all_reduce and a broadcast are in place, the others "
            "are not. The size is that of the whole: where it is divided, of what all ranks' parts "
            "come to. Before each call every rank writes what it gives anew, as an engine writes "
            "its gradients, and all meet: **the times here hold that**. Without it, calls in a row "
            "would find elements in the caches of whoever touched them last. A ratio is the median "
            "of the ratios of all rounds, with their quartiles.\n\n")
    text += "".join(f"- Left out: `{name}`: {why}.\n" for name, why in it.all.left_out)
    text += _verdict(it) + _misses(it) + _chance(it) + _table(it)
    text += _every_figure(it, pictures) + _model(it, pictures) + _predictions(it, pictures)
    return text
