"""Stores that cannot be used: told before anything is trained, left as they are, and no result is lost."""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_cases import EXACT, RATES, Counted, assert_same, changed, quick_folder, training

import fastlr
from fastlr.studying import Study, StudyError, study
from fastlr.sweeping import sweep

optuna = pytest.importorskip("optuna")
from fastlr.studying import opening, store  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_threaded")

Patch = pytest.MonkeyPatch


def no_database(file: Path) -> None:
    file.write_text("no database, but a text of more than a hundred characters, which SQLite looks at first" * 3)


def torn(file: Path) -> None:
    study("digits", file)
    content = bytearray(file.read_bytes())
    content[4096 * 3 : 4096 * 20] = os.urandom(4096 * 17)
    file.write_bytes(content)


def cut(file: Path) -> None:
    study("digits", file)
    file.write_bytes(file.read_bytes()[:9000])


def of_something_else(file: Path) -> None:
    changed(file, "CREATE TABLE customers (name TEXT)")


def of_newer_optuna(file: Path) -> None:
    study("digits", file)
    changed(file, "UPDATE alembic_version SET version_num = 'v99.0.0.a'")


def of_newer_fastlr(file: Path) -> None:
    study("digits", file)
    changed(file, "UPDATE study_user_attributes SET value_json = '2' WHERE key = 'fastlr_format'")


def maximizing(file: Path) -> None:
    optuna.create_study(study_name="digits", storage=f"sqlite:///{file}", direction="maximize")


BAD: list[tuple[Callable[[Path], None], str]] = [
    (no_database, "damaged, or no SQLite database: {file} (file is not a database)"),
    (torn, "damaged, or no SQLite database: {file} ("),
    (cut, "damaged, or no SQLite database: {file} ("),
    (of_something_else, "A database of something else: {file} has the tables customers"),
    (of_newer_optuna, "Please try updating optuna to the latest version"),
    (of_newer_fastlr, "A study of a newer version: 'digits' has format 2, and this fastlr 1. Run: pip install"),
    (maximizing, "A study whose values are no losses: 'digits' does not minimize"),
    (lambda file: file.mkdir(), "The store is no file: {file}"),
]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(("make", "message"), BAD, ids=lambda one: getattr(one, "__name__", None))
def test_a_bad_store_is_refused_and_left_as_it_is(make: Callable[[Path], None], message: str) -> None:
    with quick_folder() as folder:
        file = folder / "runs.db"
        make(file)
        before = file.read_bytes() if file.is_file() else None
        for create in (True, False):
            with pytest.raises(StudyError) as caught:
                study("digits", file, create=create)
            assert message.format(file=file) in str(caught.value)
        assert (file.read_bytes() if file.is_file() else None) == before
        assert os.listdir(folder) == ["runs.db"]


PLACES: list[tuple[Any, type[Exception], str]] = [
    ("nowhere/runs.db", StudyError, "The folder of the store is not there: {folder}/nowhere. Make it"),
    ("nonsense://runs", StudyError, "The store cannot be used: nonsense://runs ("),
    ("sqlite//://", StudyError, "The store cannot be used|storage is no URL"),
    ("postgresql+psycopg2://me:secret@localhost/runs", StudyError, "postgresql+psycopg2://me:***@localhost/runs"),
    (3, TypeError, "storage is no file, URL or storage: 3"),
]


@pytest.mark.parametrize(("place", "kind", "message"), PLACES, ids=lambda one: str(one)[:12])
def test_a_place_that_cannot_be_one_is_named(
    place: Any, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as caught:
        study("digits", place)
    assert any(one.format(folder=tmp_path) in str(caught.value) for one in message.split("|"))
    assert "secret" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(opening.os, "access", lambda *_: False)
    with pytest.raises(StudyError, match=r"The store cannot be written: .*runs.db. Name a file in a folder"):
        study("digits", tmp_path / "runs.db")


@pytest.mark.parametrize("name", ["", 3, "x" * 513])
def test_a_study_needs_a_name(name: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No name of a study"):
        study(name, tmp_path / "runs.db")
    assert os.listdir(tmp_path) == []


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    with pytest.raises(StudyError, match=r"No runs are kept there: .*runs.db is not there"):
        study("digits", file, create=False)
    assert os.listdir(tmp_path) == []
    study("digits", file)
    with pytest.raises(StudyError, match=r"No such study: 'letters' in .*runs.db. It has digits"):
        study("letters", file, create=False)
    assert study("digits", file, create=False).runs == []
    assert os.listdir(tmp_path) == ["runs.db"]


def test_a_file_is_in_the_present_folder_and_may_have_any_name(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [None, "a b.db", "{SCHEMA_VERSION}%20.db", "sqlite:///url.db", Path("path.db")]
    for name in names:
        study("digits", name)
    assert sorted(os.listdir(tmp_path)) == sorted(
        ["fastlr.db", "a b.db", "{SCHEMA_VERSION}%20.db", "url.db", "path.db"]
    )
    assert repr(study("digits")) == "<study 'digits' in fastlr.db>"


class Locked:
    """Another program that holds a database."""

    def __init__(self, file: Path) -> None:
        self.database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self.database.execute("BEGIN EXCLUSIVE")

    def release(self) -> None:
        self.database.execute("COMMIT")
        self.database.close()


@pytest.fixture
def impatient(monkeypatch: Patch) -> None:
    monkeypatch.setattr(opening, "LOCKED", 0.02)
    monkeypatch.setattr(store, "PATIENCE", 0.1)


def test_a_locked_store_is_told_before_anything_is_trained(impatient: None) -> None:
    with quick_folder() as folder:
        kept = study("digits", folder / "runs.db")
        other = Locked(folder / "runs.db")
        counted = Counted()
        with pytest.raises(StudyError, match=r"cannot be read: .*locked.*Wait for who uses it"):
            study("digits", folder / "runs.db")
        with pytest.raises(StudyError, match=r"could not be used for 0 seconds: .*locked") as caught:
            kept.sweep(*training(), RATES, progress=counted, **EXACT)
        assert counted.steps == []
        assert caught.value.result is None
        other.release()


def locked_at_the_end(kept: Study, file: Path, at: int) -> Locked:
    """What holds the database from a step of a sweep on, which then cannot be stored."""
    held: list[Locked] = []

    def progress(done: int, *_: object) -> None:
        if done == at:
            held.append(Locked(file))

    with pytest.raises(StudyError, match="What was trained is the error's result") as caught:
        kept.sweep(*training(), RATES, at_once=3, progress=progress, **EXACT)
    options = {**EXACT, "freeze_above": None}
    assert_same(caught.value.result, sweep(*training(), RATES if at > EXACT["steps"] else RATES[:3], **options))
    return held[0]


@pytest.mark.parametrize("group", [1, 2])
def test_a_result_that_cannot_be_stored_is_in_the_error(group: int, impatient: None) -> None:
    with quick_folder() as folder:
        kept = study("digits", folder / "runs.db")
        locked_at_the_end(kept, folder / "runs.db", group * EXACT["steps"]).release()
        options = {**EXACT, "freeze_above": None}
        assert_same(kept.sweep(*training(), RATES, at_once=3, **EXACT), sweep(*training(), RATES, **options))


def test_a_lock_that_passes_is_waited_for(monkeypatch: Patch) -> None:
    monkeypatch.setattr(opening, "LOCKED", 0.02)
    with quick_folder() as folder:
        kept = study("digits", folder / "runs.db")
        other = Locked(folder / "runs.db")
        timer = threading.Timer(0.3, other.release)
        timer.start()
        began = time.monotonic()
        found = kept.sweep(*training(), RATES, **EXACT)
        assert time.monotonic() - began > 0.2
        timer.join()
        assert_same(found, sweep(*training(), RATES, **EXACT))


def test_without_optuna_a_study_names_what_brings_it(monkeypatch: Patch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("fastlr.studying.") or name == "optuna"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"not installed: optuna. Run: pip install 'torch-fastlr\[study\]'"):
        fastlr.study("digits", tmp_path / "runs.db")
