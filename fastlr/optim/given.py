"""A step with other tensors than the optimizer's own: a compiled graph may work on copies of them."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from fastlr.optim.scheduled import ScheduledOptimizer
    from fastlr.optim.stepping import SteppingOptimizer


class Given(NamedTuple):
    """What stands for a parameter, its gradient and the tensors of its state: copies, or the optimizer's own."""

    param: torch.Tensor
    grad: torch.Tensor
    state: dict[str, torch.Tensor]


def step_with(optimizer: ScheduledOptimizer, given: dict[torch.Tensor, Given]) -> None:
    """Do one update, in the given tensors of each parameter. A parameter without any has no gradient here."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    if all(_is_own(optimizer, param, given.get(param)) for param in params):
        optimizer._update()
        return
    stand_ins = {param: _stand_in(param, given.get(param)) for param in params}
    states = {param: given[param].state if param in given else {} for param in params}
    shown: defaultdict[torch.Tensor, dict[str, Any]] = defaultdict(dict)
    for param, stand_in in stand_ins.items():
        if param in optimizer.state:
            shown[stand_in] = {**optimizer.state[param], **states[param]}
    unwritten = _update(optimizer, stand_ins, shown)
    optimizer._unwritten = {param for param, stand_in in stand_ins.items() if stand_in in unwritten}
    for param, stand_in in stand_ins.items():
        for name, value in shown.get(stand_in, {}).items():
            if name not in states[param]:
                optimizer.state[param][name] = value
            elif value is not states[param][name]:
                states[param][name].copy_(value)


def _is_own(optimizer: ScheduledOptimizer, param: torch.Tensor, given: Given | None) -> bool:
    if given is None:
        return param.grad is None
    own_state = all(optimizer.state[param][name] is value for name, value in given.state.items())
    return given.param is param and given.grad is param.grad and own_state


def _stand_in(param: torch.Tensor, given: Given | None) -> torch.Tensor:
    if given is None:
        return param if param.grad is None else param.detach()
    stand_in = given.param.detach()
    stand_in.grad = given.grad
    return stand_in


def _update(
    optimizer: ScheduledOptimizer,
    stand_ins: dict[torch.Tensor, torch.Tensor],
    state: defaultdict[torch.Tensor, dict[str, Any]],
) -> set[torch.Tensor]:
    """Update while the optimizer holds the stand-ins and their state. Returns those whose state is still unwritten."""
    own_params = [group["params"] for group in optimizer.param_groups]
    with holding(optimizer, state, {stand_ins[param] for param in optimizer._unwritten}):
        try:
            for group, params in zip(optimizer.param_groups, own_params, strict=True):
                group["params"] = [stand_ins[param] for param in params]
            optimizer._update()
            return optimizer._unwritten
        finally:
            for group, params in zip(optimizer.param_groups, own_params, strict=True):
                group["params"] = params


@contextlib.contextmanager
def holding(
    optimizer: SteppingOptimizer, state: defaultdict[torch.Tensor, dict[str, Any]], unwritten: set[torch.Tensor]
) -> Iterator[None]:
    """Have the optimizer hold the state of stand-ins, some of it unwritten, instead of its own."""
    own_state, own_unwritten = optimizer.state, optimizer._unwritten
    optimizer.state, optimizer._unwritten = state, unwritten
    try:
        yield
    finally:
        optimizer.state, optimizer._unwritten = own_state, own_unwritten
