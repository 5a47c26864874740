"""Models and batches of bench/sweep.py, one training of each, and all rates side by side."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fastlr
from fastlr.sweeping import Sweep, sweep

RATES = [float(rate) for rate in np.geomspace(1e-4, 3e-2, 16)]
ROUNDING = 1e-3  # losses, relative to the largest: products of all replicas are added up in another order


@dataclass(frozen=True)
class Case:
    """A training of so many steps; `most` is how many times as long as it 16 of them may take side by side."""

    name: str
    description: str
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batch: int
    steps: int
    most: float

    def start(self) -> tuple[nn.Module, list[tuple[Tensor, Tensor]]]:
        """The model, and ten batches."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.model()
            batches = [(torch.randn(self.batch, *self.shape), torch.randint(0, 10, (self.batch,))) for _ in range(10)]
        return model, batches


def mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(side: int, *channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    left = side // 2 ** (len(channels) - 1)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * left * left, 10))


class Residual(nn.Module):
    """A model that is no sequence of layers, and so none for explicit batched products."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(64, width), nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        found: Tensor = self.last(x + torch.relu(self.inner(x)))
        return found


CASES = {
    case.name: case
    for case in (
        Case("mlp-32", "MLP 64-32-10", lambda: mlp(64, 32, 10), (64,), 64, 1000, 4.0),
        Case("mlp-128", "MLP 64-128-128-10", lambda: mlp(64, 128, 128, 10), (64,), 64, 500, 10.0),
        Case("cnn-8", "CNN 1-8-16 on 8x8 images", lambda: cnn(8, 1, 8, 16), (1, 8, 8), 64, 200, 10.0),
        Case("residual", "64-64-64-10, a class of its own", lambda: Residual(64), (64,), 64, 500, 16.0),
        Case("mlp-256", "MLP 256-256-256-10", lambda: mlp(256, 256, 256, 10), (256,), 64, 200, 16.0),
        Case("mlp-512", "MLP 784-512-512-10", lambda: mlp(784, 512, 512, 10), (784,), 64, 200, 16.0),
        Case("cnn-32", "CNN 3-16-32-32 on 32x32 images", lambda: cnn(32, 3, 16, 32, 32), (3, 32, 32), 32, 100, 16.0),
    )
}


def schedule(case: Case, rate: float) -> fastlr.schedules.Schedule:
    return rate * fastlr.warmup_cosine(1.0, case.steps)


def one_training(case: Case, rate: float) -> NDArray[np.float64]:
    """A loop as anyone writes it. Returns its losses."""
    start, batches = case.start()
    model = copy.deepcopy(start)
    optimizer = fastlr.SGD(model.parameters(), lr=schedule(case, rate), momentum=0.9)
    losses = []
    for step in range(case.steps):
        inputs, target = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def side_by_side(case: Case, engine: str = "auto") -> Sweep:
    """All rates, the choice of an engine included."""
    model, batches = case.start()
    shape = fastlr.warmup_cosine(1.0, case.steps)
    return sweep(model, nn.functional.cross_entropy, batches, RATES, steps=case.steps, shape=shape, engine=engine)


def compare(case: Case, found: Sweep) -> tuple[str, bool]:
    """How far the losses are from those of separate trainings."""
    expected = np.stack([one_training(case, rate) for rate in RATES], axis=1)
    apart = float(np.abs(found.losses - expected).max() / np.abs(expected).max())
    correct = apart <= ROUNDING
    return f"{'equal' if apart == 0.0 else f'{apart:.1g} apart'}" if correct else f"WRONG by {apart:.3g}", correct
