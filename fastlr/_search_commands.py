"""``fastlr find`` and ``fastlr sweep``: searches for a learning rate, of a training that the user's function builds."""

import argparse
import ast
import functools
import itertools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from fastlr._command import check_writable, optional_module, whole
from fastlr._progress import Show, shown
from fastlr._schedule_commands import picture_file, read_schedule
from fastlr._user_function import UserTraining, failing, function_name, user_training, users_code
from fastlr.finder import RangeTest, find_lr
from fastlr.finder.arguments import rates_between
from fastlr.finder.suggestions import METHODS
from fastlr.optim import SGD, Adam, AdamW, Lion, ScheduledOptimizer
from fastlr.schedules import Schedule, warmup_cosine
from fastlr.schedules.expression import parse
from fastlr.searching.randomness import Randomness
from fastlr.sweeping import Sweep, sweep
from fastlr.sweeping.pictures import draw_losses, draw_scores
from fastlr.sweeping.settings import ENGINES

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
OPTIMIZERS: dict[str, type[ScheduledOptimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "lion": Lion}
NONE_FOUND = 3
STATUS = (
    "exit status: 0 a rate was found, 1 failed (the reason is on stderr), 2 wrong usage, 3 the search ran and found no "
    "rate, 130 interrupted. What the function prints goes to stderr."
)


def positive(text: str) -> float:
    """A finite number above 0, as an argparse type."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"not a positive number: {text!r}. Give one above 0, such as 0.01")
    return value


def seed_number(text: str) -> int:
    """A seed, as an argparse type."""
    if not (text.isdecimal() and len(text) < 20 and int(text) < 2**63):
        raise argparse.ArgumentTypeError(f"not a seed: {text!r}. Give a whole number from 0 to 2**63 - 1")
    return int(text)


def rate_list(text: str) -> list[float]:
    """``low:high:count``, by one factor from each to the next, or rising rates with commas, as an argparse type."""
    if ":" in text:
        low, high, count, *more = (*text.split(":"), "", "")
        if any(more) or whole(count) < 2:
            raise argparse.ArgumentTypeError(f"no low:high:count of at least 2: {text!r}. Give such as 0.001:1:16")
        try:
            return [float(rate) for rate in rates_between(positive(low), positive(high), int(count))]
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    rates = [positive(part) for part in text.split(",")]
    if any(low >= high for low, high in itertools.pairwise(rates)):
        raise argparse.ArgumentTypeError(f"rates do not rise: {text!r}. Sort them, each once")
    return rates


def option(text: str) -> tuple[str, Any]:
    """``name=value`` for an optimizer, as an argparse type: a value of Python's, or a schedule."""
    name, _, value = text.partition("=")
    if not name.isidentifier() or not value:
        raise argparse.ArgumentTypeError(f"not name=value: {text!r}. Give such as weight_decay=0.05")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        try:
            return name, parse(value)
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(f"neither a value nor a schedule: {text!r} ({error})") from error


def add_search_commands(commands: Commands) -> None:
    find = commands.add_parser(
        "find",
        help="find a learning rate by a range test",
        description="Train for a moment with a rate that grows at every update, and read a learning rate off the "
        "losses.",
        epilog=STATUS,
    )
    _add_function(find, "A fourth entry is not looked at.")
    add = find.add_argument
    add("--low", type=positive, default=1e-7, metavar="RATE", help="the first rate (%(default)s)")
    add("--high", type=positive, default=10.0, metavar="RATE", help="the last rate (%(default)s)")
    add("--steps", type=whole, default=100, metavar="N", help="updates (%(default)s)")
    add("--repeats", type=whole, default=1, metavar="N", help="runs with other random numbers (%(default)s)")
    add("--method", choices=tuple(METHODS), default="valley", help="where the rate is read off (%(default)s)")
    add("--accumulate", type=whole, default=1, metavar="N", help="batches for an update (%(default)s)")
    _add_common(find)
    find.set_defaults(run=run_find, refuse=find.error)

    side_by_side = commands.add_parser(
        "sweep",
        help="train with several learning rates side by side",
        description="Train copies of a model side by side, one for each learning rate, and say which rate is best.",
        epilog=STATUS,
    )
    _add_function(side_by_side, "The loss over a validation loader then ranks the rates.")
    add = side_by_side.add_argument
    form = "low:high:count, or rising rates with commas"
    add("--rates", type=rate_list, required=True, metavar="RATES", help=f"{form}: 0.001:1:16, or 0.01,0.03,0.1")
    add("--steps", type=whole, default=200, metavar="N", help="updates (%(default)s)")
    shape = "a schedule that each rate is multiplied by, or 'constant' (a warm-up and a cosine over the steps)"
    add("--shape", metavar="EXPR", help=shape)
    add("--halving", type=whole, metavar="N", help="from 2 on: at each rung only one in N goes on")
    add("--freeze-above", type=positive, default=10.0, metavar="X", help="stop above X times the best (%(default)s)")
    add("--validate-every", type=whole, metavar="N", help="steps between validation losses (a tenth of all)")
    add("--engine", choices=("auto", *ENGINES), default="auto", help="how the copies run (the fastest)")
    add("--chunk", type=whole, metavar="N", help="copies that run at once (what memory allows)")
    _add_common(side_by_side)
    side_by_side.set_defaults(run=run_sweep, refuse=side_by_side.error)


def _add_function(parser: argparse.ArgumentParser, fourth: str) -> None:
    text = (
        "a function without arguments, in a module of the current folder or an installed one, that returns (model, "
        f"loss_fn, loader) or (model, loss_fn, loader, validation loader). {fourth}"
    )
    parser.add_argument("function", type=function_name, metavar="module:function", help=text)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--optimizer", choices=tuple(OPTIMIZERS), default="sgd", help="fastlr's; default: %(default)s")
    text = "of the optimizer, such as weight_decay=0.05 or 'betas=(0.9, 0.98)'; of sgd momentum is 0.9 (repeatable)"
    add("--option", type=option, action="append", default=[], metavar="NAME=VALUE", help=text)
    add("--seed", type=seed_number, metavar="N", help="of all random numbers, those of the function too (none)")
    add("--json", type=Path, metavar="FILE", help="write everything that was found to FILE")
    add("-o", "--output", type=picture_file, metavar="FILE", help="a .png, .svg or .pdf file to draw it in")
    add("-q", "--quiet", action="store_true", help="print the rate alone, and no progress")
    add("--traceback", action="store_true", help="show all of it where the function or the training fails")


def run_find(arguments: argparse.Namespace) -> int:
    try:
        rates_between(arguments.low, arguments.high, arguments.steps)
    except ValueError as error:
        arguments.refuse(str(error))
    options = _options(arguments)
    make = functools.partial(OPTIMIZERS[arguments.optimizer], **options)
    total = arguments.steps * arguments.repeats
    lowest = (math.inf, math.nan)

    def search(training: UserTraining, show: Callable[[int, str], None]) -> RangeTest:
        def progress(done: int, rate: float, loss: float) -> None:
            nonlocal lowest
            lowest = min(lowest, (loss, rate))
            show(done, f"rate {rate:.2e}  loss {loss:.4g}  lowest {lowest[0]:.4g} at {lowest[1]:.2e}")

        return find_lr(
            *training[:3],
            make,
            arguments.low,
            arguments.high,
            arguments.steps,
            accumulate=arguments.accumulate,
            repeats=arguments.repeats,
            seed=arguments.seed,
            progress=progress,
        )

    result = _searched(arguments, "range test", total, search)
    found = result.suggest(arguments.method)
    told = str(result)
    if found.lr is not None and arguments.method != "valley":
        told += f"\nThe rate by {arguments.method}: {found.lr:.3g}"
    return _report(arguments, result, told, found.lr, found.reason, draw_range_test)


def run_sweep(arguments: argparse.Namespace) -> int:
    if arguments.halving == 1:
        arguments.refuse("argument --halving: nothing would stop: 1. Give 2 or more")
    if arguments.freeze_above <= 1.0:
        arguments.refuse(f"argument --freeze-above: not above 1: {arguments.freeze_above}. Give such as 10")
    shape = _shape(arguments)
    options = _options(arguments)

    def search(training: UserTraining, show: Show) -> Sweep:
        def progress(done: int, entry: Any, loss: float) -> None:
            show(done, f"best {entry:.3g}, loss {loss:.4g}")

        return sweep(
            *training[:3],
            arguments.rates,
            steps=arguments.steps,
            shape=shape,
            optimizer=OPTIMIZERS[arguments.optimizer],
            validation=training.validation,
            validate_every=arguments.validate_every,
            freeze_above=arguments.freeze_above,
            halving=arguments.halving,
            engine=arguments.engine,
            chunk=arguments.chunk,
            seed=arguments.seed,
            progress=progress,
            **options,
        )

    what = f"{len(arguments.rates)} rates for {arguments.steps} steps"
    result = _searched(arguments, what, arguments.steps, search)
    reason = f"all {len(arguments.rates)} rates have diverged"
    return _report(arguments, result, str(result), result.best, reason, draw_sweep)


def _shape(arguments: argparse.Namespace) -> Schedule | None:
    if arguments.shape is None:
        return warmup_cosine(1.0, arguments.steps)
    return None if arguments.shape == "constant" else read_schedule(arguments.shape)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    usual = {"momentum": 0.9} if arguments.optimizer == "sgd" else {}
    return {**usual, **dict(arguments.option)}


def _searched(arguments: argparse.Namespace, what: str, total: int | None, search: Callable[..., Any]) -> Any:
    """The result of a search, for which everything that can be checked before has been."""
    if arguments.output is not None:
        optional_module("matplotlib.figure", "matplotlib")
    for path in (arguments.json, arguments.output):
        if path is not None:
            check_writable(path)
    with users_code(show_traceback=arguments.traceback):
        if arguments.seed is not None:
            Randomness().seed(arguments.seed)
        training = user_training(arguments.function)
        with (
            failing(f"the training of {arguments.function} failed"),
            shown(what, total, quiet=arguments.quiet) as show,
        ):
            return search(training, show)


def _report(
    arguments: argparse.Namespace,
    result: Any,
    told: str,
    rate: Any,
    reason: str,
    draw: Callable[[Any, Any], Any],
) -> int:
    """Print and write a result; returns the exit status."""
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
