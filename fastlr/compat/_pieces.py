"""What the dialects share: numbers of steps as these libraries take them, and pieces one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fastlr import schedules
from fastlr.schedules import Constant, Cosine, Linear, Schedule, Table, checks
from fastlr.schedules.combine import Combination
from fastlr.schedules.waves import CosineCycles


def whole(name: str, value: Any, minimum: int = 0) -> int:
    """A number of steps; these libraries take 100.0 and NumPy's integers for it too."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return checks.integer(name, value, minimum)


def share(name: str, value: Any, low: float = 0.0, high: float = 1.0) -> float:
    """A number between two bounds."""
    number = checks.real(name, value)
    if not low <= number <= high:
        raise ValueError(f"{name} is out of range: {value!r}. Use {low:g} to {high:g}.")
    return number


def positive(name: str, value: Any) -> float:
    """A number above 0."""
    number = checks.real(name, value)
    if number <= 0.0:
        raise ValueError(f"{name} is not positive: {value!r}. Use more than 0.")
    return number


def listed(name: str, values: Any) -> list[Any]:
    """Several values."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} are no list: {values!r}. Pass a list.")
    return list(values)


def mapping(name: str, values: Any) -> dict[Any, Any]:
    """Names and values."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{name} are no dict: {values!r}. Pass a dict.")
    return dict(values)


def option(name: str, value: Any, allowed: Sequence[str]) -> str:
    """One of a few words."""
    if value not in allowed:
        raise ValueError(f"{name} is unknown: {value!r}. Use {' or '.join(map(repr, allowed))}.")
    return str(value)


def cut(schedule: Schedule, steps: int) -> Schedule:
    """The schedule's first steps, as a piece of that length."""
    return schedule if schedule.length == steps else schedule.hold(steps)


def resumed(schedule: Schedule, done: int) -> Schedule:
    """The schedule from a step on. A product is taken apart: its length is no end where another factor goes on."""
    if done == 0:
        return schedule
    if isinstance(schedule, Combination):
        return schedule._rebuilt(tuple(resumed(one, done) for one in schedule._operands))
    if isinstance(schedule, schedules.Sequence):
        return resumed_sequence(schedule, done)
    if schedule.length is None or schedule.length > done:
        return schedule.shift(-done)
    value = schedule(done)
    if value != schedule(checks.MAX_LENGTH):
        raise ValueError(f"The schedule goes on past its length, at step {done}: {schedule!r}. Shift its parts.")
    return Constant(value)


def resumed_sequence(sequence: schedules.Sequence, done: int) -> Schedule:
    """The pieces that are not over, the first of them from within."""
    pieces: list[tuple[int, Schedule]] = []
    for piece in sequence.pieces[:-1]:
        left = (piece.length or 0) - done
        if left > 0:
            pieces.append((left, resumed(piece, done)))
        done = max(-left, 0)
    return joined(pieces, resumed(sequence.pieces[-1], done))


def joined(pieces: Sequence[tuple[int, Schedule]], last: Schedule) -> Schedule:
    """Pieces of so many steps each, those of none left out, and then the last."""
    parts = [cut(piece, steps) for steps, piece in pieces if steps > 0]
    return schedules.Sequence((*parts, last)) if parts else last


def boundaries(name: str, values: Any, pieces: int) -> list[int]:
    """Steps at which the pieces after the first begin: as many as there are, in order."""
    steps = [whole(f"{name} entry", value) for value in listed(name, values)]
    if len(steps) != pieces - 1:
        raise ValueError(f"{name} do not fit the schedules: {len(steps)} for {pieces}. Give one less than schedules.")
    for earlier, later in itertools.pairwise(steps):
        if later < earlier:
            raise ValueError(f"{name} are out of order: {later} after {earlier}. Sort them.")
    return steps


def lengths(steps: Sequence[int]) -> list[int]:
    """From the steps at which pieces begin, the first at 0, to the lengths of all but the last."""
    return [later - earlier for earlier, later in itertools.pairwise([0, *steps])]


def warmed(start: float, peak: float, steps: int, after: Schedule) -> Schedule:
    """A line from start, which would reach peak after these steps, and then `after`."""
    return joined([(steps, Linear(start, peak, max(steps, 1)))], after)


def wave(start: float, end: float, cycle: float) -> Schedule:
    """A cosine that falls from start to end in `cycle` steps, rises again, and so on."""
    if float(cycle).is_integer():
        return Cosine(start, end, int(cycle)).past_end("extrapolate")
    return CosineCycles(start, end, cycle, mirror=True)


def turns(start: float, end: float, steps: int, num_cycles: float) -> Schedule:
    """A cosine that takes num_cycles whole turns in these steps, and goes on."""
    count = abs(checks.real("num_cycles", num_cycles))
    return Constant(start) if count == 0.0 else wave(start, end, steps / (2.0 * count))


def function(name: str, value: Any) -> Callable[[float], float]:
    """A function of the step or share, whose values are checked."""
    if not callable(value):
        raise TypeError(f"{name} is no function: {value!r}. Pass one that takes a number.")
    return lambda t: checks.real(f"{name}({t})", value(t))


def tabulable(name: str, steps: Any, maximum: int = checks.MAX_VALUES - 1) -> int:
    """A number of steps that a table may have."""
    count = whole(name, steps, 1)
    if count > maximum:
        raise ValueError(f"{name} are too many for a table: {count}. Use at most {maximum}.")
    return count


def sampled(name: str, value: Any, steps: Any, first: int = 0) -> list[float]:
    """A function's values at so many steps."""
    checked = function(name, value)
    return [checked(t) for t in range(first, first + tabulable("steps", steps))]


def table(base: float, factors: Sequence[float]) -> Schedule:
    """A base times one factor for each step."""
    return Table(tuple(base * factor for factor in factors))


def scales(name: str, given: Mapping[Any, float] | None) -> list[tuple[int, float]]:
    """Boundaries and the scales from there on, in order. Boundaries may be text, as they are in JSON."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"{name} is no dict: {given!r}. Pass the boundaries with their scales.")
    found = {}
    for key, value in mapping(name, {} if given is None else given).items():
        step = whole(f"{name} boundary", int(key) if isinstance(key, str) and key.isdecimal() else key)
        scale = checks.real(f"{name} scale", value)
        if scale < 0.0:
            raise ValueError(f"{name} scale is negative: {value!r}. Use 0 or more.")
        found[step] = scale
    return sorted(found.items())
