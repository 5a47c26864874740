"""Runs beside each other on matplotlib's axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastlr.finder.smoothing import smoothed
from fastlr.sweeping.pictures import BEST, SMOOTHING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastlr.studying.comparing import Comparison


def draw_comparison(left: Axes, right: Axes, comparison: Comparison) -> None:
    """The scores with their intervals, a line for each run, and the losses over the steps."""
    names = comparison.names
    colours = [BEST if place == comparison.best else f"C{place % 10 if place % 10 != 3 else 9}"
               for place in range(len(names))]  # fmt: skip
    for place, (colour, score, interval) in enumerate(
        zip(colours, comparison.scores, comparison.intervals, strict=True)
    ):
        if np.isnan(score):
            left.text(0.02, place, comparison.runs[place].state, transform=left.get_yaxis_transform(), va="center")
            continue
        if not np.isnan(interval).any():
            left.plot(interval, [place, place], color=colour, alpha=0.4, linewidth=5, solid_capstyle="butt")
        left.plot([score], [place], "o", color=colour)
    left.set_yticks(range(len(names)), names)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.set_xlabel(f"{comparison.score_name}, with intervals over batches")
    lowest, start = np.inf, 0.0
    for name, colour, sweep in zip(names, colours, comparison.sweeps, strict=True):
        losses = sweep.losses[:, 0]
        curve = smoothed(losses[np.isfinite(losses)], SMOOTHING)
        right.plot(np.arange(curve.size), curve, color=colour, linewidth=1.5, label=name)
        lowest, start = min(lowest, float(curve.min(initial=np.inf))), max(start, abs(sweep.start))
    if 0.0 < lowest < np.inf:
        right.set_yscale("log")
        right.set_ylim(0.8 * lowest, max(3.0 * start, 2.0 * lowest))
    right.set_xlabel("step")
    right.set_ylabel("training loss (smoothed)")
    right.legend(fontsize="x-small", frameon=False)
