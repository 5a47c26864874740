"""Schedules drawn with characters, for a terminal."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fastlr.pictures.samples import SHORT, Curve, sample, whole_span
from fastlr.schedules import Schedule

# The dots of a braille character, by row and column: its code point is the sum from U+2800 on.
BRAILLE = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
ROWS = 10  # of characters in one chart
LEAST_WIDTH = 30
MARGIN = 11  # characters for the numbers on the left


def can_braille() -> bool:
    """Whether standard output can write braille."""
    try:
        "\u28ff".encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def chart(
    schedules: Mapping[str, Schedule], *, steps: int | None = None, width: int | None = None, ascii: bool | None = None
) -> str:
    """One chart for each schedule, below its label, all over the same steps.

    Args:
        schedules: The schedules, with their labels as keys.
        steps: The last step shown; found as `plot` finds it.
        width: Characters in a line, at least 30; that of the terminal without it.
        ascii: Draw with stars instead of braille. Without it, where standard output cannot write braille.

    >>> from fastlr.schedules import Linear
    >>> print(chart({"a": Linear(start=0.0, end=1.0, length=4)}, width=30, ascii=True))
    a
             1 |                 *
               |                 *
               |             *****
               |             *
               |        ******
               |        *
               |        *
               |    *****
               |    *
             0 |*****
               +------------------
                0           step 4
    """
    span = whole_span(schedules.values(), steps)
    columns = max(width or shutil.get_terminal_size().columns, LEAST_WIDTH) - MARGIN - 1
    plain = not can_braille() if ascii is None else ascii
    charts = []
    for label, schedule in schedules.items():
        lines = framed(sample(schedule, span), span, columns, plain)
        charts.append("\n".join([label, *lines]))
    return "\n\n".join(charts)


def framed(curve: Curve, span: int, columns: int, plain: bool) -> list[str]:
    """The curve's lines with values on the left and steps below."""
    finite = np.isfinite(curve.values)
    steps, values = curve.steps[finite], curve.values[finite]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    dots = np.zeros((ROWS, columns) if plain else (4 * ROWS, 2 * columns), dtype=bool)
    if span <= SHORT:
        steps, values = np.repeat(steps, 2)[1:], np.repeat(values, 2)[:-1]
    if values.size:
        x = steps / span * (dots.shape[1] - 1)
        heights = (high - values) / (high - low) if high > low else np.full(values.shape, 0.5)
        trace(dots, x, heights * (dots.shape[0] - 1))
    lines = stars(dots) if plain else braille(dots)
    middle = round((dots.shape[0] - 1) / 2) * ROWS // dots.shape[0]
    numbers = {0: f"{high:.4g}", ROWS - 1: f"{low:.4g}"} if high > low else {middle: f"{high:.4g}"}
    shown = [f"{numbers.get(i, ''):>{MARGIN - 1}} |{line}".rstrip() for i, line in enumerate(lines)]
    end = f"step {span}"
    return [*shown, " " * (MARGIN - 1) + " +" + "-" * columns, " " * (MARGIN + 1) + "0" + end.rjust(columns - 1)]


def trace(dots: NDArray[np.bool_], x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Set the dots under the lines from each point to the next."""
    dots[np.rint(y).astype(int), np.rint(x).astype(int)] = True
    for i in range(x.size - 1):
        count = int(max(abs(x[i + 1] - x[i]), abs(y[i + 1] - y[i]))) + 2
        rows, columns = np.linspace(y[i], y[i + 1], count), np.linspace(x[i], x[i + 1], count)
        dots[np.rint(rows).astype(int), np.rint(columns).astype(int)] = True


def braille(dots: NDArray[np.bool_]) -> list[str]:
    """Lines of characters that hold four rows and two columns of dots each."""
    cells = dots.reshape(dots.shape[0] // 4, 4, dots.shape[1] // 2, 2).transpose(0, 2, 1, 3)
    codes = (cells * BRAILLE).sum(axis=(2, 3))
    return ["".join(chr(0x2800 + code) if code else " " for code in row) for row in codes.tolist()]


def stars(dots: NDArray[np.bool_]) -> list[str]:
    return ["".join("*" if dot else " " for dot in row) for row in dots.tolist()]
