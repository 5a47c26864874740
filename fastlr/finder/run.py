"""One range test: an update at each rate, and the loss after it."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from fastlr.finder import driving
from fastlr.finder.smoothing import Array
from fastlr.finder.watching import Watch
from fastlr.searching.arrivals import read
from fastlr.searching.batches import Batches
from fastlr.searching.losses import loss_of, require_finite
from fastlr.searching.restoring import restored


@dataclass(frozen=True)
class Training:
    """What is trained, and how: the user's side of a range test."""

    model: torch.nn.Module
    loss_fn: Callable[..., Any] | None
    loader: Iterable[Any]
    optimizer: Optimizer
    forward: Callable[[Any, Any], Any] | None
    accumulate: int
    autocast: torch.dtype | AbstractContextManager[Any] | None
    scaler: Any
    device: torch.device | None

    def loss(self, batch: Any) -> Tensor:
        """The loss of one batch, checked."""
        with self._casting():
            return loss_of(self.model, batch, self.loss_fn, self.forward)

    def _casting(self) -> AbstractContextManager[Any]:
        if isinstance(self.autocast, torch.dtype):
            return torch.autocast("cpu" if self.device is None else self.device.type, self.autocast)
        return nullcontext() if self.autocast is None else self.autocast


@dataclass(frozen=True)
class Ran:
    """What a range test has seen: the loss before any update, and after the update at each rate."""

    start: float
    losses: list[float]
    stopped: str | None
    restarts: int


def run_restored(
    training: Training,
    modules: list[torch.nn.Module],
    rates: Array,
    limit: float | None,
    seed: int | None,
    tell: Callable[[int, float], object],
) -> Ran:
    """A range test after which everything is as before. `tell` hears of each loss as it is known."""
    scaler, loader = training.scaler, training.loader
    with restored(*modules, optimizer=training.optimizer, scaler=scaler, loader=loader) as randomness:
        if seed is not None:
            randomness.seed(seed)
        if not training.model.training:
            training.model.train()
        return run(training, rates, limit, tell)


def run(training: Training, rates: Array, limit: float | None, tell: Callable[[int, float], object]) -> Ran:
    """Train at one rate after another until the loss diverges; `tell` hears of the place and the loss of each.

    Raises ValueError for a loss that is not finite before any update.
    """
    batches = Batches(training.loader, training.device)
    values = map(float, read(_trained(training, rates, batches)))
    start = next(values)
    require_finite(start)
    watch, losses, stopped = Watch(start, limit), [], None
    for place, loss in enumerate(values):
        losses.append(loss)
        tell(place, loss)
        stopped = watch.diverged(loss)
        if stopped is not None:
            break
    return Ran(start, losses, stopped, batches.restarts)


def _trained(training: Training, rates: Array, batches: Iterator[Any]) -> Iterator[Tensor]:
    """The loss before each update, and after the last."""
    parts = driving.ratios(training.optimizer)
    driving.hold(training.optimizer)
    for rate in rates:
        driving.write(training.optimizer, float(rate), parts)
        yield _update(training, list(itertools.islice(batches, training.accumulate)))
    losses = [training.loss(batch).detach() for batch in itertools.islice(batches, training.accumulate)]
    yield torch.stack(losses).mean()


def _update(training: Training, batches: list[Any]) -> Tensor:
    """One update; returns the loss before it."""
    optimizer, scaler = training.optimizer, training.scaler
    seen: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        seen.append(_backward(training, batches))
        return seen[-1]

    if needs_closure(optimizer):
        optimizer.step(cast("Callable[[], float]", closure))
    elif scaler is None:
        closure()
        optimizer.step()
    else:
        closure()
        scaler.step(optimizer)
        scaler.update()
    return seen[0]


def _backward(training: Training, batches: list[Any]) -> Tensor:
    """The gradients of the mean loss of the batches."""
    losses = []
    for batch in batches:
        loss = training.loss(batch)
        if not loss.requires_grad:
            raise ValueError("The loss depends on no parameter that requires a gradient. Compute it from the model.")
        part = loss / len(batches)
        (part if training.scaler is None else training.scaler.scale(part)).backward()
        losses.append(loss.detach())
    params = (param for group in training.optimizer.param_groups for param in group["params"])
    if all(param.grad is None for param in params):
        raise ValueError("No parameter of the optimizer has a gradient. Give the optimizer of this model.")
    return torch.stack(losses).mean()


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether its step cannot do without one, as that of LBFGS."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
