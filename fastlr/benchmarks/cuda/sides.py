"""The sides of a bench on CUDA. They work on the same tensors, in turn: the largest models leave no room for more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from fastlr.benchmarks import peers
from fastlr.benchmarks.cuda.device import WARM_UPS, Device
from fastlr.benchmarks.peers import OURS, PEERS, RATE
from fastlr.benchmarks.rules import Rule
from fastlr.benchmarks.shapes import Shape

OURS_GRAPH = "fastlr-graph"
# foreach in a graph cannot follow a schedule: its rate is a number on the host.
CUDA_PEERS = ("foreach", "fused", "graph", "graph-fill")


def labels(rule: Rule) -> dict[str, str]:
    """All sides by name, as they are shown."""
    return {
        OURS: rule.label,
        OURS_GRAPH: f"{rule.label}, CUDA graph",
        "foreach": "torch foreach (default)",
        "fused": "torch fused",
        "graph": "torch fused, CUDA graph",
        "graph-fill": "torch fused, CUDA graph, fill_",
    }


class Tensors:
    """Parameters with gradients, and the rule's state for each, by name."""

    def __init__(self, rule: Rule, shapes: tuple[Shape, ...], dtype: torch.dtype, device: torch.device) -> None:
        generator = torch.Generator(device).manual_seed(1)
        options: Any = {"dtype": dtype, "device": device}
        self.parameters = [torch.nn.Parameter(torch.empty(shape, **options)) for shape in shapes]
        self.states = {name: [torch.empty(shape, **options) for shape in shapes] for name in rule.states}
        self._counts = rule.counts
        for parameter in self.parameters:
            parameter.grad = torch.empty_like(parameter).normal_(generator=generator)

    @torch.no_grad()
    def reset(self) -> None:
        """To the same random parameters at every call, and a state of zeros."""
        generator = torch.Generator(self.parameters[0].device).manual_seed(0)
        for parameter in self.parameters:
            parameter.normal_(generator=generator)
        for tensor in chain.from_iterable(self.states.values()):
            tensor.zero_()

    def updated(self) -> list[list[torch.Tensor]]:
        """What an update changes: the parameters and each kind of state."""
        return [list(self.parameters), *self.states.values()]

    def lend_state(self, optimizer: torch.optim.Optimizer) -> None:
        """State of zeros makes the first update what it is without a state."""
        group = optimizer.param_groups[0]
        on_device = group["fused"] or group.get("capturable")  # where torch counts
        for parameter, *states in zip(self.parameters, *self.states.values(), strict=True):
            optimizer.state[parameter].update(zip(self.states, states, strict=True))
            if self._counts:
                optimizer.state[parameter]["step"] = torch.zeros((), device=parameter.device if on_device else "cpu")


@dataclass(frozen=True)
class CudaSide:
    """One update of an optimizer, by calls or by the replay of a graph; ``done`` were done while it was made."""

    update: Callable[[], object]
    done: int
    optimizer: torch.optim.Optimizer  # owns what a graph reads


def make_cuda_side(rule: Rule, name: str, tensors: Tensors, updates: int, device: Device) -> CudaSide:
    """One of ``labels``, or torch's ``loop``; its rate falls to 0 in that many updates."""
    if name == OURS or name in PEERS:
        side = peers.make_side(rule, name, tensors.parameters, updates=updates)
        tensors.lend_state(side.optimizer)
        return CudaSide(side.update, 0, side.optimizer)
    optimizer, follow = _graphed(rule, name, tensors, updates, device.device)
    tensors.lend_state(optimizer)

    def warm_up() -> None:
        optimizer.step()
        follow()

    replay = device.capture(optimizer.step, warm_up)

    def update() -> None:
        replay()
        follow()

    return CudaSide(update, WARM_UPS, optimizer)


def _graphed(
    rule: Rule, name: str, tensors: Tensors, updates: int, device: torch.device
) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
    """An optimizer to capture, and what sets its next rate outside of the graph."""
    if name == OURS_GRAPH:
        return rule.ours(tensors.parameters, lr=peers.schedule(RATE, updates), **rule.options), lambda: None
    rate = torch.tensor(RATE, device=device)
    optimizer = rule.theirs(tensors.parameters, lr=rate, fused=True, **rule.options, **rule.in_graph)
    if name == "graph":
        return optimizer, CosineAnnealingLR(optimizer, updates).step  # several small kernels on the tensor
    clock = torch.optim.SGD([torch.zeros(1)], lr=RATE)  # has no gradient, and only counts
    clock_scheduler = CosineAnnealingLR(clock, updates)
    clock.step()

    def fill() -> None:
        clock_scheduler.step()
        rate.fill_(clock.param_groups[0]["lr"])

    return optimizer, fill
