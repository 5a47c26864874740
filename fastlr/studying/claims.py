"""Who trains what: claims on groups of rates, settled by the order in which a database numbers its trials.

A claim is a running trial, that of the first rate of a group. Whoever wants one adds it, and then looks at all: the one
with the lowest number among those that are alive has it, and the others end before anything is trained. Every
database numbers trials one after another, whereas taking a waiting trial (Optuna's ``set_trial_state_values``) is
no atomic step in SQLite, and any of Optuna's own workers would run it.

A claim keeps the results of its group. `WHOLE` is written last: from then on nothing has to be trained again, whatever
becomes of the claim. Then the trials of the other rates are added, finished, and at last the claim itself is.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from fastlr.studying import owners
from fastlr.studying.errors import StudyError
from fastlr.studying.packing import unpacked
from fastlr.studying.starts import Start
from fastlr.studying.store import Store

# Attributes that only fastlr reads.
QUESTION, GROUP, PLACE, START = "fastlr:question", "fastlr:group", "fastlr:place", "fastlr:start"
OWNER, ENGINE, DATA, WHOLE = "fastlr:owner", "fastlr:engine", "fastlr:data:", "fastlr:whole"
OUTCOME = "fastlr_outcome"  # for people; of a claim that came too late it has SUPERSEDED
SUPERSEDED = "superseded by"
POLL = 0.5  # seconds between two looks at what another process does

RATES = (1e-12, 1e6)  # one range for all trials: Optuna's plots compare parameters of the same
OVER = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Claim:
    """A trial that claims a group, as it was last seen.

    Attributes:
        is_dead: It is running, and nobody works on it any more.
    """

    trial: FrozenTrial
    is_dead: bool = False

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def id(self) -> int:
        return self.trial._trial_id

    @property
    def group(self) -> str:
        return str(self.trial.system_attrs[GROUP])

    @property
    def identity(self) -> str:
        """The same for all trials of a group from one start."""
        return identity(self.trial)

    @property
    def start(self) -> dict[str, Any]:
        found: dict[str, Any] = self.trial.system_attrs[START]
        return found

    @property
    def owner(self) -> owners.Owner:
        found: owners.Owner = self.trial.system_attrs[OWNER]
        return found

    @property
    def engine(self) -> str | None:
        """The engine that was chosen, once it has been."""
        return self.trial.system_attrs.get(ENGINE)

    @property
    def is_over(self) -> bool:
        """Whether the group is done, and every rate's trial there."""
        return self.trial.state in OVER and self.is_whole

    @property
    def is_alive(self) -> bool:
        """Whether somebody works on it."""
        return self.trial.state == TrialState.RUNNING and not self.is_dead

    @property
    def is_whole(self) -> bool:
        """Whether it has all that was trained."""
        return WHOLE in self.trial.system_attrs

    def record(self) -> dict[str, Any]:
        """What was trained."""
        attributes = self.trial.system_attrs
        return unpacked([attributes[f"{DATA}{index}"] for index in range(attributes[WHOLE])])


def identity(trial: FrozenTrial) -> str:
    """Of the group and the start of a trial; empty for one that is not fastlr's."""
    marks = trial.system_attrs
    return json.dumps([marks[GROUP], marks[START]], sort_keys=True) if GROUP in marks else ""


def claims_in(store: Store, question: str | None = None) -> list[Claim]:
    """The claims on groups of a question, or of all, in the order of their numbers; none that came too late."""
    trials = store.trials()
    running = [trial for trial in trials if trial.state == TrialState.RUNNING and OWNER in trial.system_attrs]
    gone = {trial._trial_id for trial in running if owners.is_gone(trial.system_attrs[OWNER])}
    if running:
        gone |= set(store.stale())
    if gone:  # look again: who is gone now may have come to an end since
        trials = store.trials()
    return [
        Claim(trial, trial.state == TrialState.RUNNING and trial._trial_id in gone)
        for trial in trials
        if OWNER in trial.system_attrs and not too_late(trial) and question in (None, trial.system_attrs[QUESTION])
    ]


def too_late(trial: FrozenTrial) -> bool:
    """Whether it is a claim of which nothing was run, as an earlier one has the group."""
    return SUPERSEDED in trial.user_attrs.get(OUTCOME, ())


def seed_of(store: Store, question: str, parameters: str) -> int | None:
    """What the random numbers began with in the runs of a question that are kept, with these parameters."""
    known = (one for one in claims_in(store, question) if one.is_whole or one.is_alive)
    return next((int(one.start["seed"]) for one in known if one.start["parameters"] == parameters), None)


def rate_parameter(rate: float) -> dict[str, Any]:
    """The parameter of a trial, as Optuna takes it."""
    low, high = min(RATES[0], rate), max(RATES[1], rate)
    distribution = optuna.distributions.FloatDistribution(low, high, log=True)
    return {"params": {"lr": rate}, "distributions": {"lr": distribution}}


class Ledger:
    """The claims on the groups of one question, from one start."""

    def __init__(self, store: Store, question: str, start: Start, *, other_start: bool) -> None:
        self._store, self._question, self._start, self._other_start = store, question, start, other_start
        self._awaited: set[int] = set()

    def claims(self) -> list[Claim]:
        """Those from this start. Raises StudyError where another one's count, unless both may be there."""
        found = claims_in(self._store, self._question)
        same = [one for one in found if self._start.difference(one.start) is None]
        if not self._other_start:
            first = next((one for one in found if one.is_whole or one.is_alive), None)
            if first is not None and first not in same:
                self._refuse(first)
        return same

    def _refuse(self, first: Claim) -> None:
        raise StudyError(
            f"Not the start of the runs that are kept: {self._start.difference(first.start)} from run {first.number} "
            f"of {self._store.name!r}. Seed before the model is made (torch.manual_seed) to go on with them, give "
            "label= for an experiment of its own, or other_start=True to train from here as well."
        )

    def holder(self, claims: Sequence[Claim], group: str) -> Claim | None:
        """Who has a group: done it, or works on it."""
        return next((one for one in claims if one.group == group and (one.is_over or one.is_alive)), None)

    def take(self, group: str, about: dict[str, Any], rate: float | None) -> Claim | None:
        """Claim a group that nobody holds. None where someone was quicker.

        Args:
            about: For people to read, of its first run.
            rate: Of that.
        """
        known = self.claims()
        earlier = [one for one in known if one.group == group]
        owner = owners.new_owner()
        start = known[0].start if known else self._start.packed()  # the same one for all, to the last digit of the loss
        marks = {QUESTION: self._question, GROUP: group, PLACE: 0, START: start, OWNER: owner}
        trial = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs=about,
            system_attrs={**marks, **_retry(earlier)},
            **({} if rate is None else rate_parameter(rate)),
        )
        trial_id = None
        try:
            trial_id = self._store.add(trial)
            claims = self.claims()
            holder = self.holder(claims, group)
            if holder is not None and holder.owner["claim"] == owner["claim"]:
                for one in claims:
                    if one.group == group and one.is_dead:
                        self._fail(one.id, {"failed": "its process has ended"})
                return holder
            self._fail(trial_id, {SUPERSEDED: None if holder is None else holder.number})
        except BaseException as error:
            self.abandon(trial_id, owner, error)
            raise
        owners.release(owner)
        return None

    def abandon(self, trial_id: int | None, owner: owners.Owner, error: BaseException) -> None:
        """End a claim of this process because of an error, which matters more than whether the store hears of it."""
        owners.release(owner)
        why = f"{type(error).__name__}: {error}".strip().rstrip(":").splitlines()[0]
        with contextlib.suppress(StudyError):
            if trial_id is not None:
                self._fail(trial_id, {"failed": why[:200]})

    def _fail(self, trial_id: int, outcome: dict[str, Any]) -> None:
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self._store.note(trial_id, OUTCOME, outcome)
            self._store.finish(trial_id, TrialState.FAIL)

    def wait(self, claims: Sequence[Claim]) -> None:
        """Let others work for a moment.

        Each is given one beat of the heart: a process that dies before its first one would be waited for without end.
        """
        for one in claims:
            if one.is_alive and one.id not in self._awaited:
                self._awaited.add(one.id)
                self._store.beat(one.id)
        time.sleep(POLL)

    def engine(self, mine: Claim) -> str | None:
        """The engine that the question's first group has chosen. None where this one has to choose.

        Waits while an earlier claim may still choose one.
        """
        while True:
            earlier = [one for one in self.claims() if one.number < mine.number]
            known = next((one.engine for one in earlier if one.engine is not None), None)
            if known is not None:
                return known
            if not any(one.is_alive for one in earlier):
                return None
            self.wait(earlier)


def _retry(earlier: Sequence[Claim]) -> dict[str, Any]:
    """Which trials a new one retries, as Optuna's callback for stale trials writes it."""
    failed = [one.number for one in earlier if not one.is_over and not one.is_alive]
    return {"failed_trial": failed[0], "retry_history": failed} if failed else {}
