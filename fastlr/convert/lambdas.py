"""Reads the functions that transformers gives to torch's LambdaLR, known by their names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fastlr.compat import transformers
from fastlr.convert.unreadable import Unreadable
from fastlr.schedules import Schedule

MODULE = "transformers.optimization"


def cosine(base: float, **kwargs: Any) -> Schedule:
    """One function serves the cosine with a lowest rate and the one without."""
    if "min_lr_rate" in kwargs:
        return transformers.get_cosine_with_min_lr_schedule_with_warmup(base, **kwargs)
    return transformers.get_cosine_schedule_with_warmup(base, **kwargs)


def polynomial(base: float, *, lr_init: float, **kwargs: Any) -> Schedule:
    """Its end is that of the optimizer's default rate, and other groups get their share of it."""
    schedule = transformers.get_polynomial_decay_schedule_with_warmup(lr_init, **kwargs)
    return schedule if base == lr_init else schedule * (base / lr_init)


FUNCTIONS: dict[str, Callable[..., Schedule]] = {
    "_get_constant_lambda": transformers.get_constant_schedule,
    "_get_constant_schedule_with_warmup_lr_lambda": transformers.get_constant_schedule_with_warmup,
    "_get_cosine_schedule_with_warmup_lr_lambda": cosine,
    "_get_cosine_with_hard_restarts_schedule_with_warmup_lr_lambda": (
        transformers.get_cosine_with_hard_restarts_schedule_with_warmup
    ),
    "_get_cosine_with_min_lr_schedule_with_warmup_lr_rate_lambda": (
        transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate
    ),
    "_get_inverse_sqrt_schedule_lr_lambda": transformers.get_inverse_sqrt_schedule,
    "_get_linear_schedule_with_warmup_lr_lambda": transformers.get_linear_schedule_with_warmup,
    "_get_polynomial_decay_schedule_with_warmup_lr_lambda": polynomial,
    "_get_wsd_scheduler_lambda": transformers.get_wsd_schedule,
}


def lambda_schedule(function: Any, base: float) -> Schedule:
    """The schedule of a base rate times the function."""
    inner, kwargs = function, {}
    if isinstance(function, functools.partial) and not function.args:
        inner, kwargs = function.func, function.keywords
    name = getattr(inner, "__name__", "")
    if getattr(inner, "__module__", None) != MODULE or name not in FUNCTIONS:
        raise Unreadable(f"A function has no formula: {function!r}")
    try:
        return FUNCTIONS[name](base, **kwargs)
    except (ValueError, TypeError) as error:
        raise Unreadable(f"What {name} holds is no schedule: {str(error).rstrip('.')}") from error
