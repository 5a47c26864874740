"""What a step under torch.compile reads of its optimizer: only what stays the same from update to update."""

from __future__ import annotations

import itertools
import operator
import weakref
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.optim import Optimizer

from fastlr.optim import recipe

if TYPE_CHECKING:
    from fastlr.optim.scheduled import ScheduledOptimizer
    from fastlr.optim.stepping import SteppingOptimizer

_OPTIMIZERS: weakref.WeakValueDictionary[str, ScheduledOptimizer] = weakref.WeakValueDictionary()
_NUMBERS = itertools.count()


def optimizer_of(handle: str) -> ScheduledOptimizer:
    """The optimizer of a link. Compiled code holds the handle, which does not keep the optimizer alive."""
    optimizer = _OPTIMIZERS.get(handle)
    if optimizer is None:
        raise RuntimeError(f"The optimizer of a compiled step is gone: {handle}. Keep a reference to it.")
    return optimizer


class Link:
    """An optimizer's parameters and their state, as the guards of torch.compile look at them.

    The parameter groups themselves hold rates and counts: guarded as well, they would compile every update anew.
    """

    def __init__(self, optimizer: ScheduledOptimizer) -> None:
        self.handle = f"{type(optimizer).__name__}-{next(_NUMBERS)}"  # no int, which may become a symbol
        self.lists: list[list[torch.Tensor]] = []  # the groups' own
        self.entries: list[dict[str, Any]] = []  # of each parameter, the optimizer's own where there are any
        self.count = torch.zeros((), dtype=torch.int64, device="cpu")  # the updates done, by the last compiled step
        self._traced: set[int] = set()  # places of the parameters that compiled steps update
        self._known: list[Any] = []  # the values of optimizer.state
        _OPTIMIZERS[self.handle] = optimizer

    def attach(self, optimizer: ScheduledOptimizer) -> None:
        """Look at the groups and the state, which may be others now."""
        groups = optimizer.__dict__.get("param_groups", ())  # none before torch's own __init__
        self.lists = [group["params"] for group in groups]
        if self._traced:
            self._look_at_state(optimizer)

    def prepare(self, optimizer: ScheduledOptimizer, places: list[int]) -> None:
        """Create what is missing of the state of the parameters at these places."""
        self._traced.update(places)
        self._look_at_state(optimizer)

    def is_current(self, optimizer: ScheduledOptimizer) -> bool:
        """Whether the optimizer's state holds the entries that were looked at."""
        present = optimizer.state.values()
        return len(present) == len(self._known) and all(map(operator.is_, present, self._known))

    def _look_at_state(self, optimizer: ScheduledOptimizer) -> None:
        pairs = [(group, param) for group in optimizer.param_groups for param in group["params"]]
        traced = [pair for place, pair in enumerate(pairs) if place in self._traced]
        allocate(optimizer, [(group, param) for group, param in traced if not optimizer.state.get(param)])
        self.entries = [optimizer.state.get(param, {}) for _, param in pairs]
        self._known = list(optimizer.state.values())


class TraceableOptimizer(Optimizer):
    """torch's base class, where what torch.compile traces looks at the link and not at the groups."""

    _link: Link

    def zero_grad(self, set_to_none: bool = True) -> None:
        if torch.compiler.is_dynamo_compiling():
            from fastlr.optim import compiled

            compiled.zero_grad(self._link, set_to_none)
        else:
            super().zero_grad(set_to_none)

    zero_grad.__doc__ = Optimizer.zero_grad.__doc__


def trace(optimizer: Optimizer) -> None:
    """What a traced step does in place of updating."""
    from fastlr.optim import compiled  # torch.compile's own modules take a second to import

    compiled.step(cast("ScheduledOptimizer", optimizer))


def allocate(optimizer: SteppingOptimizer, pairs: list[tuple[dict[str, Any], torch.Tensor]]) -> None:
    """Create the state of parameters, each with its group. A rule whose first update reads none must not read this."""
    optimizer._create_state(pairs)
    for group, param in pairs:
        recipe.add_weights(param, group, optimizer.state)
    if optimizer._plan.writes_first():
        optimizer._unwritten |= {param for _, param in pairs if param in optimizer.state}


def is_profiled() -> bool:
    """Whether torch's profiler records. It is not asked while tracing, which breaks the graph."""
    return not torch.compiler.is_dynamo_compiling() and torch._C._autograd._profiler_enabled()
