"""Functions for `fastlr find` and `fastlr sweep`: a small training, and what such functions may do wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Batch = tuple[Tensor, Tensor]
NUMBER = 3


def batches(count: int, seed: int = 5) -> list[Batch]:
    """Three classes that a linear model can tell apart."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(3, (count, 13), generator=generator)
    noise = torch.randn(count, 13, 6, generator=generator) / 2
    return list(zip(2 * nn.functional.one_hot(targets, 6) + noise, targets, strict=True))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def make() -> tuple[nn.Module, Any, list[Batch]]:
    print("made by the function")
    return network(), cross_entropy, batches(20)


def validated() -> tuple[nn.Module, Any, list[Batch], list[Batch]]:
    return *make(), batches(3, seed=6)


def smoothed(model: nn.Module, batch: Batch) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1], label_smoothing=0.2)


def by_name() -> dict[str, Any]:
    return {"model": network(), "loader": batches(20), "validation": batches(3, seed=6), "forward": smoothed}


def misnamed() -> dict[str, Any]:
    return {"model": network(), "loss": cross_entropy, "loader": batches(2)}


def without_loader() -> dict[str, Any]:
    return {"model": network(), "forward": smoothed}


def without_loss() -> dict[str, Any]:
    return {"model": network(), "loader": batches(2)}


def two_losses() -> dict[str, Any]:
    return {**by_name(), "loss_fn": cross_entropy}


def no_forward() -> dict[str, Any]:
    return {**by_name(), "forward": "smoothed"}


class Nested:
    make = staticmethod(make)


class Curved(nn.Module):
    """The loss ``curvature / 2 * w**2``, whatever the input; descent diverges above 2 / curvature."""

    def __init__(self, curvature: float) -> None:
        super().__init__()
        self.curvature = curvature
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, _: Tensor) -> Tensor:
        return self.curvature / 2 * self.w**2


def first(output: Tensor, _: Tensor) -> Tensor:
    return output


def flat() -> tuple[nn.Module, Any, list[Batch]]:
    """No rate changes the loss."""
    return Curved(1e-30), first, batches(2)


def steep() -> tuple[nn.Module, Any, list[Batch]]:
    """All usual rates diverge."""
    return Curved(1e12), first, batches(2)


def with_argument(size: int) -> int:
    return size


def raising() -> NoReturn:
    raise RuntimeError("no data today")


def leaving() -> NoReturn:
    raise SystemExit("out of here")


def nothing() -> None:
    pass


def pair() -> tuple[nn.Module, Any]:
    return network(), cross_entropy


def swapped() -> tuple[Any, ...]:
    return batches(1), network(), cross_entropy


def no_loss() -> tuple[Any, ...]:
    return network(), 1.0, batches(1)


def used_up() -> tuple[nn.Module, Any, Iterator[Batch]]:
    return network(), cross_entropy, iter(batches(2))


def several_losses() -> tuple[Any, ...]:
    return network(), nn.CrossEntropyLoss(reduction="none"), batches(2)


def wrong_sizes() -> tuple[Any, ...]:
    return nn.Linear(7, 3), cross_entropy, batches(2)


def failing_loss() -> tuple[Any, ...]:
    def loss(output: Tensor, target: Tensor) -> NoReturn:
        raise KeyError("weights")

    return network(), loss, batches(2)


def interrupted() -> tuple[Any, ...]:
    def loss(output: Tensor, target: Tensor) -> NoReturn:
        raise KeyboardInterrupt

    return network(), loss, batches(2)
