"""The figures in Markdown."""

from __future__ import annotations

from checks import checks
from contenders import DDP, STRATEGIES, TORCH, Case, engine_of
from figures import Figures
from report import table
from results import Spread
from sizes import three_digits

ABOUT_DDP = ("https://pytorch.org/docs/stable/generated/"
             "torch.nn.parallel.DistributedDataParallel.html")


def label(contender: str) -> str:
    return f"PyTorch `{contender}`" if engine_of(contender) == TORCH else f"`{contender}`"


def us(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{_plain(spread.median)} ({_plain(spread.low)} to {_plain(spread.high)})"


def _plain(value: float) -> str:
    return "−" * (value < 0) + three_digits(abs(value))


def percent(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{100 * spread.median:.1f} % ({100 * spread.low:.1f} to {100 * spread.high:.1f})"


def _ranks(case: Case) -> str:
    return "1 rank" if case.ranks == 1 else f"{case.ranks} ranks"


def _machine(all: Figures) -> str:
    rows = [[name, value or "not there"] for name, value in all.machine.items()]
    way = Spread.of(all.way_ns)
    if way:
        rows.append(["a cache line's way to the other core",
                     f"{way.median:.0f} ns ({way.low:.0f} to {way.high:.0f}), {way.number} times"])
    return table(["", ""], rows).replace("---:", "---")


def _how(all: Figures) -> str:
    plan = all.plan
    text = (
        "A step gathers a batch of Fashion-MNIST, runs the perceptron of "
        "[examples/fashion_mnist](../../examples/fashion_mnist) forward and backward, makes the "
        "ranks equal, and lets gradient descent with momentum step. All took turns in one run: "
        f"{all.minutes:.1f} minutes, {all.rounds} rounds; a turn is {2 * plan.steps} steps in "
        f"either way, {plan.steps} at a time. Those whose turn it is not are stopped. Rank r is "
        "bound to core r and computes with one thread, for all alike. Times are of the rank that "
        "takes longest. Figures are medians over rounds, with quartiles; ratios and differences "
        "are taken within a round.\n\n"
        "- *Together* is the whole step. *Apart*, the same ranks step at the same time, but each "
        "for itself: nothing is reduced or sent.\n"
        "- *Communication* is together − apart: what is not hidden behind computation, with the "
        "time that one rank waits for another: under `primary_device<>` also for rank 0's "
        "optimizer. Its *share* is 1 − apart / together.\n"
        "- Shares and µs of communication are to be compared, not steps: what computes is Eigen "
        "here and a BLAS there, and the same communication is a smaller share of a slower step.\n"
        "- allfold's ranks are threads, which read each other's memory. Those of PyTorch's "
        f"[`DistributedDataParallel`]({ABOUT_DDP}) (`{DDP}`), with its default options, are "
        "processes, and Gloo sends over TCP on the loopback device. With one rank all of allfold's "
        "strategies are the same.\n")
    if "libblas.so" in all.machine.get("PyTorch", ""):
        text += ("- PyTorch found no BLAS but the reference, which is many times as slow as "
                 "others: its shares of communication are small by it, and say nothing.\n")
    for engine, why in all.left_out:
        text += f"- Left out: {engine}: {why}.\n"
    return text


def _finding(all: Figures) -> str:
    """In a sentence."""
    found = []
    for contender in (STRATEGIES[0], DDP):
        case = all.plan.weak(contender)[1]
        share, time = all.share(case), all.communication_us(case)
        if share:
            found.append(f"{100 * share.median:.1f} % ({_plain(time.median)} µs) under "
                         f"{label(contender)}")
    if not found:
        return ""
    return (f"Of a step of {all.plan.ranks} ranks, {all.plan.batch} images each, communication "
            f"takes {', and '.join(found)}.\n")


def _communication(all: Figures) -> str:
    rows = [[label(case.contender), _ranks(case), str(case.batch), us(all.together_us(case)),
             us(all.apart_us(case)), us(all.communication_us(case)), percent(all.share(case))]
            for case in all.measured()]
    return table(["", "", "images each", "together, µs", "apart, µs", "communication, µs",
                  "share of the step"], rows)


def _scaling(all: Figures) -> str:
    plan = all.plan
    rows = [[label(name), percent(all.weak_efficiency(name)), percent(all.strong_efficiency(name))]
            for name in all.contenders()]
    return (f"- *Weak*: {plan.batch} images for each rank, however many there are: t(1) / "
            f"t({plan.ranks}).\n"
            f"- *Strong*: {plan.global_batch} images for all ranks together: t(1) / "
            f"({plan.ranks} · t({plan.ranks})).\n\n"
            "t is the time of a whole step, each engine's against its own with one rank. It holds "
            "what communication costs, and what ranks take from each other by computing at the "
            "same time.\n\n" + table(["", "weak", "strong"], rows))


def _chance(all: Figures) -> str:
    """The same code under several names."""
    text = ""
    for batch in sorted({case.batch for case in all.measured() if case.ranks > 1}):
        found = [all.apart_us(Case(name, all.plan.ranks, batch)) for name in STRATEGIES]
        medians = [it.median for it in found if it]
        if len(medians) > 1:
            text += (f"- {batch} images each: {three_digits(min(medians))} to "
                     f"{three_digits(max(medians))} µs, {max(medians) - min(medians):.0f} µs "
                     "between them.\n")
    if not text:
        return ""
    return ("## How far chance goes\n\nApart, all of allfold's strategies run the same code, each "
            "on memory of its own. The medians of their times:\n\n" + text + "\n")


def _work(all: Figures) -> str:
    rows = [[it.what, it.found, "yes" if it.holds else "**no**"] for it in checks(all)]
    text = table(["", "found", "holds"], rows).replace("---:", "---")
    rows = []
    for case in dict.fromkeys(it.case for it in all.work):
        found = {it.way: it for it in all.work if it.case == case}
        rows.append([label(case.contender), _ranks(case), str(case.batch),
                     str(found["together"].steps),
                     *(f"{found[way].early_loss:.4f} → {found[way].late_loss:.4f}"
                       for way in ("together", "apart"))])
    return ("The parameters begin as the same numbers for all, and each rank sees the same images "
            "in the same order. The losses are rank 0's, means of the first ten steps and of the "
            "last ten.\n\n" + text + "\n"
            + table(["", "", "images each", "steps", "loss together", "loss apart"], rows))


def markdown(all: Figures, picture: str) -> str:
    text = ("# A training step on one host\n\n"
            "Written by `bench/training`: no figure here is typed by hand.\n\n"
            + _machine(all) + "\n" + _how(all) + "\n")
    if picture:
        text += f"![{picture}]({picture})\n\n"
    return (text + "## Communication\n\n" + _finding(all) + "\n" + _communication(all)
            + "\n## Scaling\n\n" + _scaling(all) + "\n" + _chance(all)
            + "## The same work\n\n" + _work(all))
