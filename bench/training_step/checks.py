"""Whether all contenders did the same work, and did it right."""

from __future__ import annotations

import dataclasses

from figures import Figures, Work

SAME_LOSS = 0.01  # engines round differently, and go apart by it step by step


@dataclasses.dataclass
class Check:
    what: str
    found: str
    holds: bool


def _amount(all: list[Work]) -> Check:
    found = sorted({(it.parameters, it.gradient_bytes, it.images) for it in all})
    text = "; ".join(f"{parameters} parameters, {size} bytes of gradients, {images} images"
                     for parameters, size, images in found)
    return Check("all train as many parameters on as many images", text, len(found) == 1)


def _same_losses(all: list[Work]) -> Check:
    """They begin with the same parameters, and see the same images in the same order."""
    groups: dict[tuple, list[float]] = {}
    for it in all:
        groups.setdefault((it.case.ranks, it.case.batch, it.way), []).append(it.early_loss)
    apart = max((max(group) / min(group) - 1 for group in groups.values()), default=0.0)
    return Check("the first steps of all have the same losses",
                 f"they differ by {100 * apart:.2g} % at most", apart <= SAME_LOSS)


def _falling(all: list[Work]) -> Check:
    bad = [it for it in all if not it.late_loss < it.early_loss]
    found = "; ".join(f"`{it.case.contender}`: from {it.early_loss:.3f} to {it.late_loss:.3f}"
                      for it in bad)
    late = [it.late_loss for it in all]
    return Check("the loss falls in all", found or f"to {min(late):.3f} … {max(late):.3f}", not bad)


def _ranks(all: list[Work], way: str, equal: bool) -> Check:
    several = [it for it in all if it.way == way and len(it.hashes) > 1]
    bad = [it for it in several if (len(set(it.hashes)) == 1) != equal]
    what = ("ranks that trained together hold the same bits" if equal else
            "ranks that trained apart do not, so the check above can fail")
    found = "; ".join(f"`{it.case.contender}`: {', '.join(it.hashes)}" for it in bad)
    return Check(what, found or f"in all {len(several)} cases", not bad)


def checks(all: Figures) -> list[Check]:
    if not all.work:
        return []
    return [_amount(all.work), _same_losses(all.work), _falling(all.work),
            _ranks(all.work, "together", True), _ranks(all.work, "apart", False)]
