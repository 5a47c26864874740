"""Where runs are kept: a file, a database or a storage of Optuna's, checked before anything is done."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
import warnings
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from fastlr.studying import owners
from fastlr.studying.errors import StudyError

FILE = "fastlr.db"
LOCKED = 10.0  # seconds that SQLite waits for a lock at each try
TRIES, PAUSE = 10, 0.3  # at tables that are being made, with so many seconds between
TABLES = {"studies", "trials", "alembic_version"}  # some of Optuna's


def opened(given: str | Path | BaseStorage | None, *, create: bool) -> tuple[BaseStorage, str]:
    """The storage, and its name for people, without a password.

    Raises StudyError where it cannot be used; a file is then as it was.
    """
    if isinstance(given, BaseStorage):
        return given, repr(given.engine.url) if isinstance(given, RDBStorage) else type(given).__name__
    url = _url(FILE if given is None else given)
    name = url.database if url.get_backend_name() == "sqlite" and url.database else repr(url)
    file = _file_of(url)
    try:
        return (_of_server(url, name, create=create) if file is None else _of_file(url, file, create=create)), name
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, RuntimeError) as error:
        if isinstance(error, StudyError):
            raise
        raise StudyError(f"The store cannot be used: {name} ({told(error)}).") from error


def _of_file(url: URL, file: Path, *, create: bool) -> RDBStorage:
    has_tables = _check_file(file, create=create)
    if not has_tables and not file.exists():
        _create_whole(file)
        has_tables = True
    return _storage(url, create=not has_tables)


def _of_server(url: URL, name: str, *, create: bool) -> RDBStorage:
    """Tried again where the tables are being made by another process, which takes a moment."""
    left = TRIES
    while True:
        has_tables = _has_tables(url)
        if not has_tables and not create:
            raise StudyError(f"No runs are kept there: {name}. Name the database of a study.")
        try:
            return _storage(url, create=not has_tables)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError):
            left -= 1
            if left == 0:
                raise
        time.sleep(PAUSE)


def told(error: BaseException) -> str:
    """What a database says, without SQLAlchemy's statements and links."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    return str(getattr(cause, "orig", None) or cause).strip().rstrip(".").splitlines()[0]


def _url(given: Any) -> URL:
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(f"storage is no file, URL or storage: {given!r}. Give such as 'runs.db'.")
    text = os.fspath(given)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        return sqlalchemy.make_url(text)
    except ArgumentError as error:
        raise StudyError(f"storage is no URL: {text!r}. Give such as 'sqlite:///runs.db', or a file.") from error


def _file_of(url: URL) -> Path | None:
    """The file of an SQLite database; None for others, and for those in memory."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    assert url.database is not None
    return None if url.database.startswith("file:") else Path(url.database)


def _storage(url: URL, *, create: bool) -> RDBStorage:
    is_sqlite = url.get_backend_name() == "sqlite"
    text = url.render_as_string(hide_password=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of heartbeats
        found = RDBStorage(
            text.replace("{", "{{").replace("}", "}}"),  # Optuna fills in the version of its tables
            engine_kwargs={"connect_args": {"timeout": LOCKED}} if is_sqlite else None,
            heartbeat_interval=owners.INTERVAL,
            grace_period=owners.GRACE,
            skip_table_creation=not create,
        )
    weakref.finalize(found, found.engine.dispose)  # closes the connections once nobody uses it any more
    return found


def _has_tables(url: URL) -> bool:
    engine = sqlalchemy.create_engine(url)
    try:
        return sqlalchemy.inspect(engine).has_table("studies")
    finally:
        engine.dispose()


def _check_file(file: Path, *, create: bool) -> bool:
    """Whether the file has Optuna's tables; it may be empty or absent where it is to be created."""
    folder = file.resolve().parent
    if not folder.is_dir():
        raise StudyError(f"The folder of the store is not there: {folder}. Make it, or name another file.")
    if not file.exists() and not create:
        raise StudyError(f"No runs are kept there: {file} is not there. Name the file of a study.")
    if file.exists() and not file.is_file():
        raise StudyError(f"The store is no file: {file}. Name a file.")
    places = [folder, *([file] if file.exists() else [])]
    if create and not all(os.access(place, os.W_OK) for place in places):  # SQLite's journal lies beside the file
        raise StudyError(f"The store cannot be written: {file}. Name a file in a folder that you may write to.")
    if not file.exists():
        return False
    tables = _tables(file)
    if tables and not tables >= TABLES:
        raise StudyError(f"A database of something else: {file} has the tables {', '.join(sorted(tables)[:4])}. "
                         "Name another file.")  # fmt: skip
    if not tables and not create:
        raise StudyError(f"No runs are kept there: {file} is empty. Name the file of a study.")
    return bool(tables)


def _tables(file: Path) -> set[str]:
    """The names of the tables, of a database that SQLite finds whole."""

    def refuse(why: object) -> NoReturn:
        raise StudyError(f"The store is damaged, or no SQLite database: {file} ({why}). Restore it, or name another.")

    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, timeout=LOCKED)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                refuse(found)
            return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        raise StudyError(f"The store cannot be read: {file} ({error}). Wait for who uses it, and try again.") from error
    except sqlite3.DatabaseError as error:
        refuse(error)


def _create_whole(file: Path) -> None:
    """Make the file with all tables in it at once, as another process may do the same at this time."""
    with tempfile.TemporaryDirectory(prefix=f"{file.name}-", dir=file.resolve().parent) as folder:
        new = Path(folder) / file.name
        _storage(URL.create("sqlite", database=str(new)), create=True).engine.dispose()
        try:
            os.link(new, file)
        except FileExistsError:
            return
        except OSError:  # a file system without links
            os.replace(new, file)
