"""Sweeps as records of groups of rates, and what they are together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from fastlr.schedules import Schedule
from fastlr.studying.questions import plain
from fastlr.studying.work import Ended, curve_of
from fastlr.sweeping.calibration import Choice
from fastlr.sweeping.result import Sweep
from fastlr.sweeping.settings import Rate
from fastlr.sweeping.statistics import Floats

POINTS = 6  # losses for Optuna's curve of a run


def record_of(sweep: Sweep) -> dict[str, Any]:
    """A sweep as data, every float by its bits."""
    return {**{name: getattr(sweep, name) for name in Sweep.__dataclass_fields__},
            "entries": [plain(entry) for entry in sweep.entries], "engine": asdict(sweep.engine)}  # fmt: skip


def sweep_of(record: dict[str, Any]) -> Sweep:
    """The sweep that `record_of` was given."""
    lists = {name: tuple(record[name]) for name in ("diverged", "dropped", "validated", "notes")}
    entries = tuple(Schedule.from_dict(one) if isinstance(one, dict) else one for one in record["entries"])
    last = None if record["last_validation"] is None else tuple(record["last_validation"])
    return Sweep(
        **{**record, **lists, "entries": entries, "last_validation": last, "engine": Choice(**record["engine"])}
    )


def ends_of(sweep: Sweep) -> list[Ended]:
    """What became of each rate."""
    return [_end(sweep, place) for place in range(len(sweep.entries))]


def _end(sweep: Sweep, place: int) -> Ended:
    score, interval = float(sweep.scores[place]), sweep.intervals[place].tolist()
    outcome = {"engine": sweep.engine.name, "start": sweep.start}
    if (step := sweep.diverged[place]) is not None:
        outcome["diverged at step"] = step
    elif (step := sweep.dropped[place]) is not None:
        outcome["dropped after steps"] = step
    elif np.isfinite(interval).all():
        outcome["interval"] = interval
    return Ended(None if np.isnan(score) else score, _curve(sweep, place), outcome)


def _curve(sweep: Sweep, place: int) -> dict[int, float]:
    """Validation losses, or without them means of the losses since the point before."""
    if sweep.validated:
        kept = np.unique(np.linspace(0, len(sweep.validated) - 1, POINTS).round().astype(int))
        return curve_of(np.array(sweep.validated)[kept].tolist(), sweep.validation[kept, place].tolist())
    losses = sweep.losses[:, place]
    losses = losses[~np.isnan(losses)]
    ends = np.unique(np.linspace(0, losses.size, min(POINTS, losses.size) + 1).round().astype(int))
    means = [float(losses[first:last].mean()) for first, last in itertools.pairwise(ends)]
    return curve_of(ends[1:].tolist(), means)


def joined(sweeps: Sequence[Sweep], entries: Sequence[Rate], confidence: float) -> Sweep:
    """One sweep of the rates of several, which had the same start and the same batches."""
    first = sweeps[0]
    longest = max(sweeps, key=lambda one: np.count_nonzero(~np.isnan(one.losses).all(axis=1)))  # that ran
    weighted = next((one.last_validation for one in sweeps if one.last_validation is not None), None)
    return replace(
        first,
        entries=tuple(entries),
        rates=np.concatenate([one.rates for one in sweeps]),
        losses=np.hstack([one.losses for one in sweeps]),
        diverged=tuple(step for one in sweeps for step in one.diverged),
        dropped=tuple(step for one in sweeps for step in one.dropped),
        validated=longest.validated,
        validation=np.hstack([_filled(one.validation, len(longest.validated)) for one in sweeps]),
        last_validation=None if weighted is None else (_last(sweeps, longest, weighted), weighted[1]),
        notes=longest.notes,
        confidence=confidence,
    )


def _last(sweeps: Sequence[Sweep], longest: Sweep, weighted: tuple[Floats, Floats]) -> Floats:
    """The last validation losses of each batch; NaN for those that were not there at that time."""
    tables = []
    for one in sweeps:
        there = one.last_validation is not None and one.validated == longest.validated
        empty = np.full((len(weighted[1]), len(one.entries)), np.nan)
        tables.append(one.last_validation[0] if there else empty)  # type: ignore[index]
    return np.hstack(tables)


def _filled(table: Floats, rows: int) -> Floats:
    """With rows of NaN at its end, for a group that stopped early."""
    return np.vstack([table, np.full((rows - len(table), table.shape[1]), np.nan)])


def one_of(sweep: Sweep, place: int) -> Sweep:
    """The sweep of one of its entries alone."""
    column = slice(place, place + 1)
    last = sweep.last_validation
    return replace(
        sweep,
        entries=sweep.entries[column],
        rates=sweep.rates[column],
        losses=sweep.losses[:, column],
        diverged=sweep.diverged[column],
        dropped=sweep.dropped[column],
        validation=sweep.validation[:, column],
        last_validation=None if last is None else (last[0][:, column], last[1]),
    )
