"""Runs of sweeps beside each other: by the same batches where they have seen the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastlr._command import table
from fastlr.searching.files import plain
from fastlr.studying.errors import StudyError
from fastlr.studying.reading import Run
from fastlr.sweeping import Sweep, statistics
from fastlr.sweeping.statistics import Floats

APART = ("label", "layout", "seed")  # told elsewhere, or of no help


@dataclass(frozen=True)
class Comparison:
    """Scores of runs, and how sure their order is.

    Attributes:
        runs: In the order in which they were named.
        sweeps: Each run's losses.
        scores: NaN for runs that did not come to the end.
        intervals: Where the resampled means lie, [R, 2].
        best: The place of the lowest score; None where there is none.
        surer: For each run the part of the resamples in which the best is better; None for the best itself, for runs
            without a score, and for all where the batches are not the same.
        unpaired: Why the batches are not the same; None where they are.
    """

    runs: tuple[Run, ...]
    sweeps: tuple[Sweep, ...]
    scores: Floats
    intervals: Floats
    best: int | None
    surer: tuple[float | None, ...]
    unpaired: str | None

    @property
    def names(self) -> list[str]:
        """Each run by its number, rate and whatever sets it apart from the others."""
        keys = dict.fromkeys(key for run in self.runs for key in run.asked if key not in APART)
        apart = [key for key in keys if any(run.asked.get(key) != self.runs[0].asked.get(key) for run in self.runs)]
        return [" ".join([f"{run.number}:", run.entry, *_told(run, apart)]) for run in self.runs]

    @property
    def score_name(self) -> str:
        """What the scores are means of."""
        kinds = {"loss" if one.last_validation is None else "validation loss" for one in self.sweeps}
        return kinds.pop() if len(kinds) == 1 else "score"

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "runs": [run.number for run in self.runs],
            "names": self.names,
            "best": None if self.best is None else self.runs[self.best].number,
            "scores": plain(self.scores),
            "intervals": plain(self.intervals),
            "best_is_better": list(self.surer),
            "unpaired": self.unpaired,
        }

    def __str__(self) -> str:
        confidence = self.sweeps[0].confidence
        header = ["run", self.score_name, f"{confidence:.0%} interval", "best is better in"]
        rows = [
            [
                name,
                run.state if np.isnan(score) else f"{score:.4g}",
                "" if np.isnan(interval).any() else f"{interval[0]:.4g} to {interval[1]:.4g}",
                "best" if place == self.best else "" if sure is None else f"{sure:.0%}",
            ]
            for place, (name, run, score, interval, sure) in enumerate(
                zip(self.names, self.runs, self.scores, self.intervals, self.surer, strict=True)
            )
        ]
        last = "All have seen the same batches, which are resampled together." if self.unpaired is None else (
            f"Each by its own batches, so the order is less sure: {self.unpaired}."
        )  # fmt: skip
        return f"{table(header, rows)}\n\n{last}"


def compared(runs: Sequence[Run]) -> Comparison:
    """The runs beside each other. Raises StudyError for those that are not of sweeps, or have no losses yet."""
    for run in runs:
        if run.kind != "sweep" or run.result is None:
            what = f"a trial of {run.kind}" if run.kind != "sweep" else run.state
            raise StudyError(f"Not a run of a sweep with losses: {run.number} is {what}. Name others.")
    sweeps = tuple(run.result for run in runs if isinstance(run.result, Sweep))
    unpaired = _unpaired(runs)
    scores = np.array([sweep.scores[0] for sweep in sweeps])
    best = statistics.best_of(scores)
    surer: list[float | None] = [None] * len(runs)
    intervals = np.array([sweep.intervals[0] for sweep in sweeps])
    if unpaired is None and best is not None:
        found = statistics.bootstrap(*_paired(sweeps))
        for place in np.flatnonzero(~np.isnan(scores)).tolist():
            if place != best:
                surer[place] = statistics.confidence_in(found.resampled, best, place)
    return Comparison(tuple(runs), sweeps, scores, intervals, best, tuple(surer), unpaired)


def _unpaired(runs: Sequence[Run]) -> str | None:
    """Why the runs have not all seen the same batches."""
    first = runs[0]
    if any(run.asked["steps"] != first.asked["steps"] for run in runs):
        return "they have other numbers of steps"
    if len({run.asked["validate_every"] is None for run in runs}) > 1:
        return "they are ranked by other losses"
    batches = {(run.start["batch"], run.start["validation"], run.seed) for run in runs}
    return "their batches are not the same" if len(batches) > 1 else None


def _paired(sweeps: Sequence[Sweep]) -> tuple[Floats, float, Floats | None]:
    """The losses that the scores are means of, [batches, R], the confidence, and the batches' weights."""
    confidence = sweeps[0].confidence
    last = next((one.last_validation for one in sweeps if one.last_validation is not None), None)
    if last is None:
        losses = np.hstack([one.losses for one in sweeps])
        return losses[-statistics.window(len(losses)) :], confidence, None
    empty = np.full((len(last[1]), 1), np.nan)
    columns = [empty if one.last_validation is None else one.last_validation[0] for one in sweeps]
    return np.hstack(columns), confidence, last[1]


def _told(run: Run, apart: Sequence[str]) -> Iterator[str]:
    """What sets a run apart, as it is written in a call."""
    if run.label is not None:
        yield run.label
    for name in apart:
        value = run.asked.get(name)
        if name == "optimizer":
            yield str(value)
        elif isinstance(value, dict):
            yield from (f"{key}={one}" for key, one in value.items())
        else:
            yield f"{name}={value}"
