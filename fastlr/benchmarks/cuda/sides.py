"""The sides of a bench on CUDA. They work on the same tensors, in turn: the largest models leave no room for more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

import fastlr
from fastlr.benchmarks import peers
from fastlr.benchmarks.cuda.device import WARM_UPS, Device
from fastlr.benchmarks.peers import HYPER, OURS, PEERS, RATE
from fastlr.benchmarks.shapes import Shape

OURS_GRAPH = "fastlr-graph"
# foreach in a graph cannot follow a schedule: its rate is a number on the host.
CUDA_PEERS = ("foreach", "fused", "graph", "graph-fill")
LABELS = {
    OURS: "fastlr.SGD",
    OURS_GRAPH: "fastlr.SGD, CUDA graph",
    "foreach": "torch foreach (default)",
    "fused": "torch fused",
    "graph": "torch fused, CUDA graph",
    "graph-fill": "torch fused, CUDA graph, fill_",
}


class Tensors:
    """Parameters with gradients, and a momentum buffer for each."""

    def __init__(self, shapes: tuple[Shape, ...], dtype: torch.dtype, device: torch.device) -> None:
        generator = torch.Generator(device).manual_seed(1)
        options: Any = {"dtype": dtype, "device": device}
        self.parameters = [torch.nn.Parameter(torch.empty(shape, **options)) for shape in shapes]
        self.momentum = [torch.empty(shape, **options) for shape in shapes]
        for parameter in self.parameters:
            parameter.grad = torch.empty_like(parameter).normal_(generator=generator)

    @torch.no_grad()
    def reset(self) -> None:
        """To the same random parameters at every call, and no momentum."""
        generator = torch.Generator(self.parameters[0].device).manual_seed(0)
        for parameter, momentum in zip(self.parameters, self.momentum, strict=True):
            parameter.normal_(generator=generator)
            momentum.zero_()

    def lend_momentum(self, optimizer: torch.optim.Optimizer) -> None:
        """Zeroed buffers make the first update what it is without a buffer."""
        for parameter, momentum in zip(self.parameters, self.momentum, strict=True):
            optimizer.state[parameter]["momentum_buffer"] = momentum


@dataclass(frozen=True)
class CudaSide:
    """One update of an optimizer, by calls or by the replay of a graph; ``done`` were done while it was made."""

    update: Callable[[], object]
    done: int
    optimizer: torch.optim.Optimizer  # owns what a graph reads


def make_cuda_side(name: str, tensors: Tensors, updates: int, device: Device) -> CudaSide:
    """One of ``LABELS``, or torch's ``loop``; its rate falls to 0 in that many updates."""
    if name == OURS or name in PEERS:
        side = peers.make_side(name, tensors.parameters, updates)
        tensors.lend_momentum(side.optimizer)
        return CudaSide(side.update, 0, side.optimizer)
    optimizer, follow = _graphed(name, tensors, updates, device.device)
    tensors.lend_momentum(optimizer)

    def warm_up() -> None:
        optimizer.step()
        follow()

    replay = device.capture(optimizer.step, warm_up)

    def update() -> None:
        replay()
        follow()

    return CudaSide(update, WARM_UPS, optimizer)


def _graphed(
    name: str, tensors: Tensors, updates: int, device: torch.device
) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
    """An optimizer to capture, and what sets its next rate outside of the graph."""
    if name == OURS_GRAPH:
        return fastlr.SGD(tensors.parameters, lr=peers.schedule(updates), **HYPER), lambda: None
    rate = torch.tensor(RATE, device=device)
    optimizer = torch.optim.SGD(tensors.parameters, lr=rate, fused=True, **HYPER)
    if name == "graph":
        return optimizer, CosineAnnealingLR(optimizer, updates).step  # several small kernels on the tensor
    clock = torch.optim.SGD([torch.zeros(1)], lr=RATE)  # has no gradient, and only counts
    clock_scheduler = CosineAnnealingLR(clock, updates)
    clock.step()

    def fill() -> None:
        clock_scheduler.step()
        rate.fill_(clock.param_groups[0]["lr"])

    return optimizer, fill
