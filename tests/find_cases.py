"""What the tests of the range test share: small problems, and everything about a training as plain values."""

from __future__ import annotations

import inspect
import pickle
import random
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


class Quadratic(nn.Module):
    """The loss ``curvature / 2 * w**2`` in float64, whatever the input; descent diverges above 2 / curvature."""

    def __init__(self, curvature: float) -> None:
        super().__init__()
        self.curvature = curvature
        self.w = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, _: Tensor) -> Tensor:
        return self.curvature / 2 * self.w**2


def itself(output: Tensor, _: Tensor) -> Tensor:
    """A loss that the model has computed."""
    return output


ONE = [(torch.zeros(1), torch.zeros(1))]  # a loader of one batch


def network(seed: int = 0) -> nn.Sequential:
    """With buffers, random numbers, and a frozen parameter."""
    torch.manual_seed(seed)
    layers = [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3)]
    model = nn.Sequential(*layers)
    layers[1].bias.requires_grad_(False)
    return model


def batches(count: int = 7, size: int = 13) -> list[Batch]:
    """Three classes that a linear model can tell apart, with noise."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for _ in range(count):
        target = torch.randint(3, (size,), generator=generator)
        centre = nn.functional.one_hot(target, 6).float() * 2
        found.append((centre + torch.randn(size, 6, generator=generator) / 2, target))
    return found


def train(model: nn.Module, optimizer: torch.optim.Optimizer, loader: Iterable[Batch], *schedulers: Any) -> None:
    """One pass, after which there are gradients, momentum and running statistics."""
    for inputs, target in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), target).backward()
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def everything(*owners: Any) -> list[Any]:
    """All that the owners hold, tensors as their identity and bytes, and the state of all random numbers."""
    numpys = pickle.dumps(np.random.get_state())
    return [[plain(one) for one in owners], random.getstate(), numpys, torch.get_rng_state().tolist()]


def plain(value: Any) -> Any:
    """The value in comparable form, with which object it is."""
    if isinstance(value, Tensor):
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        grad = None if not value.is_leaf or value.grad is None else plain(value.grad)
        return (id(value), str(value.dtype), tuple(value.shape), value.requires_grad, raw, grad)
    if isinstance(value, nn.Module):
        return [(plain(one._parameters), plain(one._buffers), one.training) for one in value.modules()]
    if isinstance(value, (torch.optim.Optimizer, torch.amp.GradScaler)):
        return plain(vars(value))
    if isinstance(value, dict):
        return (
            id(value),
            [(id(name) if isinstance(name, Tensor) else name, plain(one)) for name, one in value.items()],
        )
    if isinstance(value, (list, tuple)):
        return (id(value), [plain(one) for one in value])
    if isinstance(value, set):
        return (id(value), sorted(map(id, value)))
    return value if isinstance(value, (int, float, str, type(None))) else id(value)


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two results of `everything` are not the same."""
    if type(one) in (list, tuple) and type(one) is type(other) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for index, (a, b) in pairs for found in differences(a, b, f"{path}/{index}")]
    return [] if one == other else [f"{path}: {str(one)[:80]} and {str(other)[:80]}"]


def interrupted(call: Callable[[], Any], at: int, modules: tuple[str, ...] = ("fastlr.", "torch.optim")) -> int:
    """Call with a Ctrl-C as that function of these modules begins, or before that line of them; -1 for none.

    Returns the number of both that were seen.
    """
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if not frame.f_globals.get("__name__", "").startswith(modules):
            return None
        swallowed = event == "call" and frame.f_code.co_flags & inspect.CO_GENERATOR  # what comes as Python closes one
        if event in ("call", "line") and not swallowed:
            seen += 1
            if seen == at:
                signal.raise_signal(signal.SIGINT)
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(None)
    return seen
