"""A sweep in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastlr._command import table
from fastlr.pictures.axes import shortened
from fastlr.schedules import Schedule

if TYPE_CHECKING:
    from fastlr.sweeping.result import Sweep
    from fastlr.sweeping.settings import Rate


def name(entry: Rate | None) -> str:
    """An entry as it is called in tables and pictures."""
    return shortened(repr(entry)) if isinstance(entry, Schedule) else f"{entry:.4g}"


def told(sweep: Sweep) -> str:
    """A table of the entries, and what it says."""
    what = "validation loss" if sweep.last_validation is not None else "loss"
    header = ["rate", what, f"{sweep.confidence:.0%} interval", "last loss", ""]
    rows = [_row(sweep, place) for place in range(len(sweep.entries))]
    return "\n".join([table(header, rows), "", *(f"{line}." for line in _said(sweep))])


def _row(sweep: Sweep, place: int) -> list[str]:
    score, (low, high) = sweep.scores[place], sweep.intervals[place]
    seen = sweep.losses[:, place]
    seen = seen[~np.isnan(seen)]
    mark = "best" if place == sweep.best_index else ""
    if (step := sweep.diverged[place]) is not None:
        mark = f"diverged at step {step}"
    elif (step := sweep.dropped[place]) is not None:
        mark = f"dropped after {step} steps"
    return [
        name(sweep.entries[place]),
        "" if math.isnan(score) else f"{score:.4g}",
        "" if math.isnan(low) else f"{low:.4g} to {high:.4g}",
        f"{seen[-1]:.4g}" if seen.size else "",
        mark,
    ]


def _said(sweep: Sweep) -> list[str]:
    lines = []
    place = sweep.best_index
    if place is None:
        lines.append(f"No rate is good: all {len(sweep.entries)} have diverged. Try smaller ones")
    else:
        lines.append(f"The best is {name(sweep.best)}{_against_neighbours(sweep)}")
        alone = len(sweep.entries) == 1
        if sweep.is_ordered and not alone and place in (0, len(sweep.entries) - 1):
            side = "smaller" if place == 0 else "larger"
            lines.append(f"It is the {'smallest' if place == 0 else 'largest'} tried: a {side} one may be better")
    if not sweep.is_ordered:
        lines.append("The entries do not increase, so neither a largest stable one nor a basin is told")
    elif place is not None:
        stable, ends = sweep.largest_stable, sweep.basin
        assert ends is not None
        first = "No rate is stable" if stable is None else f"The largest stable rate is {name(stable)}"
        lines.append(first)
        wide = f"{ends[0]:.3g} to {ends[1]:.3g} (a factor {ends[1] / ends[0]:.3g})"
        lines.append(f"Nine tenths of the best one's progress is made from {wide}")
    return [*lines, f"Ran {sweep.engine}", *sweep.notes]


def _against_neighbours(sweep: Sweep) -> str:
    found = sweep.confidences
    if not found:
        return ""
    sides = " and ".join(f"{name(sweep.entries[side])} in {value:.0%}" for side, value in list(found.items())[:4])
    return f", better than {sides} of the resampled batches"
