"""``fastlr plot`` and ``fastlr eval``: schedules from the command line, drawn and written as tables."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fastlr._command import CommandError, check_writable, optional_module
from fastlr.pictures import plot
from fastlr.pictures.axes import shortened
from fastlr.pictures.samples import whole_span
from fastlr.pictures.terminal import chart
from fastlr.schedules import Schedule, evaluate, from_json
from fastlr.schedules.checks import MAX_STEP
from fastlr.schedules.expression import parse
from fastlr.schedules.vocabulary import ExpressionError

BLOCK = 1 << 14  # values computed and written at once
AROUND = 60  # characters shown on each side of a mistake
SUFFIXES = (".pdf", ".png", ".svg")
CSV_MARKS = ',"\r\n'


def steps_range(text: str) -> range:
    """``N``, ``begin:end`` or ``begin:end:stride`` as a range, as an argparse type."""
    parts = text.split(":")
    if len(parts) > 3 or not all(part.isdecimal() and part.isascii() and len(part) < 20 for part in parts):
        raise argparse.ArgumentTypeError(f"no steps: {text!r}. Give N, begin:end or begin:end:stride")
    numbers = [int(part) for part in parts]
    if numbers[2:] == [0] or max(numbers) > MAX_STEP:
        raise argparse.ArgumentTypeError(f"out of range: {text!r}. Give steps up to 2**63 - 1 and a stride from 1 on")
    return range(*numbers)


def picture_file(text: str) -> Path:
    """A file whose suffix names a kind of picture, as an argparse type."""
    if Path(text).suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"unknown kind of picture: {text!r}. End it in {', '.join(SUFFIXES)}")
    return Path(text)


def read_schedule(argument: str) -> Schedule:
    """A schedule from an expression, from JSON, or from a file with either, written ``@file``."""
    text = argument
    try:
        if argument.startswith("@"):
            text = Path(argument[1:]).read_text(encoding="utf-8")
        return from_json(text) if text.lstrip().startswith("{") else parse(text)
    except ExpressionError as error:
        raise CommandError(f"{error}\n{pointed(text, error.position)}") from error
    except OSError as error:
        raise CommandError(f"cannot read: {argument[1:]} ({error.strerror}). Give a file with a schedule") from error
    except (ValueError, TypeError) as error:
        raise CommandError(str(error)) from error


def pointed(text: str, position: int) -> str:
    """The text around a position, with a caret below it."""
    begin = max(position - AROUND, 0)
    shown = "".join(one if one.isprintable() else " " for one in text[begin : position + AROUND])
    return f"  {shown}\n  {' ' * (position - begin)}^"


@contextmanager
def refusals() -> Iterator[None]:
    """What a schedule refuses, as a failure of the command."""
    try:
        yield
    except ValueError as error:
        raise CommandError(str(error)) from error


def run_plot(arguments: argparse.Namespace) -> int:
    schedules = {text: read_schedule(text) for text in arguments.expressions}
    with refusals():
        if arguments.output is None:
            title = [] if arguments.title is None else [arguments.title, ""]
            shown = chart(schedules, steps=arguments.steps, width=arguments.width, ascii=arguments.ascii or None)
            print("\n".join([*title, shown]), flush=True)
        else:
            save(schedules, arguments)
    return 0


def save(schedules: dict[str, Schedule], arguments: argparse.Namespace) -> None:
    """Draw with matplotlib into a file; no display is needed."""
    figure = optional_module("matplotlib.figure", "matplotlib").Figure(figsize=(8, 4.5), layout="constrained")
    check_writable(arguments.output)
    axes = figure.subplots()
    plot(schedules.values(), ax=axes, steps=arguments.steps, labels=map(shortened, schedules))
    if arguments.title is not None:
        axes.set_title(arguments.title)
    figure.savefig(arguments.output, dpi=120)
    print(f"wrote {arguments.output}")


def run_eval(arguments: argparse.Namespace) -> int:
    schedules = [read_schedule(text) for text in arguments.expressions]
    steps: range | None = arguments.steps
    if steps is None:
        if all(one.length is None for one in schedules):
            raise CommandError("no schedule has an end: without it there is no last step. Give --steps N")
        steps = range(whole_span(schedules, None) + 1)
    with refusals():
        check_values(schedules, steps)
        if arguments.output is not None:
            check_writable(arguments.output)
        target = nullcontext(sys.stdout) if arguments.output is None else arguments.output.open("w", encoding="utf-8")
        with target as out:
            writer = write_json_rows if arguments.format == "json" else write_csv
            writer(out, arguments.expressions, schedules, blocks(schedules, steps, arguments.dtype))
            out.flush()
    return 0


def check_values(schedules: list[Schedule], steps: range) -> None:
    """Refuse, before anything is written, steps at which a schedule has no value."""
    if steps:
        evaluate(schedules, [steps[0], steps[-1]])


def blocks(schedules: list[Schedule], steps: range, dtype: str) -> Iterator[tuple[range, np.ndarray[Any, Any]]]:
    """Some steps at a time with the values at them, of shape [steps, schedules]."""
    size = max(BLOCK // len(schedules), 1)
    for begin in range(0, len(steps), size):
        some = steps[begin : begin + size]
        yield some, evaluate(schedules, some, dtype=dtype).T


def write_csv(
    out: TextIO, names: list[str], _: list[Schedule], rows: Iterator[tuple[range, np.ndarray[Any, Any]]]
) -> None:
    """A column of steps and one for each schedule. Every number reads back with the same bits."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["step", *names])
    for steps, values in rows:
        for step, row in zip(steps, values, strict=True):
            writer.writerow([step, *(str(value) for value in row)])


def write_json_rows(
    out: TextIO, _: list[str], schedules: list[Schedule], rows: Iterator[tuple[range, np.ndarray[Any, Any]]]
) -> None:
    """The schedules as data, and rows of a step and its values, one in a line."""
    out.write(f'{{"schedules": {json.dumps([one.to_dict() for one in schedules])}, "rows": [')
    comma = "\n"
    for steps, values in rows:
        if not np.isfinite(values).all():
            raise ValueError("a value is not finite: JSON has no number for it. Use --format csv, or fewer steps.")
        for step, row in zip(steps, values, strict=True):
            out.write(f"{comma}[{', '.join([str(step), *(str(value) for value in row)])}]")
            comma = ",\n"
    out.write("\n]}\n")


def close_quietly() -> None:
    """Keep Python from complaining at its end about a reader that went away."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
