"""How far a search is, on stderr: a bar where that is a terminal and rich is there, else a line now and then."""

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

SECONDS = 10.0  # between two lines

Show: TypeAlias = Callable[[int, str], None]  # (done, text)


@contextmanager
def shown(what: str, total: int | None, *, quiet: bool) -> Iterator[Show]:
    """Call what it gives with what is done of the total and with how it stands. A total of None is not known."""
    bar = None if quiet else _bar()
    if quiet:
        yield lambda done, text: None
    elif bar is None:
        yield _lines(what, total)
    else:
        with bar:
            task = bar.add_task(what, total=total)
            yield lambda done, text: bar.update(task, completed=done, description=f"{what}  {text}")


def _bar() -> Any:
    """Rich's bar on stderr, gone at its end; None without a terminal or without rich."""
    if not sys.stderr.isatty():
        return None
    try:
        console, progress = (importlib.import_module(f"rich.{name}") for name in ("console", "progress"))
    except ModuleNotFoundError:
        return None
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(20),
        progress.TimeElapsedColumn(),
        console=console.Console(stderr=True),
        transient=True,
    )


def _lines(what: str, total: int | None) -> Show:
    last = time.monotonic()

    def show(done: int, text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS:
            last = time.monotonic()
            print(f"{what}: {done}{'' if total is None else f' of {total}'}  {text}", file=sys.stderr, flush=True)

    return show
