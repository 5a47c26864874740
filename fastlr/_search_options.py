"""The options of ``fastlr find`` and ``fastlr sweep``, and how their values are read."""

import argparse
import ast
import itertools
import math
from pathlib import Path
from typing import Any

from fastlr._command import whole
from fastlr._schedule_commands import picture_file
from fastlr._user_function import function_name
from fastlr.finder.arguments import rates_between
from fastlr.finder.suggestions import METHODS
from fastlr.optim import SGD, Adam, AdamW, Lion, ScheduledOptimizer
from fastlr.schedules.expression import parse
from fastlr.sweeping.settings import ENGINES

OPTIMIZERS: dict[str, type[ScheduledOptimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW, "lion": Lion}
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


def add_find_options(parser: argparse.ArgumentParser) -> None:
    _add_function(parser, "The validation loader is not looked at.")
    add = parser.add_argument
    add("--low", type=positive, default=1e-7, metavar="RATE", help="the first rate (%(default)s)")
    add("--high", type=positive, default=10.0, metavar="RATE", help="the last rate (%(default)s)")
    add("--steps", type=whole, default=100, metavar="N", help="updates (%(default)s)")
    add("--repeats", type=whole, default=1, metavar="N", help="runs with other random numbers (%(default)s)")
    add("--method", choices=tuple(METHODS), default="valley", help="where the rate is read off (%(default)s)")
    add("--accumulate", type=whole, default=1, metavar="N", help="batches for an update (%(default)s)")
    _add_common(parser)


def add_sweep_options(parser: argparse.ArgumentParser) -> None:
    _add_function(parser, "The loss over a validation loader then ranks the rates.")
    add = parser.add_argument
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
    text = "with --study: rates that are trained together, and stored once they are done (all)"
    add("--at-once", type=whole, metavar="N", help=text)
    _add_common(parser)


def _add_function(parser: argparse.ArgumentParser, validation: str) -> None:
    text = (
        "a function without arguments, in a module of the current folder or an installed one, that returns (model, "
        f"loss_fn, loader) or (model, loss_fn, loader, validation loader), or a dict of model, loss_fn or forward, "
        f"loader and validation. {validation}"
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
    add_storage(parser)
    add("--label", metavar="TEXT", help="with --study: a name for the experiment; runs with another one are others")
    text = "with --study: train although the runs that are kept began elsewhere; without it that is refused"
    add("--other-start", action="store_true", help=text)


def add_storage(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--study", metavar="NAME", help="the study that keeps the runs")
    add("--storage", metavar="URL|FILE", help="where it is: a file of SQLite, or one of Optuna's databases (fastlr.db)")
