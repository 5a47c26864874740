"""What an expression may name: schedules, recipes, methods, the other libraries' schedulers, and numbers' operators."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from fastlr.schedules.checks import MAX_LENGTH
from fastlr.schedules.serialize import KINDS, MAX_NESTING

FUNCTIONS = (
    "inverse_sqrt",
    "maximum",
    "minimum",
    "noam",
    "range_test",
    "warmup_cosine",
    "warmup_stable_decay",
)
METHODS = ("clip", "floor", "hold", "over", "past_end", "per_epoch", "repeat", "shift", "stretch")
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">>": operator.rshift,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
}


class ExpressionError(ValueError):
    """What is wrong with an expression. `position` counts characters from 0, the message columns from 1."""

    def __init__(self, problem: str, advice: str, position: int) -> None:
        super().__init__(f"{problem} at column {position + 1}. {advice}".rstrip())
        self.position = position


def too_deep(most: int, position: int) -> ExpressionError:
    """The refusal of an expression whose parts lie too deep inside one another."""
    return ExpressionError(f"Nested too deeply: more than {most} levels", "Use fewer.", position)


def suggestion(name: str, known: Collection[str]) -> str:
    """What to write in the place of a name that is unknown."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Use one of {', '.join(sorted(known))}."


@functools.cache
def schedules() -> dict[str, Callable[..., object]]:
    """The classes and functions of `fastlr.schedules` that an expression may call."""
    package = importlib.import_module("fastlr.schedules")
    return {**KINDS, **{name: getattr(package, name) for name in FUNCTIONS}}


@functools.cache
def dialects() -> dict[str, dict[str, Callable[..., object]]]:
    """The public functions of `fastlr.compat`, by library."""
    found = {}
    for library in importlib.import_module("fastlr.compat").__all__:
        module = importlib.import_module(f"fastlr.compat.{library}")
        found[library] = {name: getattr(module, name) for name in module.__all__}
    return found


def lookup(path: Sequence[str], position: int) -> Callable[..., object]:
    """The class or function of a dotted name, with or without ``fastlr.`` and its modules in front."""
    names = list(path)
    for prefix in ("fastlr", "schedules", "compat"):
        if len(names) > 1 and names[0] == prefix:
            del names[0]
    known, title = schedules(), "schedule"
    if len(names) > 1:
        library = names.pop(0)
        if library not in dialects():
            raise ExpressionError(f"Unknown library: {library!r}", suggestion(library, dialects()), position)
        known, title = dialects()[library], f"scheduler of {library}"
    name = ".".join(names)
    if name not in known:
        raise ExpressionError(f"Unknown {title}: {name!r}", suggestion(name, known), position)
    return known[name]


def call(
    function: Callable[..., Any], name: str, given: Sequence[object], named: Mapping[str, object], position: int
) -> object:
    """The call's result. The arguments' names are looked at first, so that a wrong one is told by name."""
    is_class = isinstance(function, type)
    signature = inspect.signature(function.__init__ if is_class else function)
    known = [parameter for parameter in signature.parameters if parameter != "self"]
    for argument in named:
        if argument not in known:
            raise ExpressionError(f"{name} has no argument {argument!r}", suggestion(argument, known), position)
    try:
        signature.bind(*([None] if is_class else []), *given, **named)
    except TypeError as error:
        advice = f"Its arguments are {', '.join(known)}."
        raise ExpressionError(f"{name} takes other arguments: {error}", advice, position) from None
    return guarded(position, function, *given, **named)


def guarded(position: int, function: Callable[..., Any], *given: object, **named: object) -> Any:
    """The function's result; what a schedule refuses is told with the place."""
    try:
        return function(*given, **named)
    except (ValueError, TypeError) as error:
        problem, _, advice = str(error).partition(". ")
        raise ExpressionError(problem, advice, position) from error
    except ArithmeticError as error:
        raise ExpressionError(f"A number is out of range: {error}", "Use other numbers.", position) from error
    except RecursionError:
        raise too_deep(MAX_NESTING, position) from None


def is_number(value: object) -> bool:
    """Whether value is a plain number, which True is not."""
    return type(value) in (int, float)


def bounded(value: Any, position: int) -> int | float:
    """A number as it is: real and finite, and at most 2**53 if it is an int."""
    if isinstance(value, complex) or not math.isfinite(value):
        raise ExpressionError(f"A number is not finite and real: {value!r}", "Use smaller ones.", position)
    if isinstance(value, int) and abs(value) > MAX_LENGTH:
        raise ExpressionError("A whole number is above 2**53", "Use a smaller one, or write it as 1e16.", position)
    return value  # type: ignore[no-any-return]


def arithmetic(sign: str, left: int | float, right: int | float, position: int) -> int | float:
    """One operation on plain numbers. In floats first: an int of any size would take any time."""
    operation = OPERATORS[sign]
    try:
        result = bounded(operation(float(left), float(right)), position)
    except ArithmeticError:
        raise ExpressionError(f"No value: {left!r} {sign} {right!r}", "Use other numbers.", position) from None
    whole = isinstance(left, int) and isinstance(right, int) and sign != "/"
    return bounded(operation(left, right), position) if whole and abs(result) <= 2.0 * MAX_LENGTH else result
