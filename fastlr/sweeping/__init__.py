"""Learning rates side by side: replicas of a model, from one start on the same batches, each with its schedule."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch

from fastlr.schedules import Schedule
from fastlr.searching.restoring import restored
from fastlr.sweeping.result import Sweep
from fastlr.sweeping.running import run
from fastlr.sweeping.settings import Rate, Settings, settings
from fastlr.sweeping.subject import Subject

if TYPE_CHECKING:
    from fastlr.optim.scheduled import ScheduledOptimizer

__all__ = ["Sweep", "sweep"]


def sweep(
    model: torch.nn.Module,
    loss_fn: Callable[..., Any] | None,
    loader: Iterable[Any],
    rates: Iterable[Rate],
    *,
    steps: int,
    shape: Schedule | None = None,
    optimizer: type[ScheduledOptimizer] | None = None,
    validation: Iterable[Any] | None = None,
    validate_every: int | None = None,
    forward: Callable[[Any, Any], Any] | None = None,
    freeze_above: float | None = 10.0,
    halving: int | None = None,
    engine: str = "auto",
    chunk: int | None = None,
    seed: int | None = None,
    confidence: float = 0.9,
    progress: Callable[[int, Rate, float], object] | None = None,
    **options: Any,
) -> Sweep:
    """Train copies of a model side by side, one for each learning rate, and say which rate is best.

    All replicas start from the model as it is and see the same batches with the same random numbers. The model, its
    gradients and all random numbers are afterwards as before, also after an exception.

    Args:
        model: Copied, never run itself. It trains in the mode it is in; from evaluation mode as after ``train()``.
        loss_fn: ``loss_fn(output, target)``, a tensor of one element. None with `forward`.
        loader: Batches, gone through again from the start where it is shorter than the steps. A tuple is
            ``(*inputs, target)``, a dict the model's keyword arguments with the target in "labels" or "target".
        rates: Increasing rates above 0, or schedules, each the rate of one replica.
        steps: The number of updates.
        shape: A schedule that every entry is multiplied by, such as ``fastlr.warmup_cosine(1.0, steps)``. Advisable: a
            short run at a constant rate favours rates that are too small for a long one.
        optimizer: `fastlr.SGD`, `Adam`, `AdamW` or `Lion`, with `options` for it; without one SGD with momentum 0.9. A
            norm that gradients are clipped by is each replica's own.
        validation: Batches whose mean loss in evaluation mode then ranks the entries.
        validate_every: After how many steps it is taken, and after the last; by default ten times.
        forward: ``forward(model, batch)``, the loss of a batch; for models or batches that the above does not fit.
        freeze_above: A replica stops where its loss is not finite, or above this many times the best one on the same
            batch and above twice the first loss of all. None: only where it is not finite.
        halving: A number from 2 on: successive halving, where at each rung only one replica in so many goes on.
        engine: How replicas run: "batched", "vmapped", "grad_and_value", "sequential", or "auto" for the fastest.
        chunk: How many replicas run through the model at once; by default as many as memory allows.
        seed: Where all random numbers start; None: where they are.
        confidence: The part of the resampled means that intervals hold.
        progress: ``progress(done, entry, loss)``, called after updates with the number done and the entry whose loss is
            the lowest at the time; on a GPU with losses of some steps ago.
        **options: Of the optimizer: ``momentum``, ``weight_decay``, ``betas``, ``max_grad_norm``, ``ema_decay`` ...

    Returns:
        A `Sweep`: `best`, `losses`, `scores`, `intervals`, `largest_stable`, `basin`, `plot()`, `to_json()`.

    Raises:
        TypeError: Something that is no model, loader, rate, schedule or option of the optimizer.
        ValueError: A loader without batches, rates that are not positive or do not increase, a loss that is no number
            or not finite before any update, a model without parameters to train, replicas that do not fit in memory.

    >>> import fastlr
    >>> batches = [(torch.eye(4), torch.arange(4.0).unsqueeze(1))]
    >>> model = torch.nn.Linear(4, 1)
    >>> found = sweep(model, torch.nn.functional.mse_loss, batches, [0.001, 0.1, 100.0], steps=20)
    >>> found.best, found.diverged[0], found.losses.shape
    (0.1, None, (20, 3))
    """
    asked = settings(
        loader,
        rates,
        shape,
        optimizer,
        options,
        steps=steps,
        validation=validation,
        validate_every=validate_every,
        freeze_above=freeze_above,
        halving=halving,
        engine=engine,
        chunk=chunk,
        confidence=confidence,
        progress=progress,
    )
    return swept(model, loss_fn, forward, loader, asked, shape, seed)


def swept(
    model: torch.nn.Module,
    loss_fn: Callable[..., Any] | None,
    forward: Callable[[Any, Any], Any] | None,
    loader: Iterable[Any],
    asked: Settings,
    shape: Schedule | None,
    seed: int | None,
    chosen: Callable[[str], object] | None = None,
) -> Sweep:
    """The sweep of settings that have been checked. `chosen` hears of the engine's name before the training begins."""
    modules = [loss_fn] if isinstance(loss_fn, torch.nn.Module) else []
    with restored(loader=asked.validation), restored(*modules, loader=loader) as randomness:
        if seed is not None:
            randomness.seed(seed)
        # Of torch.func, where it goes through the replicas one by one: the trial's times show it.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        return run(Subject(model, loss_fn, forward), loader, asked, shape, chosen)
