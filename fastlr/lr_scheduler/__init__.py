"""A scheduler of torch's kind for any optimizer, and for callers that insist on one."""

from __future__ import annotations

from typing import Any, TypeAlias

from torch import Tensor
from torch.optim import Optimizer, lr_scheduler

from fastlr._warn import warn
from fastlr.lr_scheduler import arguments
from fastlr.lr_scheduler.native import Native
from fastlr.lr_scheduler.updates import unwrapped
from fastlr.lr_scheduler.written import Written
from fastlr.optim.scheduled import ScheduledOptimizer
from fastlr.schedules import Schedule, checks, plateau

Value: TypeAlias = "Schedule | float"
Values: TypeAlias = "Value | list[Value]"
Betas: TypeAlias = "tuple[Value, Value] | list[tuple[Value, Value]]"

IDLE = 100  # calls of step() without a single update, far more than a gradient scaler skips at the start


class LRScheduler(lr_scheduler.LRScheduler):
    """Schedules for any optimizer, counted in its updates: update t uses ``schedule(t)``, the first t = 0.

    Call ``step()`` after ``optimizer.step()``. The time t is the number of updates, not of calls: a call without an
    update (gradient accumulation, an overflow that a gradient scaler skipped, accelerate's ``num_processes`` calls)
    leaves it where it is, and a call after several updates, as once an epoch, takes it on by as many. That comes too
    late for the updates between, and warns once if they should have used other values; ``schedule.per_epoch(n)`` has
    none. Updates are counted by a hook of the optimizer's step; where they are replayed without it, as in a CUDA graph,
    ``step(t)`` says where the run is. ``get_last_lr()`` gives what the last ``step()`` wrote: until the next ``step()``
    that is the rate which the last update used, and callers log it.

    Other optimizers than fastlr's get plain floats in their groups; tensors there are filled in place, and groups that
    share one get one each. An optimizer of fastlr gets the schedules themselves (`set_schedule`), its ``step_count`` is
    t, its ``lr_scale`` multiplies as ever, and this scheduler only follows, in time or not. Without any schedule it
    follows those that the optimizer has.

    Args:
        optimizer: Any optimizer; without a schedule one of fastlr.
        lr: The learning rate: a schedule or number for all groups, or a list with one per group.
        factor: Instead of `lr`: what multiplies each group's ``initial_lr`` (its ``lr`` where that is absent).
        momentum: Written to ``momentum``, or to the first of ``betas`` where a group has no momentum.
        betas: A pair of schedules or numbers, or a list with a pair per group.
        weight_decay: A schedule or number, or a list.
        last_epoch: As in torch: with k >= 0, the next update is k + 1. A loaded state makes it superfluous.

    A group that is added later follows from the next ``step()`` on, or that raises where it cannot.

    Raises:
        TypeError: Not an optimizer; no schedule for another one than fastlr's; something else than schedules.
        ValueError: Values out of range, one absolute schedule over groups with different rates, lists of another
            length than the groups, a group without that hyper-parameter. Nothing has been changed.
        KeyError: ``last_epoch`` without ``initial_lr`` in the groups.

    Source: torch.optim.lr_scheduler.LRScheduler, whose place this takes in every caller.

    >>> import torch
    >>> from fastlr.schedules import Linear
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = torch.optim.AdamW([weight], lr=0.001)
    >>> scheduler = LRScheduler(optimizer, lr=Linear(start=0.5, end=0.0, length=2))
    >>> weight.grad = torch.ones(1)
    >>> optimizer.step()
    >>> scheduler.get_last_lr(), optimizer.param_groups[0]["lr"]
    ([0.5], 0.5)
    >>> scheduler.step()
    >>> scheduler.get_last_lr(), optimizer.param_groups[0]["lr"]
    ([0.25], 0.25)
    """

    # Not torch's: it would wrap optimizer.step, count calls and write rates.
    def __init__(
        self,
        optimizer: Optimizer,
        lr: Values | None = None,
        *,
        factor: Values | None = None,
        momentum: Values | None = None,
        betas: Betas | None = None,
        weight_decay: Values | None = None,
        last_epoch: int = -1,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"Not an optimizer: {type(optimizer).__name__}. Give one of fastlr or of torch's kind.")
        _check_step("last_epoch", last_epoch, lowest=-1)
        passed = {"lr": lr, "factor": factor, "momentum": momentum, "betas": betas, "weight_decay": weight_decay}
        given = arguments.collect(optimizer.param_groups, passed)
        self._target: Native | Written
        inner = unwrapped(optimizer)
        if isinstance(inner, ScheduledOptimizer):
            self._target = Native(inner, given, last_epoch)
        elif given:
            self._target = Written(optimizer, given, last_epoch)
        else:
            raise TypeError(
                f"Not an optimizer of fastlr: {type(optimizer).__name__}. Give lr= or factor= a schedule; without one, "
                "an optimizer whose own schedules set the rates."
            )
        self.optimizer = optimizer
        self.base_lrs: list[float | Tensor] = self._target.base_lrs  # type: ignore[assignment]
        self.last_epoch, rates = self._target.advance(last_epoch + 1, 0, None)
        self._step_count = 1
        self._seen = self._target.updates()
        self._idle: int | None = 0  # calls without any update so far; None after the first update
        self._warned = False
        self._last_lr: list[float | Tensor] = list(rates)

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the next update, one a group."""
        return list(self._target.rates(self.last_epoch))

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next update.

        Args:
            epoch: The number of updates done, for a caller whose updates cannot be counted. An optimizer of fastlr
                counts its own, and this means nothing.
        """
        if epoch is not None and isinstance(self._target, Written):
            _check_step("epoch", epoch)
        pending = self._pending()
        missed = epoch is None and not self._warned and self._target.missed(self.last_epoch, pending)
        self.last_epoch, rates = self._target.advance(self.last_epoch, pending, epoch)
        self._seen = self._target.updates()
        self._step_count += 1
        self._last_lr = list(rates)
        if missed:
            self._warned = True
            warn(
                f"The optimizer did {pending} updates between two steps of its scheduler, which counts them: they all "
                "used the values of the first. Call scheduler.step() after each optimizer.step() (Lightning: interval "
                "'step', as in fastlr.lightning()), or count in epochs: schedule.per_epoch(updates_per_epoch)."
            )
        if epoch is None and isinstance(self._target, Written):
            self._note_idle(pending)

    def _pending(self) -> int:
        return self._target.updates() - self._seen

    def _note_idle(self, pending: int) -> None:
        if pending > 0 or self._idle is None:
            self._idle = None
            return
        self._idle += 1
        if self._idle == IDLE:
            warn(
                f"No update of the optimizer in {IDLE} steps of its scheduler, which counts updates: the rate stays. "
                "Call optimizer.step(), or scheduler.step(t) where updates cannot be seen. To look at a schedule call "
                "it: schedule(t)."
            )

    # What torch's SequentialLR calls: it takes the count back by one, expects the first to put it forward again, and
    # starts each part with the second.
    def _initial_step(self) -> None:
        self.step(self.last_epoch + 1)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.step(epoch)

    def report(self, loss: float | Tensor) -> None:
        """Feed a metric to the `fastlr.schedules.ReduceOnPlateau` that rates follow; reductions are written at once.

        Raises TypeError for no metric, ValueError where no rate has such a rule.

        >>> import torch, fastlr
        >>> optimizer = torch.optim.SGD([torch.ones(1)], lr=0.5)
        >>> rule = fastlr.schedules.ReduceOnPlateau(0.5, factor=0.1, patience=0)
        >>> scheduler = fastlr.LRScheduler(optimizer, lr=rule)
        >>> for loss in (1.0, 1.0):
        ...     scheduler.report(loss)
        >>> scheduler.get_last_lr(), optimizer.param_groups[0]["lr"]
        ([0.05], 0.05)
        """
        self._last_lr = list(self._target.report(plateau.as_metric(loss), self.last_epoch))

    def state_dict(self) -> dict[str, Any]:
        """Plain values, which ``weights_only=True`` reads back; schedules as JSON strings."""
        return {
            "last_epoch": self.last_epoch,
            "_step_count": self._step_count,
            "_last_lr": list(self._last_lr),
            "pending": self._pending(),
            **self._target.state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any], *, keep_schedule: bool = False) -> None:
        """Go on from any step, in whichever order this and the optimizer are loaded, and write its rates.

        Other schedules in the state replace those that this scheduler was constructed with, with a warning that shows
        both. A state without schedules (torch's own too) goes on under those of this scheduler.

        Args:
            state_dict: What ``state_dict()`` returned.
            keep_schedule: Keep the schedules that this scheduler was constructed with.

        Raises:
            ValueError: The state does not fit. Nothing has been changed.
        """
        t = _check_step("last_epoch", state_dict.get("last_epoch"))
        pending = _check_step("pending", state_dict.get("pending", 0))
        steps = _check_step("_step_count", state_dict.get("_step_count", t + 1))
        loaded = arguments.unpack(state_dict.get("schedules") or {})
        given = self._target.given if keep_schedule else loaded or None
        replaced = self._target.load(state_dict, given)
        self.last_epoch = t
        self._step_count = steps
        self._seen = self._target.updates() - pending
        self._last_lr = list(self._target.resume(t, state_dict))
        if replaced:
            warn(
                "The checkpoint has other schedules than this scheduler was constructed with, and replaces them: "
                f"{'; '.join(replaced)}. To keep the new ones: load_state_dict(..., keep_schedule=True)."
            )


def _check_step(name: str, value: Any, lowest: int = 0) -> int:
    if type(value) is not int or not lowest <= value <= checks.MAX_STEP:
        raise ValueError(f"{name} is no number of updates: {value!r}. Give an int from {lowest} on.")
    return value
