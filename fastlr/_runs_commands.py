"""``fastlr runs``: the runs that a study keeps, listed, shown, compared and exported."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fastlr._command import CommandError, check_writable, optional_module, write_json
from fastlr._schedule_commands import picture_file
from fastlr._search_options import add_storage
from fastlr.studying import StudyError

if TYPE_CHECKING:
    from fastlr.studying import Run, Study

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_runs_command(commands: Commands) -> None:
    runs = commands.add_parser(
        "runs",
        help="list, show, compare and export the runs that a study keeps",
        description="List, show, compare and export the runs that a study keeps: those of fastlr.study, and of find "
        "and sweep with --study.",
    )
    actions = runs.add_subparsers(dest="action", required=True, metavar="ACTION")
    one = actions.add_parser("list", help="a line for each run", description="A line for each run.")
    one.add_argument("--json", action="store_true", help="print JSON")
    _finish(one, run_list)

    one = actions.add_parser("show", help="all of a run", description="Everything that is kept of a run.")
    one.add_argument("number", type=run_number, metavar="NUMBER", help="of the run")
    one.add_argument("--json", action="store_true", help="print JSON, with all losses")
    _finish(one, run_show)

    text = "Runs of sweeps beside each other: which is best, and how sure that is."
    one = actions.add_parser("compare", help="runs of sweeps beside each other", description=text)
    one.add_argument("numbers", type=run_number, nargs="+", metavar="NUMBER", help="of two runs or more")
    one.add_argument("-o", "--output", type=picture_file, metavar="FILE", help="a .png, .svg or .pdf file to write")
    one.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    _finish(one, run_compare)

    text = "All runs as CSV, a line each, or as JSON with all losses."
    one = actions.add_parser("export", help="all runs as CSV or JSON", description=text)
    one.add_argument("--format", choices=("csv", "json"), default="csv", help="default: %(default)s")
    one.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE, not to standard output")
    _finish(one, run_export)


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    add_storage(parser)
    parser.set_defaults(run=functools.partial(_run, run), refuse=parser.error)


def run_number(text: str) -> int:
    """The number of a run, as an argparse type."""
    if not (text.isdecimal() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"no number of a run: {text!r}. Give one of fastlr runs list")
    return int(text)


def _run(action: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    optional_module("optuna", "optuna", "study")
    try:
        return action(arguments)
    except StudyError as error:
        raise CommandError(str(error)) from error


def _studies(arguments: argparse.Namespace) -> list[Study]:
    from fastlr.studying.studies import kept_studies

    return kept_studies(arguments.storage, arguments.study)


def _study(arguments: argparse.Namespace) -> Study:
    """The study that is named, or the only one."""
    found = _studies(arguments)
    if len(found) > 1:
        names = ", ".join(one.name for one in found[:5])
        raise CommandError(f"several studies are kept: {names}{' ...' if len(found) > 5 else ''}. Give --study NAME")
    return found[0]


def _picked(study: Study, numbers: Sequence[int]) -> list[Run]:
    runs = {run.number: run for run in study.runs}
    for number in numbers:
        if number not in runs:
            known = f"It has 0 to {max(runs)}" if runs else "It has none"
            raise CommandError(f"no such run: {number} in {study.name!r}. {known}; see fastlr runs list")
    return [runs[number] for number in numbers]


def run_list(arguments: argparse.Namespace) -> int:
    from fastlr.studying.exporting import listed, record

    studies = _studies(arguments)
    if arguments.json:
        print(json.dumps([{"study": one.name, **record(run)} for one in studies for run in one.runs], indent=1))
        return 0
    for index, one in enumerate(studies):
        runs = one.runs
        print(f"{'' if index == 0 else chr(10)}{one.name}: {len(runs)} runs")
        if runs:
            print(listed(runs))
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    from fastlr.studying.exporting import told, with_losses

    (run,) = _picked(_study(arguments), [arguments.number])
    print(json.dumps(with_losses(run), indent=1) if arguments.json else told(run))
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    from fastlr.studying.comparing import compared
    from fastlr.studying.pictures import draw_comparison

    if len(set(arguments.numbers)) < 2 or len(set(arguments.numbers)) < len(arguments.numbers):
        arguments.refuse(f"argument NUMBER: not several runs, each once: {arguments.numbers}. Give two or more")
    figure: Any = None
    if arguments.output is not None:
        figure = optional_module("matplotlib.figure", "matplotlib").Figure(figsize=(10.0, 4.2), layout="constrained")
    for path in (arguments.json, arguments.output):
        if path is not None:
            check_writable(path)
    comparison = compared(_picked(_study(arguments), arguments.numbers))
    print(comparison)
    if arguments.json is not None:
        write_json(arguments.json, comparison.record())
    if figure is not None:
        left, right = figure.subplots(1, 2)
        draw_comparison(left, right, comparison)
        figure.savefig(arguments.output, dpi=120)
    written = [str(path) for path in (arguments.json, arguments.output) if path is not None]
    if written:
        print(f"\nwrote {' and '.join(written)}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    from fastlr.studying.exporting import with_losses, write_csv

    runs = _study(arguments).runs
    if arguments.output is not None:
        check_writable(arguments.output)
    opened = (
        nullcontext(sys.stdout)
        if arguments.output is None
        else arguments.output.open("w", encoding="utf-8", newline="")
    )
    with opened as file:
        if arguments.format == "csv":
            write_csv(runs, file)
        else:
            file.write(json.dumps([with_losses(run) for run in runs], indent=1) + "\n")
    return 0
