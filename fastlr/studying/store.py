"""A study of Optuna's as fastlr uses it: calls that wait for a locked database, and one kind of error."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from fastlr.studying.errors import StudyError
from fastlr.studying.opening import told

FORMAT = 1  # of what fastlr writes into a study
FORMAT_KEY = "fastlr_format"
PATIENCE = 60.0  # seconds for which a locked database is tried again, at least
LONGEST_NAME = 512
T = TypeVar("T")


class _Quiet:
    """A block in which Optuna tells of nothing below a warning. Several threads may be in it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._level = optuna.logging.INFO

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._level = optuna.logging.get_verbosity()
                optuna.logging.set_verbosity(max(self._level, optuna.logging.WARNING))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                optuna.logging.set_verbosity(self._level)


quiet = _Quiet()


class Store:
    """One study in a storage.

    Args:
        place: The storage's name for people.
        create: Make the study where it is not there.

    Raises:
        StudyError: It is not there, from a newer version, or one whose values are no losses; or the storage fails.
    """

    def __init__(self, storage: BaseStorage, place: str, name: str, *, create: bool) -> None:
        self.storage, self.place, self.name = storage, place, name
        if create:
            made = self._patient(optuna.create_study, storage=storage, study_name=name, load_if_exists=True)
            self.optuna: optuna.Study = made
        else:
            names = study_names(storage, place)
            if name not in names:
                raise StudyError(f"No such study: {name!r} in {place}. {_which(names)}.")
            self.optuna = self._patient(optuna.load_study, storage=storage, study_name=name)
        self._id = self._patient(storage.get_study_id_from_name, name)
        self._check(create=create)

    def _check(self, *, create: bool) -> None:
        if list(self._patient(self.storage.get_study_directions, self._id)) != [StudyDirection.MINIMIZE]:
            raise StudyError(f"A study whose values are no losses: {self.name!r} does not minimize. Use another name.")
        known = self._patient(self.storage.get_study_user_attrs, self._id).get(FORMAT_KEY)
        if known is None and create:
            self._patient(self.storage.set_study_user_attr, self._id, FORMAT_KEY, FORMAT)
        elif known is not None and known > FORMAT:
            raise StudyError(f"A study of a newer version: {self.name!r} has format {known}, and this fastlr "
                             f"{FORMAT}. Run: pip install --upgrade 'torch-fastlr[study]'")  # fmt: skip

    def trials(self) -> list[FrozenTrial]:
        """All trials as they are now, in the order of their numbers."""
        return self._patient(self.optuna.get_trials, deepcopy=False)

    def add(self, trial: FrozenTrial) -> int:
        """Add a trial; returns its id. Numbers are given in the order in which trials are added, by whomever."""
        return self._patient(self.storage.create_new_trial, self._id, trial)

    def note(self, trial_id: int, key: str, value: Any) -> None:
        """Set one of a running trial's attributes that are for people to read."""
        self._patient(self.storage.set_trial_user_attr, trial_id, key, value)

    def write(self, trial_id: int, key: str, value: Any) -> None:
        """Set one of a running trial's attributes that only fastlr reads."""
        self._patient(self.storage.set_trial_system_attr, trial_id, key, value)

    def report(self, trial_id: int, step: int, value: float) -> None:
        """Set an intermediate value of a running trial."""
        self._patient(self.storage.set_trial_intermediate_value, trial_id, step, value)

    def finish(self, trial_id: int, state: TrialState, value: float | None = None) -> bool:
        """End a running trial. Returns False where someone has ended it already."""
        try:
            values = None if value is None else [value]
            return self._patient(self.storage.set_trial_state_values, trial_id, state, values)
        except UpdateFinishedTrialError:
            return False

    def stale(self) -> list[int]:
        """The ids of running trials whose hearts have stopped, where the storage knows of hearts."""
        if not optuna.storages._heartbeat.is_heartbeat_enabled(self.storage):
            return []
        return self._patient(self.storage._get_stale_trial_ids, self._id)  # type: ignore[attr-defined]

    def beat(self, trial_id: int) -> None:
        """Tell that a running trial is being worked on."""
        if isinstance(self.storage, optuna.storages._heartbeat.BaseHeartbeat):
            self._patient(self.storage.record_heartbeat, trial_id)

    def close_thread(self) -> None:
        """Close what the present thread has opened."""
        getattr(self.storage, "remove_session", lambda: None)()

    def _patient(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        return patient(self.place, call, *arguments, **named)


def patient(place: str, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Call, again and again while the database is locked or out of reach. Raises StudyError where it fails."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with quiet:
                return call(*arguments, **named)
        except (StorageInternalError, SQLAlchemyError) as error:
            passing = _may_pass(error)
            if not passing or time.monotonic() > end:
                tried = f" for {PATIENCE:.0f} seconds" if passing else ""
                raise StudyError(f"The store could not be used{tried}: {place} ({told(error)}).") from error
            time.sleep(random.uniform(0.05, 0.25))


def study_names(storage: BaseStorage, place: str) -> list[str]:
    """Of all studies in a storage."""
    return [one.study_name for one in patient(place, storage.get_all_studies)]


def _which(names: Sequence[str]) -> str:
    return f"It has {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else "It has none"


def _may_pass(error: Exception) -> bool:
    """Whether it is a lock, or a connection that was lost."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, OperationalError):
        return False
    text = str(cause.orig)
    return "locked" in text or "busy" in text or type(cause.orig).__module__ != "sqlite3"
