"""A range test on matplotlib's axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastlr.finder.suggestions import BEGUN, fallen
from fastlr.pictures.axes import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastlr.finder.result import RangeTest
    from fastlr.finder.suggestions import Suggestion

MARKS = {"valley": "o", "steepest": "v", "slide": "s", "minimum": "D"}


def plotted(result: RangeTest, ax: Axes | None, methods: Sequence[str]) -> Axes:
    """What `RangeTest.plot` does."""
    suggestions = [result.suggest(method) for method in methods]  # which refuses what there is not
    axes = new_axes() if ax is None else ax
    axes.set_xscale("log")
    for index, curve in enumerate(result.curves):
        label = "loss" if index == 0 else None
        axes.plot(curve.rates, curve.losses, color="C0", alpha=0.35, linewidth=1, label=label)
    axes.plot(result.rates, result.smoothed, color="C0", linewidth=2, label="smoothed")
    falling = [curve for curve in result.curves if curve.problem is None]
    if falling:
        span = [np.median([fallen(curve, part) for curve in falling]) for part in (BEGUN, 1.0)]
        axes.axvspan(*span, color="C3", alpha=0.08, linewidth=0, label="the fall")
    for suggestion in suggestions:
        _mark(axes, result, suggestion)
    _limit(axes, result)
    axes.set(xlabel="learning rate", ylabel="loss")
    title = (
        f"no learning rate: {result.reason}" if result.lr is None else f"learning rate {result.lr:.3g}: {result.reason}"
    )
    axes.set_title(title, fontsize="small", wrap=True)
    axes.legend(fontsize="small", frameon=False)
    return axes


def _mark(axes: Axes, result: RangeTest, suggestion: Suggestion) -> None:
    if suggestion.lr is None:
        return
    height = float(np.interp(np.log(suggestion.lr), np.log(result.rates), result.smoothed))
    colour = "C3" if suggestion.method == "valley" else "0.4"
    if suggestion.spread is not None:
        axes.plot(suggestion.spread, [height, height], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
    label = f"{suggestion.method} {suggestion.lr:.3g}"
    axes.plot([suggestion.lr], [height], MARKS[suggestion.method], color=colour, label=label)


def _limit(axes: Axes, result: RangeTest) -> None:
    """Show the fall large: of losses that diverge, only that they do."""
    losses = np.concatenate([curve.losses[np.isfinite(curve.losses)] for curve in result.curves])
    level = max(curve.level for curve in result.curves)
    low, high = min(level, losses.min(initial=level)), losses.max(initial=level)
    room = max(level - low, 0.1 * abs(level)) or 1.0
    axes.set_ylim(low - 0.1 * room, min(high, level + 0.5 * room) + 0.1 * room)
