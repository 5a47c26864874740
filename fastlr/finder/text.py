"""A range test in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastlr.finder.suggestions import METHODS

if TYPE_CHECKING:
    from fastlr.finder.result import RangeTest


def told(result: RangeTest) -> str:
    """The suggestions with their reasons, what was tested, and what to know about it; a line each."""
    return "\n".join([*_suggestions(result), _tested(result), *_notes(result)])


def _suggestions(result: RangeTest) -> list[str]:
    if result.lr is None:
        return [f"No learning rate: {result.reason}"]
    lines = [f"Learning rate {result.lr:.3g}"]
    for method in METHODS:
        one = result.suggest(method)
        spread = "" if one.spread is None else f" ({len(one.runs)} runs: {one.spread[0]:.3g} to {one.spread[1]:.3g})"
        lines.append(f"  {method:<9}{one.lr:<9.3g}{one.reason}{spread}")
    return lines


def _tested(result: RangeTest) -> str:
    counts = [curve.losses.size for curve in result.curves]
    done = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    ended = "" if result.stopped is None else f": {result.stopped}"
    return f"Tested {done} of {result.rates.size} rates, from {result.rates[0]:.3g} on{ended}."


def _notes(result: RangeTest) -> list[str]:
    notes = []
    if max(result.restarts) > 0:
        notes.append(f"The loader is shorter than the test: its batches came {max(result.restarts) + 1} times.")
    first = result.curves[0]
    if len(result.curves) > 1 and all(np.array_equal(first.losses, curve.losses) for curve in result.curves):
        notes.append("The runs are all the same: nothing in them is random. Have the loader shuffle.")
    if result.lr is not None:
        falling = [curve for curve in result.curves if curve.problem is None]
        if all(curve.stopped is None and curve.fall[-1] == curve.smoothed.size - 1 for curve in falling):
            notes.append("The loss still falls at the highest rate: raise `high`.")
        if all(2 * curve.smoothed[0] < curve.start + curve.smoothed.min() for curve in falling):
            notes.append("The loss falls already at the lowest rate: lower `low`.")
    if len(set(result.group_ratios)) > 1:
        shown = ", ".join(f"{ratio:.3g}" for ratio in result.group_ratios)
        notes.append(f"The rate is that of the group with the largest; the groups' parts of it: {shown}.")
    return notes
