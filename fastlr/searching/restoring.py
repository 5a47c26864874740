"""Everything that a search changes is as before when it is over, however it ends."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch.optim import Optimizer

from fastlr.lr_scheduler.updates import uncounted
from fastlr.optim.scheduled import ScheduledOptimizer
from fastlr.searching.interrupts import Interrupts
from fastlr.searching.keeping import Kept
from fastlr.searching.randomness import Randomness


class restored:
    """A block after which everything is as before, bit for bit and the same objects, also after an exception or Ctrl-C.

    That is: parameters, buffers, plain attributes and train flags of the modules; gradients (there are none inside the
    block) and ``requires_grad``; the optimizer's groups, state and attributes, and the count of a `fastlr.LRScheduler`
    that follows it; a gradient scaler; the random numbers of Python, NumPy and torch on every device in use, and those
    of the loader; the filters of warnings. Gradients are recorded inside. Needs as much memory as these tensors.
    Version counters of tensors go on.

    Entering gives the random numbers, for a block that has to start from them again, or from a seed.
    """

    def __init__(
        self,
        *modules: torch.nn.Module,
        optimizer: Optimizer | None = None,
        scaler: Any = None,
        loader: Any = None,
    ) -> None:
        self._modules = modules
        self._optimizer = optimizer
        self._scaler = scaler
        self._loader = loader
        self._interrupts = Interrupts(self)
        self._stack = ExitStack()  # which goes through all that is to be done, whatever one raises

    # Not by contextlib: between its functions and these a Ctrl-C would find no one who puts things back.
    def __enter__(self) -> Randomness:
        self._interrupts.begin()
        try:
            randomness = self._begin()
            self._interrupts.deliver()
        except BaseException:
            self._restore()
            raise
        return randomness

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _begin(self) -> Randomness:
        for context in (warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad()):
            self._stack.enter_context(context)
        kept = Kept()
        for module in self._modules:
            kept.keep_module(module)
        kept.keep(self._optimizer)
        kept.keep(getattr(self._scaler, "__dict__", None))
        randomness = Randomness(kept.devices(), self._loader)
        loaders = _LoaderIterator(self._loader)
        for restore in (kept.restore, loaders.restore, randomness.restore):
            self._stack.callback(restore)
        kept.begin()
        loaders.begin()
        for optimizer in kept.optimizers:
            self._stack.enter_context(uncounted(optimizer))
            if isinstance(optimizer, ScheduledOptimizer):
                optimizer._begin_anew()
        return randomness

    def _restore(self) -> None:
        try:
            self._stack.close()
        finally:
            self._interrupts.end()


class _LoaderIterator:
    """The iterator that a DataLoader with persistent workers keeps: the search has one of its own."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._has_one = hasattr(loader, "_iterator")
        self._iterator = getattr(loader, "_iterator", None)

    def begin(self) -> None:
        if self._has_one:
            self._loader._iterator = None

    def restore(self) -> None:
        if self._has_one:
            self._loader._iterator = self._iterator


def trainable(modules: Iterable[torch.nn.Module]) -> list[torch.nn.Parameter]:
    """The parameters that require gradients, shared ones once."""
    found = {param: None for module in modules for param in module.parameters() if param.requires_grad}
    return list(found)
