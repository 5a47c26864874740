"""Schedules on matplotlib's axes. matplotlib is imported at the first picture."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fastlr.pictures.marks import marks
from fastlr.pictures.samples import SHORT, last_step, sample, whole_span
from fastlr.schedules import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABEL = 56  # characters of a label made from a schedule's text
BELOW = 0.55  # inches from the axis to the legend: room for the numbers and the axis label
MOMENTUM = "<momentum>"  # matplotlib's label of the second axes


def plotted(
    schedules: Schedule | Iterable[Schedule] | Mapping[str, Schedule],
    ax: Axes | None,
    steps: int | None,
    labels: Iterable[str] | None,
    options: dict[str, Any],
) -> Axes:
    """What `fastlr.plot` does."""
    named = with_labels(schedules, labels)
    span = whole_span((one for _, one in named), steps)
    axes = new_axes() if ax is None else ax
    for label, schedule in named:
        draw(axes, schedule, span, label, options)
    endless = steps is None and all(one.length is None for _, one in named)
    axes.set_xlabel(f"step (no end; 0 to {span} shown)" if endless else "step")
    axes.set_ylabel("learning rate")
    add_legend(axes)
    return axes


def with_labels(
    schedules: Schedule | Iterable[Schedule] | Mapping[str, Schedule], labels: Iterable[str] | None
) -> list[tuple[str, Schedule]]:
    """The schedules, each with its label."""
    if isinstance(schedules, Schedule):
        schedules = [schedules]
    if isinstance(schedules, Mapping):
        names, found = [str(name) for name in schedules], list(schedules.values())
    else:
        found = list(schedules)
        names = [shortened(repr(one)) for one in found]
    for one in found:
        if not isinstance(one, Schedule):
            raise TypeError(f"schedules hold something else: {one!r}. Wrap numbers in Constant.")
    if not found:
        raise ValueError("schedules are none: []. Pass at least one.")
    if labels is not None:
        names = [labels] if isinstance(labels, str) else list(labels)
    if len(names) != len(found):
        raise ValueError(f"labels are not as many as schedules: {len(names)} for {len(found)}. Pass one for each.")
    return list(zip(names, found, strict=True))


def shortened(text: str) -> str:
    """The text's beginning and end."""
    half = LABEL // 2 - 2
    return text if len(text) <= LABEL else f"{text[:half].rstrip()} … {text[-half:].lstrip()}"


def new_axes() -> Axes:
    try:
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "plot needs a package that is not installed: matplotlib. Run: pip install 'torch-fastlr[demo]'"
        ) from error
    axes: Axes = pyplot.subplots(layout="constrained")[1]
    return axes


def draw(axes: Axes, schedule: Schedule, span: int, label: str, options: dict[str, Any]) -> None:
    """One schedule's curve, its marks in the same colour, and its momentum."""
    style = {"drawstyle": "steps-post" if span <= SHORT else "default", **options}
    curve = sample(schedule, span)
    (line,) = axes.plot(*curve, label=label, **style)
    colour = line.get_color()
    found = marks(schedule, last_step(schedule, span))
    for begin, end in found.warmups:
        axes.axvspan(begin, end, color=colour, alpha=0.12, linewidth=0)
    for start in found.starts:
        axes.axvline(start, color=colour, alpha=0.5, linestyle=":", linewidth=1)
    momentum = getattr(schedule, "momentum", None)
    if isinstance(momentum, Schedule):
        right = momentum_axes(axes)
        right.plot(*sample(momentum, span), **{**style, "color": colour, "linestyle": "--", "alpha": 0.6})


def add_legend(axes: Axes) -> None:
    """The labels below the axis, where they hide no curve."""
    translation = importlib.import_module("matplotlib.transforms").ScaledTranslation
    below = axes.transAxes + translation(0.0, -BELOW, axes.figure.dpi_scale_trans)
    place = {"loc": "upper left", "bbox_to_anchor": (0.0, 0.0), "bbox_transform": below, "borderaxespad": 0.0}
    axes.legend(fontsize="small", frameon=False, **place)


def momentum_axes(axes: Axes) -> Axes:
    """The second axis of axes, made at the first use."""
    for other in axes.figure.axes:
        if other.get_label() == MOMENTUM and other in axes.get_shared_x_axes().get_siblings(axes):
            return other
    right = axes.twinx()
    right.set_label(MOMENTUM)
    right.set_ylabel("momentum (broken line)")
    return right
