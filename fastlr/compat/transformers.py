"""transformers' schedules (5.23), with the base rate in the optimizer's place.

Their warm-ups begin at ``t / num_warmup_steps``: the first update has rate 0. `fastlr.schedules.Warmup` does not waste
it. Past num_training_steps the cosines of transformers rise again, and so do these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastlr.compat._pieces import cut, joined, mapping, option, positive, turns, warmed, whole
from fastlr.compat._torch_single import ReduceLROnPlateau as get_reduce_on_plateau_schedule
from fastlr.schedules import (
    Constant,
    Cosine,
    InverseSqrt,
    Linear,
    Polynomial,
    Power,
    Schedule,
    Warmup,
    checks,
)
from fastlr.schedules.waves import CosineCycles

__all__ = [
    "get_constant_schedule",
    "get_constant_schedule_with_warmup",
    "get_cosine_schedule_with_warmup",
    "get_cosine_with_hard_restarts_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup",
    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
    "get_inverse_sqrt_schedule",
    "get_linear_schedule_with_warmup",
    "get_polynomial_decay_schedule_with_warmup",
    "get_reduce_on_plateau_schedule",
    "get_scheduler",
    "get_wsd_schedule",
]


def steps_of(num_warmup_steps: int, num_training_steps: int) -> tuple[int, int]:
    """The warm-up's steps, and those that are left after it: at least 1, as in transformers."""
    warmup = whole("num_warmup_steps", num_warmup_steps)
    return warmup, max(whole("num_training_steps", num_training_steps) - warmup, 1)


def get_constant_schedule(base_lr: float) -> Schedule:
    """The same rate at every step.

    >>> get_constant_schedule(0.1)
    Constant(value=0.1)
    """
    return Constant(base_lr)


def get_constant_schedule_with_warmup(base_lr: float, num_warmup_steps: int) -> Schedule:
    """A line from 0 to base_lr, which holds.

    >>> get_constant_schedule_with_warmup(1.0, 4)(1)
    0.25
    """
    return warmed(0.0, base_lr, whole("num_warmup_steps", num_warmup_steps), Constant(base_lr))


def get_linear_schedule_with_warmup(base_lr: float, num_warmup_steps: int, num_training_steps: int) -> Schedule:
    """A line from 0 to base_lr, then one to 0 at num_training_steps.

    >>> get_linear_schedule_with_warmup(1.0, 10, 100)
    Linear(start=0.0, end=1.0, length=10) >> Linear(start=1.0, end=0.0, length=90)
    """
    warmup, rest = steps_of(num_warmup_steps, num_training_steps)
    ended = num_training_steps <= num_warmup_steps
    return warmed(0.0, base_lr, warmup, Constant(0.0) if ended else Linear(base_lr, 0.0, rest))


def get_cosine_schedule_with_warmup(
    base_lr: float, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5
) -> Schedule:
    """A line from 0 to base_lr, then ``base_lr * (1 + cos(2 * pi * num_cycles * u)) / 2``.

    >>> s = get_cosine_schedule_with_warmup(1.0, 10, 100)
    >>> [round(s(t), 6) for t in (0, 5, 10, 55, 100)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup, rest = steps_of(num_warmup_steps, num_training_steps)
    return warmed(0.0, base_lr, warmup, turns(base_lr, 0.0, rest, num_cycles))


def get_cosine_with_hard_restarts_schedule_with_warmup(
    base_lr: float, num_warmup_steps: int, num_training_steps: int, num_cycles: int = 1
) -> Schedule:
    """A line from 0 to base_lr, then num_cycles half cosines from base_lr to 0, and 0 from num_training_steps on.

    >>> s = get_cosine_with_hard_restarts_schedule_with_warmup(1.0, 0, 100, num_cycles=2)
    >>> [round(s(t), 6) for t in (0, 25, 50, 75, 100)]
    [1.0, 0.5, 1.0, 0.5, 0.0]
    """
    warmup, rest = steps_of(num_warmup_steps, num_training_steps)
    cycles = positive("num_cycles", num_cycles)
    return warmed(0.0, base_lr, warmup, CosineCycles(base_lr, 0.0, rest / cycles).hold(rest) >> Constant(0.0))


def get_polynomial_decay_schedule_with_warmup(
    base_lr: float, num_warmup_steps: int, num_training_steps: int, lr_end: float = 1e-7, power: float = 1.0
) -> Schedule:
    """A line from 0 to base_lr, then ``lr_end + (base_lr - lr_end) * (1 - u)**power``.

    Without a step between warm-up and end, where transformers divides by 0, lr_end follows the warm-up.

    Raises ValueError for an lr_end that is not below base_lr.

    >>> get_polynomial_decay_schedule_with_warmup(1.0, 0, 100, lr_end=0.1, power=2.0)
    Polynomial(start=1.0, end=0.1, length=100, power=2.0)
    """
    if not checks.real("base_lr", base_lr) > checks.real("lr_end", lr_end):
        raise ValueError(f"lr_end is not below base_lr: {lr_end!r} and {base_lr!r}. Use a smaller one.")
    warmup, rest = steps_of(num_warmup_steps, num_training_steps)
    ended = num_training_steps <= num_warmup_steps
    return warmed(0.0, base_lr, warmup, Constant(lr_end) if ended else Polynomial(base_lr, lr_end, rest, power))


def get_inverse_sqrt_schedule(base_lr: float, num_warmup_steps: int, timescale: int | None = None) -> Schedule:
    """A line from 0 to base_lr, then ``base_lr * sqrt(timescale / (timescale + steps since))``.

    The timescale is num_warmup_steps, or 10 000 without a warm-up, unless it is given.

    >>> s = get_inverse_sqrt_schedule(1.0, 100)
    >>> s(100), s(400)
    (1.0, 0.5)
    """
    warmup = whole("num_warmup_steps", num_warmup_steps)
    decay = InverseSqrt(base_lr, (warmup or 10_000) if timescale is None else timescale)
    return warmed(0.0, base_lr, warmup, decay)


def lowest(base_lr: float, min_lr: float | None, min_lr_rate: float | None) -> float:
    """The rate at the end, from one of the two arguments."""
    if (min_lr is None) == (min_lr_rate is None):
        raise ValueError(f"Not one lowest rate: min_lr={min_lr!r}, min_lr_rate={min_lr_rate!r}. Give one of the two.")
    if min_lr_rate is not None:
        return checks.real("base_lr", base_lr) * checks.real("min_lr_rate", min_lr_rate)
    return checks.real("min_lr", min_lr)


def get_cosine_with_min_lr_schedule_with_warmup(
    base_lr: float,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> Schedule:
    """`get_cosine_schedule_with_warmup` down to min_lr, or to ``base_lr * min_lr_rate``.

    Raises ValueError unless exactly one of the two is given.

    >>> s = get_cosine_with_min_lr_schedule_with_warmup(1.0, 10, 100, min_lr=0.1)
    >>> s(10), s(100)
    (1.0, 0.1)
    """
    warmup, rest = steps_of(num_warmup_steps, num_training_steps)
    low = lowest(base_lr, min_lr, min_lr_rate)
    return warmed(0.0, base_lr, warmup, turns(base_lr, low, rest, num_cycles))


def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    base_lr: float,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> Schedule:
    """The same one step earlier: the warm-up begins above 0 and the lowest rate is reached in the last update.

    The warm-up is ``base_lr * (t + 1) / num_warmup_steps``, or a line from ``base_lr * warmup_lr_rate`` to base_lr at
    its last step. Raises ValueError unless exactly one of min_lr and min_lr_rate is given.

    >>> s = get_cosine_with_min_lr_schedule_with_warmup_lr_rate(1.0, 10, 100, min_lr=0.1)
    >>> s(0), s(9), s(99)
    (0.1, 1.0, 0.1)
    """
    warmup, rest = steps_of(num_warmup_steps, num_training_steps)
    low = lowest(base_lr, min_lr, min_lr_rate)
    decay = turns(base_lr, low, rest, num_cycles).shift(-1)
    if warmup == 0:
        return decay
    if warmup_lr_rate is None:
        return Warmup(base_lr, warmup) >> decay
    start = checks.real("base_lr", base_lr) * checks.real("warmup_lr_rate", warmup_lr_rate)
    return cut(Linear(start, base_lr, max(warmup - 1, 1)), warmup) >> decay


def get_wsd_schedule(
    base_lr: float,
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: str = "linear",
    decay_type: str = "cosine",
    min_lr_ratio: float = 0,
    num_cycles: float = 0.5,
) -> Schedule:
    """Warm-up, stable, decay: from ``base_lr * min_lr_ratio`` to base_lr, which holds, and back. Types are "linear",
    "cosine" and "1-sqrt". num_stable_steps, where given, goes before num_training_steps.

    Raises ValueError where neither is given or num_training_steps leaves no step between warm-up and decay.

    >>> get_wsd_schedule(1.0, 10, 20, 100, decay_type="linear")
    Linear(start=0.0, end=1.0, length=10) >> Constant(value=1.0, length=70) >> Linear(start=1.0, end=0.0, length=20)
    """
    warmup, decay = whole("num_warmup_steps", num_warmup_steps), whole("num_decay_steps", num_decay_steps)
    if num_stable_steps is None:
        if num_training_steps is None:
            raise ValueError("No length: num_training_steps=None, num_stable_steps=None. Give one of the two.")
        num_stable_steps = whole("num_training_steps", num_training_steps) - warmup - decay
    stable = whole("num_stable_steps", num_stable_steps)
    base = checks.real("base_lr", base_lr)
    low = base * checks.real("min_lr_ratio", min_lr_ratio)
    pieces: list[tuple[int, Schedule]] = []
    rising, falling = (
        option(name, value, ("linear", "cosine", "1-sqrt"))
        for name, value in (("warmup_type", warmup_type), ("decay_type", decay_type))
    )
    if warmup:
        rises: dict[str, Callable[[], Schedule]] = {
            "linear": lambda: Linear(low, base, warmup),
            "cosine": lambda: Cosine(low, base, warmup),
            "1-sqrt": lambda: Polynomial(low, base, warmup, 0.5),
        }
        pieces.append((warmup, rises[rising]()))
    pieces.append((stable, Constant(base, stable or None)))
    if decay == 0:
        return joined(pieces, Constant(low))
    falls: dict[str, Callable[[], Schedule]] = {
        "linear": lambda: Linear(base, low, decay),
        "cosine": lambda: Cosine(base, low, decay) if num_cycles == 0.5 else turns(base, low, decay, num_cycles),
        "1-sqrt": lambda: Power(base, low, decay, 0.5),
    }
    fall = falls[falling]()
    return joined(pieces, fall) if fall.length == decay else joined([*pieces, (decay, fall)], Constant(low))


NAMES: dict[str, Callable[..., Schedule]] = {
    "linear": get_linear_schedule_with_warmup,
    "cosine": get_cosine_schedule_with_warmup,
    "cosine_with_restarts": get_cosine_with_hard_restarts_schedule_with_warmup,
    "polynomial": get_polynomial_decay_schedule_with_warmup,
    "constant": get_constant_schedule,
    "constant_with_warmup": get_constant_schedule_with_warmup,
    "inverse_sqrt": get_inverse_sqrt_schedule,
    "reduce_lr_on_plateau": get_reduce_on_plateau_schedule,
    "cosine_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup,
    "cosine_warmup_with_min_lr": get_cosine_with_min_lr_schedule_with_warmup_lr_rate,
    "warmup_stable_decay": get_wsd_schedule,
}


def get_scheduler(
    name: str,
    base_lr: float,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: Mapping[str, Any] | None = None,
) -> Schedule:
    """The schedule that ``lr_scheduler_type`` names.

    Raises ValueError for another name or a number of steps that is missing. "greedy" is not offered: its rates follow
    the loss up and down; `get_reduce_on_plateau_schedule` is the one that follows a metric here.

    >>> get_scheduler("constant_with_warmup", 1.0, num_warmup_steps=4)(2)
    0.5
    """
    key = str(getattr(name, "value", name))
    if key == "greedy":
        raise ValueError("No schedule follows the loss up and down: 'greedy'. Use 'reduce_lr_on_plateau'.")
    function = NAMES[option("name", key, tuple(NAMES))]
    given = mapping("scheduler_specific_kwargs", scheduler_specific_kwargs or {})
    if key == "constant":
        return function(base_lr)
    if key == "reduce_lr_on_plateau":
        return function(base_lr, **given)
    needed: dict[str, int | None] = {"num_warmup_steps": num_warmup_steps}
    if key == "constant_with_warmup":
        given = {}
    elif key != "inverse_sqrt":
        needed["num_training_steps"] = num_training_steps
    for argument, value in needed.items():
        if value is None and not (key == "warmup_stable_decay" and argument == "num_training_steps"):
            raise ValueError(f"{key} lacks {argument}: None. Give a number of steps.")
    return function(base_lr, **needed, **given)
