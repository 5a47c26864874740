"""What a sweep has found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastlr.schedules import Schedule
from fastlr.searching.files import to_json
from fastlr.sweeping import statistics
from fastlr.sweeping.calibration import Choice
from fastlr.sweeping.settings import Rate
from fastlr.sweeping.statistics import Bootstrap, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMAT = 1


@dataclass(frozen=True, eq=False, repr=False)
class Sweep:
    """Losses of trainings side by side, and what they say about the learning rate. Printed, it explains itself.

    Attributes:
        entries: The rates or schedules, as they were passed in.
        rates: The highest rate of each, shape included: the number by which they are compared.
        losses: The loss before each update, float64 [steps, R]; NaN after a replica has stopped.
        start: The loss before any update, of the first batch.
        diverged: For each entry the step whose loss showed that it diverges, else None.
        dropped: For each entry after how many steps halving took it out, else None.
        validated: After how many steps the validation loss was taken.
        validation: Its means, float64 [times, R].
        engine: What ran the replicas, and why: its name, milliseconds, reasons against others.
        notes: What else is to be known, such as how often the loader began again.
        confidence: The part of the resampled means that an interval holds.
        shaped: Whether the entries were multiplied by a shape.
    """

    entries: tuple[Rate, ...]
    rates: Floats
    losses: Floats
    start: float
    diverged: tuple[int | None, ...]
    dropped: tuple[int | None, ...]
    validated: tuple[int, ...]
    validation: Floats
    last_validation: tuple[Floats, Floats] | None
    engine: Choice
    notes: tuple[str, ...]
    confidence: float
    shaped: bool = False

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        if self.last_validation is not None:
            losses, weights = self.last_validation
            return statistics.bootstrap(losses, self.confidence, weights)
        return statistics.bootstrap(self.losses[-statistics.window(len(self.losses)) :], self.confidence)

    @property
    def scores(self) -> Floats:
        """What ranks the entries: the last validation loss, without one the mean loss of the last tenth of the steps.

        NaN for entries that did not come to the end.
        """
        stopped = [any(one is not None for one in pair) for pair in zip(self.diverged, self.dropped, strict=True)]
        return np.where(stopped, np.nan, self._bootstrap.means)

    @property
    def intervals(self) -> Floats:
        """Bootstrap intervals of the scores over the batches, [R, 2]. All entries have the same resampled batches."""
        return np.where(np.isnan(self.scores)[:, np.newaxis], np.nan, self._bootstrap.intervals)

    @property
    def best_index(self) -> int | None:
        """The place of the best entry; None where all have diverged."""
        return statistics.best_of(self.scores)

    @property
    def best(self) -> Rate | None:
        """The entry with the lowest score, as it was passed in; None where all have diverged."""
        place = self.best_index
        return None if place is None else self.entries[place]

    @property
    def is_ordered(self) -> bool:
        """Whether the entries are in the order of their rates, as what is said of neighbours needs it."""
        return bool((np.diff(self.rates) > 0).all())

    @property
    def has_schedules(self) -> bool:
        """Whether a rate is the highest of several."""
        return any(isinstance(entry, Schedule) for entry in self.entries) or self.shaped

    @property
    def largest_stable(self) -> Rate | None:
        """The entry before the first one that diverged or ended above the start; None where there is none."""
        if not self.is_ordered:
            return None
        place = statistics.largest_stable(self.scores, [step is not None for step in self.diverged], self.start)
        return None if place is None else self.entries[place]

    @property
    def basin(self) -> tuple[float, float] | None:
        """From which to which rate at least nine tenths of the best one's progress is made, by interpolation."""
        place = self.best_index
        if place is None or not self.is_ordered:
            return None
        return statistics.basin(self.rates, self.scores, place, self.start)

    @property
    def basin_width(self) -> float | None:
        """The width of the basin in powers of ten: 1.0 is a factor 10."""
        ends = self.basin
        return None if ends is None else float(np.log10(ends[1] / ends[0]))

    @property
    def confidences(self) -> dict[int, float]:
        """For the best entry's neighbours, by place: the part of the resamples in which the best is better."""
        place = self.best_index
        if place is None:
            return {}
        resampled = self._bootstrap.resampled
        sides = statistics.neighbours(self.scores, place) if self.is_ordered else self._others(place)
        found = {side: statistics.confidence_in(resampled, place, side) for side in sides}
        return {side: value for side, value in found.items() if value is not None}

    def _others(self, place: int) -> list[int]:
        return [other for other in np.flatnonzero(~np.isnan(self.scores)).tolist() if other != place]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the scores over the rates with their intervals, and beside them the losses over the steps.

        Args:
            ax: Where to draw the scores, alone; without it a new figure is made with pyplot.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        from fastlr.sweeping.pictures import plotted

        return plotted(self, ax)

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON, written to a file as well where one is named; NaN and infinities are null."""
        place = self.best_index
        last = None if self.last_validation is None else [one.tolist() for one in self.last_validation]
        record = {
            "format": FORMAT,
            "entries": [_packed(entry) for entry in self.entries],
            "rates": self.rates,
            "best": None if place is None else _packed(self.entries[place]),
            "best_index": place,
            "largest_stable": _packed(self.largest_stable),
            "basin": self.basin,
            "basin_width": self.basin_width,
            "scores": self.scores,
            "intervals": self.intervals,
            "confidence": self.confidence,
            "confidences": {str(side): value for side, value in self.confidences.items()},
            "start": self.start,
            "diverged": self.diverged,
            "dropped": self.dropped,
            "losses": self.losses,
            "validated": self.validated,
            "validation": self.validation,
            "last_validation": last,
            "engine": asdict(self.engine),
            "notes": self.notes,
            "shaped": self.shaped,
        }
        return to_json(record, path)

    @classmethod
    def from_json(cls, text: str) -> Sweep:
        """The sweep that `to_json` wrote. Raises ValueError for anything else."""
        try:
            record: dict[str, Any] = json.loads(text)
            if record["format"] != FORMAT:
                raise ValueError(f"A sweep in another format: {record['format']!r}. Read it with its own version.")
            count, last = len(record["entries"]), record["last_validation"]
            return cls(
                entries=tuple(_unpacked(entry) for entry in record["entries"]),
                rates=np.array(record["rates"], dtype=np.float64),
                losses=_table(record["losses"], count),
                start=record["start"],
                diverged=tuple(record["diverged"]),
                dropped=tuple(record["dropped"]),
                validated=tuple(record["validated"]),
                validation=_table(record["validation"], count),
                last_validation=None if last is None else (_table(last[0], count), np.array(last[1], dtype=np.float64)),
                engine=Choice(**record["engine"]),
                notes=tuple(record["notes"]),
                confidence=record["confidence"],
                shaped=record["shaped"],
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"Not a sweep: {text[:60]!r}. Give what to_json() wrote.") from error

    def __repr__(self) -> str:
        return f"<sweep of {len(self.entries)}: best={self.best!r}>"

    def __str__(self) -> str:
        from fastlr.sweeping.text import told

        return told(self)


def _packed(entry: Rate | None) -> Any:
    return entry.to_dict() if isinstance(entry, Schedule) else entry


def _unpacked(entry: Any) -> Rate:
    return Schedule.from_dict(entry) if isinstance(entry, dict) else entry


def _table(rows: list[Any], count: int) -> Floats:
    return np.array(rows, dtype=np.float64).reshape(-1, count)
