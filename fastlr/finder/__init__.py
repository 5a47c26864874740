"""Find a learning rate: one short training whose rate rises at every update, and what its losses suggest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from fastlr.finder import arguments, driving
from fastlr.finder.curve import Curve
from fastlr.finder.result import RangeTest
from fastlr.finder.run import run_restored
from fastlr.finder.smoothing import Array
from fastlr.finder.suggestions import Suggestion

__all__ = ["RangeTest", "Suggestion", "find_lr"]


def find_lr(
    model: torch.nn.Module,
    loss_fn: Callable[..., Any] | None,
    loader: Iterable[Any],
    optimizer: Optimizer | Callable[[Any], Optimizer] | None = None,
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 100,
    *,
    forward: Callable[[Any, Any], Any] | None = None,
    accumulate: int = 1,
    autocast: torch.dtype | AbstractContextManager[Any] | None = None,
    scaler: Any = None,
    device: torch.device | str | None = None,
    smoothing: float = 0.7,
    stop: float | None = 4.0,
    repeats: int = 1,
    seed: int | None = None,
    progress: Callable[[int, float, float], object] | None = None,
) -> RangeTest:
    r"""Train for some updates with a rate that grows from `low` to `high`, and read a learning rate off the losses.

    Update t is done at :math:`low \cdot (high / low)^{t / (steps - 1)}`, and its loss is that of the next batch. The
    test ends early once the loss has diverged. Afterwards everything is as it was, bit for bit, also after an exception
    or Ctrl-C: parameters, buffers, gradients, train flags, the optimizer, its schedules and schedulers, the gradient
    scaler and all random numbers. That takes as much memory as the model and the optimizer's state once more.

    The model trains from where it is, in train mode; one that is in it already keeps its modules' own flags.

    Args:
        model: The model; shared and frozen parameters are fine.
        loss_fn: ``loss_fn(output, target)``, a tensor of one element; None with `forward`.
        loader: Batches, again from the start where there are not enough: ``(input, target)``, ``(*inputs, target)``, or
            dicts of the model's keyword arguments whose "labels", "label", "targets" or "target" is the target.
        optimizer: Any optimizer, as it is now, with its state: its schedules stand still, its groups keep the ratios of
            their rates, and the rate reported is that of the group with the largest. Or what makes one of the
            trainable parameters, such as ``fastlr.AdamW``. None: ``fastlr.SGD(momentum=0.9)``.
        low: The first rate.
        high: The last rate.
        steps: The number of updates.
        forward: ``forward(model, batch)`` returns the loss, for batches and losses of other kinds.
        accumulate: Batches whose mean gradient makes an update, and whose mean loss is its loss.
        autocast: A dtype for ``torch.autocast`` on the model's device, or such a context.
        scaler: A ``torch.amp.GradScaler``.
        device: Where batches are moved to. None: where the model's first parameter is.
        smoothing: From 0 (none) to below 1: the weight of a loss falls by this factor with each step from it, in both
            directions.
        stop: The test ends when three losses in a row are above that many times the first (for the exact rule see
            `docs/finding.md`). None: only when the loss is not finite.
        repeats: Runs from the same start with other random numbers; the suggestions then have a spread.
        seed: Where the random numbers of the first run begin. None: where they are now.
        progress: ``progress(done, rate, loss)``, called after each update, of ``steps * repeats`` at most, with its
            rate and the loss after it. An exception from it ends the test as any other does.

    Returns:
        A `RangeTest`: ``lr``, ``reason``, ``suggest(method)``, ``rates``, ``losses``, ``plot()``, ``to_json()``.

    Raises:
        TypeError: A loader that is an iterator, a loss that is no tensor, batches of other kinds without `forward`.
        ValueError: Rates that are not positive, finite and rising; a loader without batches; a loss of several
            elements, without a gradient, or not finite before any update; nothing to train. Nothing has been changed.

    >>> import fastlr
    >>> model = torch.nn.Linear(1, 1)
    >>> batch = (torch.tensor([[1.0]]), torch.tensor([[3.0]]))
    >>> result = find_lr(model, torch.nn.functional.mse_loss, [batch], fastlr.SGD)
    >>> 0.01 < result.lr < 1.0, result.rates[[0, -1]].tolist(), model.weight.grad
    (True, [1e-07, 10.0], None)
    """
    rates = arguments.rates_between(low, high, steps)
    arguments.check_numbers(accumulate, repeats, smoothing, stop, seed)
    modules, training = arguments.training(
        model,
        loss_fn,
        loader,
        optimizer,
        forward,
        accumulate=accumulate,
        autocast=autocast,
        scaler=scaler,
        device=device,
    )
    runs = []
    for index, one in enumerate(_seeds(seed, repeats)):
        tell = _telling(progress, rates, index * steps)
        runs.append(run_restored(training, modules, rates, stop, one, tell))
    curves = [Curve(rates[: len(ran.losses)], np.array(ran.losses), ran.start, ran.stopped, smoothing) for ran in runs]
    restarts = tuple(ran.restarts for ran in runs)
    return RangeTest(rates, tuple(curves), restarts, tuple(driving.ratios(training.optimizer)))


def _telling(progress: Callable[[int, float, float], object] | None, rates: Array, before: int) -> Any:
    """What hears of a run's losses by their places in it."""
    if progress is None:
        return lambda place, loss: None
    return lambda place, loss: progress(before + place + 1, float(rates[place]), loss)


def _seeds(first: int | None, count: int) -> list[int | None]:
    """A seed for each run, those after the first drawn from where the first begins; torch's own generator stays."""
    generator = torch.Generator()
    if first is None:
        generator.set_state(torch.get_rng_state())
    else:
        generator.manual_seed(first)
    return [first, *torch.randint(2**31, (count - 1,), generator=generator).tolist()]
