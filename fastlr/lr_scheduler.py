"""A scheduler for callers that insist on one."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import lr_scheduler

from fastlr.optim.scheduled import ScheduledOptimizer


class LRScheduler(lr_scheduler.LRScheduler):
    """Follows an optimizer of fastlr and writes nothing: the optimizer's own schedules set the rates.

    ``step()`` notes the rates of the next update, and ``get_last_lr()`` gives what the last ``step()`` noted, so that a
    caller that logs after the update and before ``step()`` logs the rate that was applied, as with torch's schedulers.

    Args:
        optimizer: An optimizer of fastlr.

    Raises:
        TypeError: Another optimizer.

    >>> import torch, fastlr
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = fastlr.SGD([weight], lr=fastlr.schedules.Linear(0.5, 0.0, 2))
    >>> scheduler = LRScheduler(optimizer)
    >>> weight.grad = torch.ones(1)
    >>> optimizer.step()
    >>> scheduler.get_last_lr(), optimizer.param_groups[0]["lr"]
    ([0.5], 0.25)
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [0.25]
    """

    # Not torch's: it would wrap optimizer.step and write rates.
    def __init__(self, optimizer: ScheduledOptimizer) -> None:
        if not isinstance(optimizer, ScheduledOptimizer):
            raise TypeError(
                f"Not an optimizer of fastlr: {type(optimizer).__name__}. Give one whose own schedules set the rates."
            )
        self.optimizer = optimizer
        self.base_lrs = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        self._step_count = 1
        self._note()

    def get_lr(self) -> list[float | Tensor]:
        """The rates of the next update, one a group."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """Note the rates of the next update. ``epoch`` is accepted and means nothing: updates are counted."""
        self._step_count += 1
        self._note()

    def _note(self) -> None:
        self.last_epoch = self.optimizer.param_groups[0]["step_count"]
        self._last_lr = self.get_lr()

    def state_dict(self) -> dict[str, Any]:
        """Plain values; the optimizer's state dict holds what matters."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count, "_last_lr": list(self._last_lr)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the counts; the rates are those of the optimizer, in whichever order the two are loaded."""
        self._step_count = int(state_dict["_step_count"])
        self.last_epoch = int(state_dict["last_epoch"])
        self._last_lr = list(state_dict["_last_lr"])
