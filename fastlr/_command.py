"""What the subcommands share: one kind of failure, numbers, tables, JSON files and packages that are optional."""

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


class CommandError(Exception):
    """A failure whose message is all that the user needs to see; the command ends with exit status 1."""


def whole(text: str) -> int:
    """A whole number of at least 1, as an argparse type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a positive whole number: {text!r}. Give 1 or more")
    return int(text)


def optional_module(module: str, distribution: str, extra: str = "demo") -> ModuleType:
    """Import ``module``, or say which pip line brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"this command needs a package that is not installed: {distribution}. "
            f"Run: pip install 'torch-fastlr[{extra}]' (from a checkout: pip install '.[{extra}]')"
        ) from error


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table: readable in a terminal, and ready to paste into a document.

    The first column is text and is aligned left, all others right.
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [f":{'-' * (width - 1)}" if column == 0 else f"{'-' * (width - 1)}:" for column, width in enumerate(widths)]
    return "\n".join(line(cells) for cells in [header, rule, *rows])


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written before any work is done; creates the folders above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise CommandError(f"cannot write: {path} ({error.strerror}). Give a path that you may write to") from error


def write_json(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
