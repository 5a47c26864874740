"""Experiments kept: searches whose runs live in a database of Optuna's, go on after a kill, and can be compared."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from fastlr import _lazy
from fastlr.studying.errors import StudyError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from fastlr.studying.reading import Run
    from fastlr.studying.studies import Study

__all__ = ["Run", "Study", "StudyError", "study"]

__getattr__ = _lazy.attach(__name__, {"reading": "Run", "studies": "Study"})


def study(name: str, storage: str | Path | BaseStorage | None = None, *, create: bool = True) -> Study:
    """Open the study of this name, whose `sweep` and `find_lr` are those of fastlr, with every run kept.

    What a script has finished is read when it asks the same again, also after a kill; several processes share what is
    to be done. Optuna sees each run as a trial.

    Args:
        name: Of the study, as in Optuna.
        storage: A file of SQLite, by default ``fastlr.db`` in the current folder; the URL of any of Optuna's databases;
            or a storage of Optuna's.
        create: Whether the study is made where it is not there, and the file.

    Returns:
        A `Study`: ``sweep``, ``find_lr``, ``runs``, ``best``, ``optuna``.

    Raises:
        ModuleNotFoundError: Optuna is not installed.
        StudyError: The store is locked, damaged, of something else or of a newer version; it is then as it was.

    >>> import fastlr, optuna, torch
    >>> digits = study("digits", optuna.storages.InMemoryStorage())
    >>> batches = [(torch.eye(4), torch.arange(4.0).unsqueeze(1))]
    >>> found = digits.sweep(torch.nn.Linear(4, 1), torch.nn.functional.mse_loss, batches, [0.001, 0.1], steps=20)
    >>> found.best, [(run.number, run.rate, run.state) for run in digits.runs]
    (0.1, [(0, 0.001, 'done'), (1, 0.1, 'done')])
    """
    try:
        studies = importlib.import_module("fastlr.studying.studies")
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ModuleNotFoundError(
            "study needs a package that is not installed: optuna. Run: pip install 'torch-fastlr[study]'"
        ) from error
    found: Study = studies.open_study(name, storage, create=create)
    return found
