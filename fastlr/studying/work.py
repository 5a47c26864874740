"""Groups of rates that are read where they are kept, trained where nobody has, and awaited where someone does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial

from fastlr.studying.claims import (
    DATA,
    ENGINE,
    GROUP,
    OUTCOME,
    OVER,
    PLACE,
    QUESTION,
    START,
    WHOLE,
    Claim,
    Ledger,
    identity,
    rate_parameter,
)
from fastlr.studying.errors import StudyError
from fastlr.studying.owners import Heart, release
from fastlr.studying.packing import packed
from fastlr.studying.store import Store

Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """One trial of a group, as it is to be written.

    Attributes:
        rate: None where there is no single one.
        about: For people to read.
    """

    rate: float | None
    about: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """What became of a run.

    Attributes:
        score: None where it did not come to the end.
        curve: Some of its losses, by step.
        outcome: For people to read.
    """

    score: float | None
    curve: dict[int, float]
    outcome: dict[str, Any]

    @property
    def state(self) -> TrialState:
        return TrialState.PRUNED if self.score is None else TrialState.COMPLETE


@dataclass(frozen=True)
class Group:
    """Rates that are trained together."""

    key: str
    runs: Sequence[Planned]


@dataclass
class Work:
    """What has to be done for a question.

    Attributes:
        train: Trains a group, by the engine of this name if there is one, and tells of the one that it chooses.
        ends: What became of a group's runs.
        result: What is found so far, for an error to carry.
        shares_engine: Whether a group takes the engine that an earlier one has chosen.
    """

    store: Store
    ledger: Ledger
    groups: Sequence[Group]
    train: Callable[[Group, str | None, Callable[[str], None]], Record]
    ends: Callable[[Record], list[Ended]]
    result: Callable[[dict[str, Record]], Any]
    shares_engine: bool = False
    found: dict[str, Record] = field(default_factory=dict)
    _unkept: dict[str, Record] = field(default_factory=dict)

    def done(self) -> dict[str, Record]:
        """The records of all groups, by their keys."""
        while True:
            claims = self.ledger.claims()
            held = {group.key: self.ledger.holder(claims, group.key) for group in self.groups}
            for key, claim in held.items():
                if claim is not None and claim.is_over and key not in self.found:
                    self.found[key] = claim.record()
            free = [group for group in self.groups if group.key not in self.found and held[group.key] is None]
            if free:
                self._take(free[0])
            elif len(self.found) < len(held):
                self.ledger.wait(claims)
            else:
                return self.found

    def _take(self, group: Group) -> None:
        first = group.runs[0]
        claim = self.ledger.take(group.key, first.about, first.rate)
        if claim is None:
            return
        try:
            with Heart(lambda: self.store.beat(claim.id), self.store.close_thread):
                record = self._trained(group, claim)
                self._unkept[group.key] = record
                self._keep(group, claim, record)
            release(claim.owner)
        except UpdateFinishedTrialError:  # another process took this one for dead: whatever is kept there counts
            release(claim.owner)
        except StudyError as error:
            release(claim.owner)
            if group.key in self._unkept:
                result = self.result({**self.found, **self._unkept})
                saving = "What was trained is the error's result: save it, error.result.to_json(file)."
                raise StudyError(f"{error} {saving}", result) from error
            raise
        except BaseException as error:
            self.ledger.abandon(claim.id, claim.owner, error)
            raise

    def _trained(self, group: Group, claim: Claim) -> Record:
        """The record of a group: one that an ended claim has left, or a new one."""
        if group.key in self._unkept:
            return self._unkept[group.key]
        whole = next((one for one in self.ledger.claims() if one.group == group.key and one.is_whole), None)
        if whole is not None:
            return whole.record()
        engine = self.ledger.engine(claim) if self.shares_engine else None
        return self.train(group, engine, lambda name: self.store.write(claim.id, ENGINE, name))

    def _keep(self, group: Group, claim: Claim, record: Record) -> None:
        """Write the record, then the runs' trials; that of the first run, which is the claim, is the last to end."""
        pieces = packed(record)
        for index, piece in enumerate(pieces):
            self.store.write(claim.id, f"{DATA}{index}", piece)
        self.store.write(claim.id, WHOLE, len(pieces))
        ends = self.ends(record)
        marks = {name: claim.trial.system_attrs[name] for name in (QUESTION, GROUP, START)}
        same = [trial for trial in self.store.trials() if identity(trial) == claim.identity and trial.state in OVER]
        there = {trial.system_attrs[PLACE] for trial in same}
        for place, (run, end) in enumerate(zip(group.runs, ends, strict=True)):
            if place > 0 and place not in there:
                self.store.add(
                    create_trial(
                        state=end.state,
                        value=end.score,
                        user_attrs={**run.about, OUTCOME: end.outcome},
                        system_attrs={**marks, PLACE: place},
                        intermediate_values=end.curve,
                        **({} if run.rate is None else rate_parameter(run.rate)),
                    )
                )
        first = ends[0]
        for step, loss in first.curve.items():
            self.store.report(claim.id, step, loss)
        self.store.note(claim.id, OUTCOME, first.outcome)
        self.store.finish(claim.id, first.state, first.score)


def curve_of(steps: Sequence[int], losses: Sequence[float]) -> dict[int, float]:
    """Losses by step, without those that are no number."""
    return {int(step): float(loss) for step, loss in zip(steps, losses, strict=True) if not math.isnan(loss)}
