"""Models, batches and separate trainings for the tests of sweeps."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastlr.schedules import Schedule

RATES = [0.01, 0.05, 0.2]
STEPS = 12
Batches = list[tuple[Tensor, Tensor]]


class Residual(nn.Module):
    """A model that is no sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(6, 3)
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale
        return self.second(x + torch.nn.functional.pad(torch.tanh(self.first(x)), (0, 1)))


class Tied(nn.Module):
    """A parameter that stands in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def tied_sequence() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


def frozen_sequence() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    return model


# What a model is, and whether its batches are vectors, images, sequences or tokens.
MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "linear": (lambda: nn.Linear(6, 3), "vectors"),
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.GELU(), nn.Linear(5, 3)), "vectors"),
    "nested": (
        lambda: nn.Sequential(
            nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(6, 7, bias=False)), nn.ELU(inplace=True), nn.Linear(7, 3)
        ),
        "vectors",
    ),
    "normed": (
        lambda: nn.Sequential(
            nn.BatchNorm1d(6),
            nn.Linear(6, 8),
            nn.GroupNorm(2, 8),
            nn.SiLU(),
            nn.Linear(8, 5),
            nn.BatchNorm1d(5),
            nn.Linear(5, 3),
        ),
        "vectors",
    ),
    "layer norms": (
        lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5), nn.LayerNorm(5, bias=False), nn.Linear(5, 3)),
        "vectors",
    ),
    "dropout": (
        lambda: nn.Sequential(
            nn.Dropout(0.1),
            nn.Linear(6, 9),
            nn.Dropout(0.5),
            nn.ReLU(),
            nn.Linear(9, 9),
            nn.Dropout(0.3),
            nn.Linear(9, 3),
        ),
        "vectors",
    ),
    "cumulative": (
        lambda: nn.Sequential(
            nn.Linear(6, 5),
            nn.BatchNorm1d(5, momentum=None),
            nn.BatchNorm1d(5, track_running_stats=False),
            nn.Linear(5, 3),
        ),
        "vectors",
    ),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding="same", bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, groups=2, stride=1),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(6, 3),
        ),
        "images",
    ),
    "pooled": (
        lambda: nn.Sequential(
            nn.AvgPool2d(2),
            nn.Conv2d(2, 4, 2, groups=2),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ),
        "images",
    ),
    "sequences": (
        lambda: nn.Sequential(
            nn.Linear(4, 5), nn.Tanh(), nn.LayerNorm((3, 5)), nn.Linear(5, 2), nn.Flatten(), nn.Linear(6, 3)
        ),
        "sequences",
    ),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)), "sequences"),
    "tokens": (lambda: nn.Sequential(nn.Embedding(11, 4), nn.Flatten(), nn.Linear(12, 3)), "tokens"),
    "tied sequence": (tied_sequence, "vectors"),
    "frozen sequence": (frozen_sequence, "vectors"),
}
# No sequences of known layers.
OTHERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "residual": (Residual, "vectors"),
    "tied": (Tied, "vectors"),
}
SHAPES = {"vectors": (6,), "images": (2, 6, 6), "sequences": (3, 4), "tokens": (3,)}


def batches(kind: str = "vectors", *, sizes: Iterable[int] = (8, 8, 5), seed: int = 0) -> Batches:
    """Batches of three classes, the last one smaller."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for size in sizes:
        if kind == "tokens":
            inputs = torch.randint(0, 11, (size, *SHAPES[kind]), generator=generator)
        else:
            inputs = torch.randn(size, *SHAPES[kind], generator=generator)
        found.append((inputs, torch.randint(0, 3, (size,), generator=generator)))
    return found


def model_of(name: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Batches]:
    """A model of the tables, always the same, and batches for it."""
    make, kind = {**MODELS, **OTHERS}[name]
    torch.manual_seed(3)
    model = make().to(dtype)
    return model, [(x.to(dtype) if x.is_floating_point() else x, y) for x, y in batches(kind)]


def alone(
    model: nn.Module,
    loss_fn: Callable[..., Tensor],
    loader: Iterable[Any],
    make: Callable[[list[Any]], torch.optim.Optimizer],
    steps: int = STEPS,
    *,
    shape: Callable[[int], float] | Schedule | None = None,
    clip: float | None = None,
    seed: int = 5,
) -> np.ndarray[Any, Any]:
    """The losses of one training by itself, as anyone writes it. `shape` multiplies the rates of torch's optimizers."""
    model = copy.deepcopy(model)
    torch.manual_seed(seed)
    optimizer = make([param for param in model.parameters() if param.requires_grad])
    scheduler = None if shape is None else torch.optim.lr_scheduler.LambdaLR(optimizer, shape)
    losses = []
    while len(losses) < steps:
        for x, y in loader:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            losses.append(float(loss.detach()))
            if len(losses) == steps:
                break
    return np.array(losses)


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """A block in which torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
