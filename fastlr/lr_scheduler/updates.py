"""How many updates an optimizer that is not fastlr's has done."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from fastlr.optim import groups


class Updates:
    """Counts the updates of an optimizer from a hook after its step.

    Neither an update that a gradient scaler skipped counts, inside the optimizer's kernel or outside, nor the step with
    which distributed checkpointing creates the state.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.count = 0
        self.attach(optimizer)

    def attach(self, optimizer: Optimizer) -> None:
        """Count this optimizer's updates: a copy of an optimizer has no hooks."""
        stepping = unwrapped(optimizer)
        if not hasattr(stepping, "_optimizer_step_post_hooks"):
            raise TypeError(
                f"An optimizer that runs no hooks: {type(optimizer).__name__}. Have it call torch's Optimizer.__init__."
            )
        counter = weakref.ref(self)  # an optimizer keeps no scheduler alive, and loses the hook with it

        def after(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            own = counter()
            skipped = getattr(optimizer, "found_inf", None)  # a gradient scaler's, where the kernel looks at it
            if own is not None and (skipped is None or not bool(skipped)) and not _only_initialises(optimizer):
                own.count += 1

        after.counts_updates = True  # type: ignore[attr-defined]
        weakref.finalize(self, stepping.register_step_post_hook(after).remove)


@contextmanager
def uncounted(optimizer: Optimizer) -> Iterator[None]:
    """A block whose updates no `Updates` counts, as they are undone."""
    hooks: dict[int, Any] = getattr(unwrapped(optimizer), "_optimizer_step_post_hooks", {})
    before = dict(hooks)
    try:
        for number, hook in before.items():
            if getattr(hook, "counts_updates", False):
                del hooks[number]
        yield
    finally:
        hooks.clear()
        hooks.update(before)


def unwrapped(optimizer: Optimizer) -> Optimizer:
    """The optimizer whose step is hooked: a wrapper, such as accelerate's, has it in its ``optimizer``."""
    while not hasattr(optimizer, "_optimizer_step_post_hooks") and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def _only_initialises(optimizer: Optimizer) -> bool:
    lr = optimizer.param_groups[0]["lr"]
    on_device = isinstance(lr, Tensor) and lr.device.type != "cpu"  # is not asked for: the host would wait for it
    return not on_device and bool(groups.initialised(optimizer.param_groups))
