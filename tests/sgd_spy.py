"""Read from what an update did to a parameter which rate, momentum or weight decay it used."""

from collections.abc import Callable
from typing import Any

import torch


class Spy:
    """A parameter of one float64 element, placed in the groups of an optimizer under test."""

    def __init__(self) -> None:
        self.param = torch.zeros(1, dtype=torch.float64)

    def set(self, optimizer: torch.optim.Optimizer, param: float, grad: float, buffer: float | None = None) -> None:
        self.param.fill_(param)
        self.param.grad = torch.full_like(self.param, grad)
        if buffer is not None:
            optimizer.state[self.param]["momentum_buffer"] = torch.full_like(self.param, buffer)


def applied_rates(optimizer: torch.optim.Optimizer, *spies: Spy) -> list[float]:
    """One update of p = 0 with gradient -1: without momentum p becomes the rate, exactly."""
    for spy in spies:
        spy.set(optimizer, param=0.0, grad=-1.0)
    optimizer.step()
    return [float(spy.param) for spy in spies]


def applied_momentum(optimizer: torch.optim.Optimizer, spy: Spy) -> float:
    """One update of a buffer of 1 with gradient 0: it becomes the momentum, exactly."""
    spy.set(optimizer, param=0.0, grad=0.0, buffer=1.0)
    optimizer.step()
    return float(optimizer.state[spy.param]["momentum_buffer"])


def applied_decay(optimizer: torch.optim.Optimizer, spy: Spy) -> float:
    """One first update of p = 1 with gradient 0: the new buffer is the weight decay, exactly."""
    optimizer.state.clear()
    spy.set(optimizer, param=1.0, grad=0.0)
    optimizer.step()
    return float(optimizer.state[spy.param]["momentum_buffer"])


def groups(*options: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Spy]]:
    """One group for each of the options, and the spy in it."""
    spies = [Spy() for _ in options]
    return [{"params": [spy.param], **own} for spy, own in zip(spies, options, strict=True)], spies


class RateSpy:
    """Records the rate of every update of a plain SGD from what it did to the parameters, one list per group.

    For optimizers inside other libraries, with float64 parameters and without momentum: the rate is how far the element
    with the largest gradient went, divided by that gradient, or by the direction that the rule makes of it.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, direction: Callable[[torch.Tensor], torch.Tensor] = torch.clone
    ) -> None:
        self._direction = direction
        self.applied: list[list[float]] = [[] for _ in optimizer.param_groups]
        self.stated: list[list[float]] = [[] for _ in optimizer.param_groups]
        self._before: list[torch.Tensor] = []
        optimizer.register_step_pre_hook(self._note)
        optimizer.register_step_post_hook(self._measure)

    def _note(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if getattr(optimizer, "found_inf", 0.0):
            return
        self._before = [group["params"][0].detach().clone() for group in optimizer.param_groups]
        for rates, group in zip(self.stated, optimizer.param_groups, strict=True):
            rates.append(group["lr"])

    def _measure(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if getattr(optimizer, "found_inf", 0.0):
            return
        for rates, group, before in zip(self.applied, optimizer.param_groups, self._before, strict=True):
            param = group["params"][0].detach()
            grad = group["params"][0].grad / (getattr(optimizer, "grad_scale", None) or 1.0)
            largest = grad.abs().argmax()
            rates.append(float(((before - param) / self._direction(grad)).flatten()[largest]))
