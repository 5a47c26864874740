"""What a range test has found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlr.finder.curve import Curve
from fastlr.finder.smoothing import Array
from fastlr.finder.suggestions import METHODS, Suggestion, suggest
from fastlr.searching.files import to_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """Losses over learning rates, and the rates that they suggest. Printed, it explains itself.

    Attributes:
        rates: All rates that were to be tested, float64.
        curves: One for each run: `rates`, `losses`, `smoothed`, `start` and `stopped`.
        restarts: How often each run began with the loader again.
        group_ratios: The rate of each parameter group as a part of the rate that stands here.
    """

    rates: Array
    curves: tuple[Curve, ...]
    restarts: tuple[int, ...]
    group_ratios: tuple[float, ...]
    _suggested: dict[str, Suggestion] = field(default_factory=dict, init=False)

    def suggest(self, method: str = "valley") -> Suggestion:
        """A learning rate with its reason, of several runs with their spread.

        Args:
            method: All are read off the smoothed loss, whose slopes are taken over the rate's logarithm:
                "valley", where four fifths of the longest fall are done; "steepest", where the loss falls fastest;
                "slide", the left end of an interval of a factor 10 with one slope at both ends; "minimum", a tenth of
                the rate with the lowest loss.

        Raises:
            ValueError: Another method.
        """
        if method not in self._suggested:
            self._suggested[method] = suggest(self.curves, method)
        return self._suggested[method]

    @property
    def lr(self) -> float | None:
        """The rate of `suggest("valley")`, or None where the losses show none: see `reason`."""
        return self.suggest().lr

    @property
    def reason(self) -> str:
        """Where `lr` stands on the curve, or why there is none."""
        return self.suggest().reason

    @property
    def losses(self) -> Array:
        """The loss after the update at each rate, of several runs the median; NaN at rates that none has reached."""
        return self._median([curve.losses for curve in self.curves])

    @property
    def smoothed(self) -> Array:
        """The smoothed losses, as `losses`."""
        return self._median([curve.smoothed for curve in self.curves])

    @property
    def stopped(self) -> str | None:
        """Why the first run ended before the last rate; None where it did not."""
        return self.curves[0].stopped

    def _median(self, found: Sequence[Array]) -> Array:
        values = np.full_like(self.rates, np.nan)
        table = np.full((len(found), self.rates.size), np.nan)
        for row, losses in zip(table, found, strict=True):
            row[: losses.size] = losses
        reached = ~np.isnan(table).all(axis=0)
        values[reached] = np.nanmedian(table[:, reached], axis=0)
        return values

    def plot(self, ax: Axes | None = None, *, methods: Sequence[str] = tuple(METHODS)) -> Axes:
        """Draw the losses over the rates, with the suggested ones.

        Args:
            ax: Where to draw; without it a new figure is made with pyplot.
            methods: The suggestions to mark.

        Raises:
            ValueError: A method that there is not.
            ModuleNotFoundError: matplotlib is not installed.
        """
        from fastlr.finder.pictures import plotted

        return plotted(self, ax, methods)

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON, written to a file as well where one is named; NaN and infinities are null."""
        suggestions = {
            method: {"lr": one.lr, "reason": one.reason, "runs": one.runs, "confidence": one.confidence}
            for method, one in ((method, self.suggest(method)) for method in METHODS)
        }
        runs = [
            {
                "start": curve.start,
                "losses": curve.losses,
                "smoothed": curve.smoothed,
                "stopped": curve.stopped,
                "restarts": restarts,
            }
            for curve, restarts in zip(self.curves, self.restarts, strict=True)
        ]
        record = {
            "format": FORMAT,
            "lr": self.lr,
            "reason": self.reason,
            "suggestions": suggestions,
            "rates": self.rates,
            "smoothing": self.curves[0].smoothing,
            "group_ratios": self.group_ratios,
            "runs": runs,
        }
        return to_json(record, path)

    @classmethod
    def from_json(cls, text: str) -> RangeTest:
        """The range test that `to_json` wrote. Raises ValueError for anything else."""
        try:
            record: dict[str, Any] = json.loads(text)
            if record["format"] != FORMAT:
                raise ValueError(f"A range test in another format: {record['format']!r}. Read it with its own version.")
            rates = np.array(record["rates"], dtype=np.float64)
            curves = []
            for run in record["runs"]:
                losses = np.array(run["losses"], dtype=np.float64)
                curves.append(Curve(rates[: losses.size], losses, run["start"], run["stopped"], record["smoothing"]))
            restarts = tuple(run["restarts"] for run in record["runs"])
            return cls(rates, tuple(curves), restarts, tuple(record["group_ratios"]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"Not a range test: {text[:60]!r}. Give what to_json() wrote.") from error

    def __repr__(self) -> str:
        return f"<range test: lr={self.lr}>"

    def __str__(self) -> str:
        from fastlr.finder.text import told

        return told(self)
