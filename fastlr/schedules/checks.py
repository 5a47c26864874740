"""Checks of a schedule's fields. Every refusal reads "<problem>: <value>. <what to do>"."""

from __future__ import annotations

import math
import numbers
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlr.schedules.base import Schedule

MAX_LENGTH = 2**53  # steps are turned into float64, which holds every integer up to here
MAX_STEP = 2**63 - 1
MAX_VALUES = 2**24  # of a table


def real(name: str, value: object) -> float:
    """The value as a float: finite, not a bool."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is not a number: {value!r}. Pass an int or a float.")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise ValueError(f"{name} is not finite: {value!r}. Use a finite number.")
    return result


def integer(name: str, value: object, minimum: int = 1) -> int:
    """The value as an int from `minimum` to 2**53, not a bool."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is not an integer: {value!r}. Pass a whole number of steps as an int.")
    result = int(value)
    if not minimum <= result <= MAX_LENGTH:
        raise ValueError(f"{name} is out of range: {value!r}. Use {minimum} to 2**53.")
    return result


def powered(name: str, start: float, gamma: float, count: float) -> float:
    """``start * gamma**count``, refused where it is not finite."""
    try:
        value: float = start * gamma**count
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{name} is not finite: {start!r} * {gamma!r} ** {count}. Use a smaller factor.")
    return value


def scaled(value: Any, factor: Fraction) -> Any:
    """A number of steps times the factor: an int rounded, at least 1; a float as it is; a tuple one by one."""
    if isinstance(value, tuple):
        return tuple(scaled(one, factor) for one in value)
    if isinstance(value, int):
        return max(1, round(value * factor))
    return None if value is None else value * float(factor)


def replace(schedule: Schedule, name: str, value: object) -> None:
    """Set a field of a frozen schedule while it is being constructed."""
    object.__setattr__(schedule, name, value)


def label(schedule: Schedule, name: str) -> str:
    """How messages call a field."""
    return f"{type(schedule).__name__} {name}"


def reals(schedule: Schedule, *names: str) -> None:
    """Check fields that hold finite numbers and store them as floats."""
    for name in names:
        replace(schedule, name, real(label(schedule, name), getattr(schedule, name)))


def positive_reals(schedule: Schedule, *names: str) -> None:
    """Check fields that hold numbers above 0 and store them as floats."""
    reals(schedule, *names)
    for name in names:
        if getattr(schedule, name) <= 0.0:
            raise ValueError(f"{label(schedule, name)} is not positive: {getattr(schedule, name)!r}. Use more than 0.")


def lengths(schedule: Schedule, *names: str) -> None:
    """Check fields that hold a number of steps, at least 1, and store them as ints."""
    for name in names:
        replace(schedule, name, integer(label(schedule, name), getattr(schedule, name)))


def choice(schedule: Schedule, name: str, allowed: tuple[object, ...]) -> None:
    """Check a field that holds one of a few values, of exactly their type."""
    value = getattr(schedule, name)
    if not any(type(value) is type(one) and value == one for one in allowed):
        options = " or ".join(repr(one) for one in allowed)
        raise ValueError(f"{label(schedule, name)} is unknown: {value!r}. Use {options}.")
