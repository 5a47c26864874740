"""Runs as they are kept, for people and for the command line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from fastlr.finder.result import RangeTest
from fastlr.studying import finds, sweeps
from fastlr.studying.claims import OUTCOME, PLACE, START, Claim, claims_in, identity, too_late
from fastlr.studying.store import Store
from fastlr.sweeping import Sweep

STATES = {TrialState.COMPLETE: "done", TrialState.FAIL: "failed"}  # others by Optuna's names


@dataclass(frozen=True)
class Run:
    """One rate of a sweep, or a range test.

    Attributes:
        number: That of Optuna's trial.
        kind: "sweep", "find_lr", or "optuna" for a trial that something else has made.
        state: "done", "diverged", "dropped" (by halving), "running" or "failed"; of others what Optuna calls it.
        rate: The highest rate of a run of a sweep, and what a range test has found; None where there is none.
        entry: The rate or the schedule, as short text.
        score: What ranks the runs of a sweep.
        interval: Where the score's resampled means lie.
        label: As it was given.
        asked: Everything that decides on the result; long values are cut.
        seed: That all random numbers began with.
        start: Digests of parameters and of the first batch, and its loss.
        outcome: How it ended.
        versions: Of fastlr and torch.
        begun, ended: When.
    """

    number: int
    kind: str
    state: str
    rate: float | None
    entry: str
    score: float | None
    interval: tuple[float, float] | None
    label: str | None
    asked: dict[str, Any]
    seed: int | None
    start: dict[str, Any]
    outcome: dict[str, Any]
    versions: dict[str, str]
    begun: datetime | None
    ended: datetime | None
    _read: Callable[[], Sweep | RangeTest | None] = field(repr=False, compare=False)

    @property
    def result(self) -> Sweep | RangeTest | None:
        """A `Sweep` of this rate alone, or the `RangeTest`. None where there is nothing yet."""
        return self._read()

    @property
    def seconds(self) -> float | None:
        """How long it took; of rates that were trained together, each as long as all."""
        return None if self.begun is None or self.ended is None else (self.ended - self.begun).total_seconds()


def runs_of(store: Store) -> list[Run]:
    """All runs, in the order of their numbers, without claims that came too late."""
    claims = claims_in(store)
    over = {claim.identity: claim for claim in reversed(claims) if claim.is_over}
    dead = {claim.id for claim in claims if claim.is_dead}
    return [_run(trial, over, dead) for trial in store.trials() if not too_late(trial)]


def _run(trial: FrozenTrial, over: dict[str, Claim], dead: set[int]) -> Run:
    about, outcome = trial.user_attrs, trial.user_attrs.get(OUTCOME, {})
    kind = about.get("fastlr_kind", "optuna")
    claim = over.get(identity(trial))
    rate = outcome.get("lr") if kind == "find_lr" else trial.params.get("lr")
    values = trial.values
    score = values[0] if values is not None and math.isfinite(values[0]) else None
    return Run(
        number=trial.number,
        kind=kind,
        state=_state(trial, kind, outcome, dead),
        rate=rate,
        entry=about.get("fastlr_entry", "" if rate is None else f"{rate:.4g}"),
        score=score,
        interval=tuple(outcome["interval"]) if "interval" in outcome else None,
        label=about.get("fastlr_label"),
        asked=about.get("fastlr_asked", {}),
        seed=about.get("fastlr_seed"),
        start=trial.system_attrs.get(START, {}),
        outcome=outcome,
        versions=about.get("fastlr_versions", {}),
        begun=trial.datetime_start if claim is None else claim.trial.datetime_start,
        ended=trial.datetime_complete,
        _read=lambda: None if claim is None else _result(trial, kind, claim),
    )


def _state(trial: FrozenTrial, kind: str, outcome: dict[str, Any], dead: set[int]) -> str:
    if trial.state == TrialState.PRUNED and kind != "optuna":
        return "diverged" if "diverged at step" in outcome else "dropped" if kind == "sweep" else "done"
    if trial.state == TrialState.RUNNING and trial._trial_id in dead:
        return "failed"
    return STATES.get(trial.state, trial.state.name.lower())


def _result(trial: FrozenTrial, kind: str, claim: Claim) -> Sweep | RangeTest:
    record = claim.record()
    if kind == "find_lr":
        return finds.range_test_of(record)
    return sweeps.one_of(sweeps.sweep_of(record), trial.system_attrs[PLACE])
