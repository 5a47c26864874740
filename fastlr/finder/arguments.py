"""What a range test is asked for, checked before anything is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

import fastlr.optim
from fastlr.finder.run import Training, needs_closure
from fastlr.finder.smoothing import Array
from fastlr.schedules import Geometric, checks
from fastlr.searching.batches import device_of
from fastlr.searching.restoring import trainable


def rates_between(low: float, high: float, steps: int) -> Array:
    """The rates of the updates, by the same factor from each to the next. The first and the last are exact.

    Raises ValueError for rates that are not positive, finite and rising, and for less than two steps.
    """
    count = checks.integer("find_lr steps", steps)
    if count < 2:
        raise ValueError(f"find_lr steps are too few: {steps}. Give 2 or more; 100 are usual.")
    first, last = _number("low", low), _number("high", high)
    if not 0.0 < first < last < math.inf:
        raise ValueError(f"Rates are not positive and rising: low={low!r}, high={high!r}. Give 0 < low < high.")
    return np.asarray(Geometric(first, last, count - 1)(np.arange(count)), dtype=np.float64)


def check_numbers(accumulate: int, repeats: int, smoothing: float, stop: float | None, seed: int | None) -> None:
    """Raise TypeError and ValueError for numbers that a range test does not take."""
    checks.integer("find_lr accumulate", accumulate)
    checks.integer("find_lr repeats", repeats)
    if not 0.0 <= _number("smoothing", smoothing) < 1.0:
        raise ValueError(f"Invalid smoothing: {smoothing!r}. Give a number from 0 to below 1.")
    if stop is not None and not _number("stop", stop) > 1.0:
        raise ValueError(f"Invalid stop: {stop!r}. Give a factor above 1, or None to go on.")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63):
        raise ValueError(f"Invalid seed: {seed!r}. Give an int from 0 to 2**63 - 1, or None.")


def check_model(model: Any, loss_fn: Any, forward: Any) -> None:
    """Raise TypeError and ValueError unless there is a model that can be trained, and one way to a loss."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"Not a model: {type(model).__name__}. Give a torch.nn.Module.")
    if (loss_fn is None) == (forward is None):
        given = "both" if forward is not None else "neither"
        raise ValueError(f"The loss comes from loss_fn or from forward: {given} given. Give one, None for the other.")
    for name, one in (("loss_fn", loss_fn), ("forward", forward)):
        if one is not None and not callable(one):
            raise TypeError(f"{name} is no function: {one!r}. Give one that returns the loss.")
    lazy = [name for name, value in (*model.named_parameters(), *model.named_buffers()) if is_lazy(value)]
    if lazy:
        raise ValueError(f"The model has no shape yet: {lazy[0]}. Run one batch through it first.")


def optimizer_for(modules: list[torch.nn.Module], given: Optimizer | Callable[[Any], Optimizer] | None) -> Optimizer:
    """The optimizer that is given, or one of the modules' trainable parameters."""
    if isinstance(given, Optimizer):
        return given
    if given is not None and not callable(given):
        raise TypeError(f"Not an optimizer: {given!r}. Give one, or what makes one of parameters: fastlr.AdamW.")
    params = trainable(modules)
    if not params:
        raise ValueError("The model has no trainable parameter. Set requires_grad of those that are to be trained.")
    made = fastlr.optim.SGD(params, momentum=0.9) if given is None else given(params)
    if not isinstance(made, Optimizer):
        raise TypeError(f"No optimizer was made: {made!r}. Return a torch.optim.Optimizer.")
    return made


def training(
    model: torch.nn.Module,
    loss_fn: Callable[..., Any] | None,
    loader: Iterable[Any],
    optimizer: Optimizer | Callable[[Any], Optimizer] | None,
    forward: Callable[[Any, Any], Any] | None,
    *,
    accumulate: int,
    autocast: torch.dtype | AbstractContextManager[Any] | None,
    scaler: Any,
    device: torch.device | str | None,
) -> tuple[list[torch.nn.Module], Training]:
    """The user's side of a range test, checked, and the modules that take part in it."""
    check_model(model, loss_fn, forward)
    modules = [model, *([loss_fn] if isinstance(loss_fn, torch.nn.Module) else [])]
    found = Training(
        model=model,
        loss_fn=loss_fn,
        loader=loader,
        optimizer=optimizer_for(modules, optimizer),
        forward=forward,
        accumulate=accumulate,
        autocast=autocast,
        scaler=scaler,
        device=device_of(model) if device is None else torch.device(device),
    )
    check_mixed_precision(found)
    return modules, found


def check_mixed_precision(training: Training) -> None:
    """Raise TypeError and ValueError for an autocast and a scaler that a range test cannot use."""
    cast, scaler = training.autocast, training.scaler
    if cast is not None and not isinstance(cast, (torch.dtype, AbstractContextManager)):
        raise TypeError(f"Not a dtype and no context: autocast={cast!r}. Give torch.bfloat16, or a torch.autocast.")
    if scaler is not None and not all(hasattr(scaler, name) for name in ("scale", "step", "update")):
        raise TypeError(f"Not a gradient scaler: {scaler!r}. Give a torch.amp.GradScaler.")
    if scaler is not None and needs_closure(training.optimizer):
        name = type(training.optimizer).__name__
        raise ValueError(f"{name} takes a closure, which no gradient scaler does: {scaler!r}. Leave out scaler.")


def _number(name: str, value: Any) -> float:
    if isinstance(value, (bool, str)) or value is None:
        raise TypeError(f"Not a number: {name}={value!r}. Give one.")
    try:
        return float(value)
    except TypeError as error:
        raise TypeError(f"Not a number: {name}={value!r}. Give one.") from error
