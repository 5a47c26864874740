"""What other libraries ask for in their own form."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedulers

from fastlr.lr_scheduler import LRScheduler


def lightning(optimizer: Optimizer, scheduler: torch_schedulers.LRScheduler | None = None) -> dict[str, Any]:
    """What a LightningModule's ``configure_optimizers`` returns, with the scheduler stepped after every update.

    Lightning's own default is once an epoch.

    Args:
        optimizer: Any optimizer.
        scheduler: Its scheduler; None for one that follows an optimizer of fastlr.

    Raises:
        TypeError: Something else than a scheduler, or none for another optimizer than fastlr's.
        ValueError: The scheduler of another optimizer.

    >>> import torch, fastlr
    >>> optimizer = torch.optim.SGD([torch.ones(1)], lr=0.1)
    >>> scheduler = fastlr.LRScheduler(optimizer, lr=fastlr.warmup_cosine(0.1, 100))
    >>> lightning(optimizer, scheduler)["lr_scheduler"] == {"scheduler": scheduler, "interval": "step", "frequency": 1}
    True
    """
    if scheduler is None:
        scheduler = LRScheduler(optimizer)
    if not isinstance(scheduler, torch_schedulers.LRScheduler):
        raise TypeError(f"Not a scheduler: {scheduler!r}. Give fastlr.LRScheduler(optimizer, lr=...).")
    if scheduler.optimizer is not optimizer:
        raise ValueError(f"The scheduler of another optimizer: {scheduler!r}. Construct it with this one.")
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "frequency": 1}}
