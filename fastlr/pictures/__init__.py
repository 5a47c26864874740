"""Pictures of schedules: on matplotlib's axes, and in a terminal. What draws is imported at the first picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastlr.schedules import Schedule


def plot(
    schedules: Schedule | Iterable[Schedule] | Mapping[str, Schedule],
    ax: Axes | None = None,
    *,
    steps: int | None = None,
    labels: Iterable[str] | None = None,
    **options: Any,
) -> Axes:
    """Draw schedules over the steps 0 to `steps`.

    Warm-ups are shaded, and dotted lines mark where pieces and cycles begin (at most 20 of each). The momentum of a
    schedule that has one is drawn broken, on a second axis. Every turn and jump is drawn, however long the span; up to
    200 steps, each step is drawn as the constant that it is.

    Args:
        schedules: One schedule, several, or a dict with their labels as keys.
        ax: Where to draw; without it a new figure is made with pyplot.
        steps: The last step shown. Without it the longest length; schedules without end alone are shown until they
            come near the value that they tend to, or for five cycles, and the axis says how far.
        labels: Names for the legend. Without them the schedules' texts, shortened.
        options: Passed to ``ax.plot``, such as ``linewidth``.

    Returns:
        The axes.

    Raises:
        TypeError: Something else than schedules.
        ValueError: No schedule, steps below 1, or another number of labels than of schedules.
        ModuleNotFoundError: matplotlib is not installed.
    """
    from fastlr.pictures.axes import plotted

    return plotted(schedules, ax, steps, labels, options)
