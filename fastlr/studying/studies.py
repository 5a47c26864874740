"""Searches whose runs are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from optuna.storages import BaseStorage

from fastlr.finder import find_lr
from fastlr.finder.result import RangeTest
from fastlr.studying.asked import bound, check_label
from fastlr.studying.errors import StudyError
from fastlr.studying.find_work import kept_find
from fastlr.studying.opening import opened
from fastlr.studying.reading import Run, runs_of
from fastlr.studying.store import LONGEST_NAME, Store, study_names
from fastlr.studying.sweep_work import SweepWork
from fastlr.sweeping import Sweep, sweep
from fastlr.sweeping.settings import Rate

if TYPE_CHECKING:
    import optuna


class Study:
    """Runs under one name in a store: `sweep` and `find_lr` train what is not there yet, and read what is.

    Made by `fastlr.study`.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def optuna(self) -> optuna.Study:
        """Optuna's study, for its plots, dashboard and workers."""
        return self._store.optuna

    @property
    def runs(self) -> list[Run]:
        """All runs, in the order of their numbers. Trials of others are among them, as of the kind "optuna"."""
        return runs_of(self._store)

    @property
    def best(self) -> Run | None:
        """The run of a sweep with the lowest score; None where none came to its end. Compare what was asked alike."""
        scored = [one for one in self.runs if one.kind == "sweep" and one.score is not None]
        return min(scored, key=lambda one: (one.score, one.number), default=None)

    def sweep(
        self,
        model: torch.nn.Module,
        loss_fn: Callable[..., Any] | None,
        loader: Iterable[Any],
        rates: Iterable[Rate],
        *,
        steps: int,
        label: str | None = None,
        at_once: int | None = None,
        other_start: bool = False,
        seed: int | None = None,
        progress: Callable[[int, Rate, float], object] | None = None,
        **options: Any,
    ) -> Sweep:
        """`fastlr.sweep` with its arguments, kept: a rate that is in the store is read, not trained again.

        Args:
            label: A name for the experiment; runs with another one are others.
            at_once: How many rates are trained together, and stored once they are done: what a kill loses. Further
                processes that ask the same take groups of their own. None: all of them, which is the fastest. Each
                group is compared within itself for `freeze_above`.
            other_start: Train from here as well where the runs that are kept have another start.
            seed: Where all random numbers begin. None: where those of the runs did that are kept, else with a number
                that follows from where torch's are.
            progress: As for `fastlr.sweep`; the steps of all groups are counted on.

        Raises:
            StudyError: Runs of this question are kept from another start; or the store fails, with what was trained.
            TypeError, ValueError: What `fastlr.sweep` refuses; a loader that does not begin again, with `at_once`.
        """
        given = bound(sweep, model, loss_fn, loader, rates, steps=steps, seed=seed, progress=progress, **options)
        return SweepWork(self._store, given, check_label(label), at_once, other_start=other_start).result()

    def find_lr(
        self,
        model: torch.nn.Module,
        loss_fn: Callable[..., Any] | None,
        loader: Iterable[Any],
        *positional: Any,
        label: str | None = None,
        other_start: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> RangeTest:
        """`fastlr.find_lr` with its arguments, kept: one that is in the store is read, not done again.

        `label`, `other_start`, `seed` and what is raised are as for `sweep`.
        """
        given = bound(find_lr, model, loss_fn, loader, *positional, seed=seed, **options)
        return kept_find(self._store, given, check_label(label), other_start=other_start)

    def __repr__(self) -> str:
        return f"<study {self.name!r} in {self._store.place}>"


def open_study(name: str, storage: str | Path | BaseStorage | None, *, create: bool) -> Study:
    """What `fastlr.study` does."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"No name of a study: {name!r}. Give a text of 1 to {LONGEST_NAME} characters.")
    found, place = opened(storage, create=create)
    return Study(Store(found, place, name, create=create))


def kept_studies(storage: str | Path | BaseStorage | None, name: str | None) -> list[Study]:
    """The study of this name, or all, of a store that is there. Raises StudyError where there is none."""
    found, place = opened(storage, create=False)
    names = study_names(found, place) if name is None else [name]
    if not names:
        raise StudyError(f"No study is kept there: {place}. Make one with fastlr.study.")
    return [Study(Store(found, place, one, create=False)) for one in names]
