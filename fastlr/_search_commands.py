"""``fastlr find`` and ``fastlr sweep``: searches for a learning rate, of a training that the user's function builds."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from fastlr._command import CommandError, check_writable, optional_module
from fastlr._progress import Show, best, lowest, shown
from fastlr._schedule_commands import read_schedule
from fastlr._search_options import OPTIMIZERS, STATUS, add_find_options, add_sweep_options
from fastlr._user_function import UserTraining, failing, user_training, users_code
from fastlr.finder import RangeTest, find_lr
from fastlr.finder.arguments import rates_between
from fastlr.schedules import Schedule, warmup_cosine
from fastlr.searching.randomness import Randomness
from fastlr.studying import StudyError, study
from fastlr.sweeping import Sweep, sweep
from fastlr.sweeping.pictures import draw_losses, draw_scores

if TYPE_CHECKING:
    from fastlr.studying import Study

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
NONE_FOUND = 3


def add_search_commands(commands: Commands) -> None:
    find = commands.add_parser(
        "find",
        help="find a learning rate by a range test",
        description="Train for a moment with a rate that grows at every update, and read a learning rate off the "
        "losses.",
        epilog=STATUS,
    )
    add_find_options(find)
    find.set_defaults(run=run_find, refuse=find.error)

    side_by_side = commands.add_parser(
        "sweep",
        help="train with several learning rates side by side",
        description="Train copies of a model side by side, one for each learning rate, and say which rate is best.",
        epilog=STATUS,
    )
    add_sweep_options(side_by_side)
    side_by_side.set_defaults(run=run_sweep, refuse=side_by_side.error)


def run_find(arguments: argparse.Namespace) -> int:
    try:
        rates_between(arguments.low, arguments.high, arguments.steps)
    except ValueError as error:
        arguments.refuse(str(error))
    options = _options(arguments)
    make = functools.partial(OPTIMIZERS[arguments.optimizer], **options)
    total = arguments.steps * arguments.repeats

    def search(kept: Study | None, training: UserTraining, show: Show) -> RangeTest:
        find: Callable[..., RangeTest] = (
            find_lr if kept is None else functools.partial(kept.find_lr, **_keeping(arguments))
        )
        return find(
            *training[:3],
            make,
            arguments.low,
            arguments.high,
            arguments.steps,
            forward=training.forward,
            accumulate=arguments.accumulate,
            repeats=arguments.repeats,
            seed=arguments.seed,
            progress=lowest(show),
        )

    result, problem = _searched(arguments, "range test", total, search)
    found = result.suggest(arguments.method)
    told = str(result)
    if found.lr is not None and arguments.method != "valley":
        told += f"\nThe rate by {arguments.method}: {found.lr:.3g}"
    return _report(arguments, result, told, found.lr, found.reason, draw_range_test, problem)


def run_sweep(arguments: argparse.Namespace) -> int:
    if arguments.halving == 1:
        arguments.refuse("argument --halving: nothing would stop: 1. Give 2 or more")
    if arguments.freeze_above <= 1.0:
        arguments.refuse(f"argument --freeze-above: not above 1: {arguments.freeze_above}. Give such as 10")
    shape = _shape(arguments)
    options = _options(arguments)

    def search(kept: Study | None, training: UserTraining, show: Show) -> Sweep:
        keeping = {"at_once": arguments.at_once, **_keeping(arguments)}
        side_by_side: Callable[..., Sweep] = sweep if kept is None else functools.partial(kept.sweep, **keeping)
        return side_by_side(
            *training[:3],
            arguments.rates,
            steps=arguments.steps,
            shape=shape,
            optimizer=OPTIMIZERS[arguments.optimizer],
            validation=training.validation,
            forward=training.forward,
            validate_every=arguments.validate_every,
            freeze_above=arguments.freeze_above,
            halving=arguments.halving,
            engine=arguments.engine,
            chunk=arguments.chunk,
            seed=arguments.seed,
            progress=best(show),
            **options,
        )

    count = len(arguments.rates)
    what = f"{count} rates for {arguments.steps} steps"
    groups = -(-count // min(count, arguments.at_once or count))
    result, problem = _searched(arguments, what, groups * arguments.steps, search)
    reason = f"all {count} rates have diverged"
    return _report(arguments, result, str(result), result.best, reason, draw_sweep, problem)


def _shape(arguments: argparse.Namespace) -> Schedule | None:
    if arguments.shape is None:
        return warmup_cosine(1.0, arguments.steps)
    return None if arguments.shape == "constant" else read_schedule(arguments.shape)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    usual = {"momentum": 0.9} if arguments.optimizer == "sgd" else {}
    return {**usual, **dict(arguments.option)}


def _study(arguments: argparse.Namespace) -> Study | None:
    """Where the runs are to be kept, if they are."""
    given = {"storage": arguments.storage, "label": arguments.label, "other-start": arguments.other_start}
    given["at-once"] = getattr(arguments, "at_once", None)
    if arguments.study is None:
        for name, value in given.items():
            if value:
                arguments.refuse(f"argument --{name}: there is no study. Give --study NAME, or leave it away")
        return None
    optional_module("optuna", "optuna", "study")
    try:
        return study(arguments.study, arguments.storage)
    except (StudyError, ValueError) as error:
        raise CommandError(str(error)) from error


def _keeping(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"label": arguments.label, "other_start": arguments.other_start}


def _searched(
    arguments: argparse.Namespace, what: str, total: int | None, search: Callable[..., Any]
) -> tuple[Any, StudyError | None]:
    """The result of a search, for which everything that can be checked before has been.

    Where it was found and could not be kept, with the reason.
    """
    if arguments.output is not None:
        optional_module("matplotlib.figure", "matplotlib")
    for path in (arguments.json, arguments.output):
        if path is not None:
            check_writable(path)
    kept = _study(arguments)
    with users_code(show_traceback=arguments.traceback):
        if arguments.seed is not None:
            Randomness().seed(arguments.seed)
        training = user_training(arguments.function)
        try:
            with (
                failing(f"the training of {arguments.function} failed"),
                shown(what, total, quiet=arguments.quiet) as show,
            ):
                return search(kept, training, show), None
        except CommandError as error:
            if isinstance(error.__cause__, StudyError) and error.__cause__.result is not None:
                return error.__cause__.result, error.__cause__
            raise


def _report(
    arguments: argparse.Namespace,
    result: Any,
    told: str,
    rate: Any,
    reason: str,
    draw: Callable[[Any, Any], Any],
    problem: StudyError | None,
) -> int:
    """Print and write a result; returns the exit status. `problem` is why it could not be kept."""
    if not arguments.quiet:
        print(told)
    elif rate is not None:
        print(float(rate))
    else:
        print(f"fastlr {arguments.command}: no learning rate: {reason}", file=sys.stderr)
    if arguments.json is not None:
        result.to_json(arguments.json)
    if arguments.output is not None:
        figure = optional_module("matplotlib.figure", "matplotlib").Figure(layout="constrained")
        draw(result, figure)
        figure.savefig(arguments.output, dpi=120)
    written = [str(path) for path in (arguments.json, arguments.output) if path is not None]
    if written and not arguments.quiet:
        print(f"\nwrote {' and '.join(written)}")
    if problem is not None:
        raise CommandError(str(problem)) from problem
    return NONE_FOUND if rate is None else 0


def draw_range_test(result: RangeTest, figure: Any) -> None:
    figure.set_size_inches(8.0, 4.5)
    result.plot(figure.subplots())


def draw_sweep(result: Sweep, figure: Any) -> None:
    """The scores over the rates, and beside them the losses over the steps."""
    figure.set_size_inches(10.0, 4.2)
    left, right = figure.subplots(1, 2)
    draw_scores(left, result)
    draw_losses(right, result)
