"""A sweep on matplotlib's axes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

import numpy as np

from fastlr.finder.smoothing import smoothed
from fastlr.pictures.axes import new_axes
from fastlr.sweeping.text import name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastlr.sweeping.result import Sweep

SMOOTHING = 0.8
NAMED = 12  # entries in the legend at most
BEST, BAND = "C3", "C2"


def plotted(sweep: Sweep, ax: Axes | None) -> Axes:
    """What `Sweep.plot` does."""
    if ax is not None:
        draw_scores(ax, sweep)
        return ax
    left = new_axes()
    figure = cast("Figure", left.figure)
    figure.set_size_inches(10.0, 4.2)
    grid = figure.add_gridspec(1, 2)
    left.set_subplotspec(grid[0])
    right = figure.add_subplot(grid[1])
    draw_scores(left, sweep)
    draw_losses(right, sweep)
    return left


def draw_scores(axes: Axes, sweep: Sweep) -> None:
    """The score of each rate with its interval, the best, the basin, and what has diverged."""
    scores, intervals, rates = sweep.scores, sweep.intervals, sweep.rates
    known = ~np.isnan(scores)
    axes.set_xscale("log")
    if sweep.basin is not None and sweep.basin[0] < sweep.basin[1]:
        axes.axvspan(*sweep.basin, color=BAND, alpha=0.12, linewidth=0, label="9/10 of the best one's progress")
    axes.plot(rates[known], scores[known], "o-", color="C0", markersize=4, linewidth=1.5)
    bars = known & ~np.isnan(intervals).any(axis=1)
    if bars.any():
        label = f"{sweep.confidence:.0%} interval over batches"
        axes.vlines(rates[bars], *intervals[bars].T, color="C0", alpha=0.4, linewidth=4, label=label)
    place = sweep.best_index
    if place is not None:
        axes.plot(rates[place], scores[place], "o", color=BEST, markersize=8, label=f"best: {name(sweep.best)}")
    lost = np.array([step is not None for step in sweep.diverged])
    if lost.any():
        middle = axes.get_xaxis_transform()
        axes.plot(rates[lost], np.full(lost.sum(), 0.97), "x", color="0.4", transform=middle, label="diverged")
    axes.set_xlabel("learning rate (peak)" if sweep.has_schedules else "learning rate")
    axes.set_ylabel("validation loss" if sweep.last_validation is not None else "loss, last steps")
    if known.any() and scores[known].min() > 0 and scores[known].max() > 20 * scores[known].min():
        axes.set_yscale("log")
    axes.legend(fontsize="small", frameon=False)


def draw_losses(axes: Axes, sweep: Sweep) -> None:
    """The smoothed losses over the steps, from dark for the smallest rate to bright for the largest."""
    colours = importlib.import_module("matplotlib").colormaps["viridis"]
    count = len(sweep.entries)
    shown = set(np.linspace(0, count - 1, min(count, NAMED)).round().astype(int).tolist())
    lowest = np.inf
    for place in range(count):
        losses = sweep.losses[:, place]
        losses = losses[np.isfinite(losses)]
        if not losses.size:
            continue
        curve = smoothed(losses, SMOOTHING)
        lowest = min(lowest, float(curve.min()))
        best = place == sweep.best_index
        axes.plot(
            np.arange(curve.size),
            curve,
            color=BEST if best else colours(0.9 * place / max(1, count - 1)),
            linewidth=2.5 if best else 1.2,
            zorder=3 if best else 2,
            label=name(sweep.entries[place]) if best or place in shown else None,
        )
        if sweep.diverged[place] is not None:
            axes.plot(curve.size - 1, curve[-1], "x", color="0.4", zorder=4)
    if np.isfinite(lowest):
        limit = 3.0 * abs(sweep.start)
        if lowest > 0:
            axes.set_yscale("log")
            axes.set_ylim(0.8 * lowest, max(limit, 2.0 * lowest))
    axes.set_xlabel("step")
    axes.set_ylabel("training loss (smoothed)")
    axes.legend(fontsize="x-small", frameon=False, ncols=1 if len(shown) < 9 else 2)
