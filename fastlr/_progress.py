"""How far a search is, on stderr: a bar where that is a terminal and rich is there, else a line now and then."""

import importlib
import math
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


def lowest(show: Show) -> Callable[[int, float, float], None]:
    """The progress of a range test: the present rate, and where the loss was lowest."""
    least = (math.inf, math.nan)

    def progress(done: int, rate: float, loss: float) -> None:
        nonlocal least
        least = min(least, (loss, rate))
        show(done, f"rate {rate:.2e}  loss {loss:.4g}  lowest {least[0]:.4g} at {least[1]:.2e}")

    return progress


def best(show: Show) -> Callable[[int, Any, float], None]:
    """The progress of a sweep: the entry that is best at the time."""
    return lambda done, entry, loss: show(done, f"best {entry:.3g}, loss {loss:.4g}")


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
