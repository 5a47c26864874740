"""The trainings of the demo: fastlr beside torch with the rate that was found, and fastlr alone with other rates."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

import fastlr
from fastlr._progress import shown
from fastlr.demo.search import LOSS, shape, warmup
from fastlr.demo.task import BATCH, HYPER, Digits, Part, network

NAMED = {1e-3: "default of torch's SGD", 0.1: "example in torch's docs"}


@dataclass
class Side:
    """One optimizer with a network of its own, and what it did at each update.

    Attributes:
        wrong: Of the test images, after each epoch.
        right: For each test image whether the trained network knows it.
    """

    name: str
    rate: float
    model: nn.Module
    optimizer: torch.optim.Optimizer
    update: Callable[[], None]
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)
    right: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    test_loss: float = 0.0

    @property
    def accuracy(self) -> float:
        return self.right.double().mean().item()

    def train_step(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        loss = LOSS(self.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
        self.losses.append(loss.item())
        start = time.perf_counter_ns()
        self.update()
        self.microseconds.append((time.perf_counter_ns() - start) / 1e3)

    @torch.no_grad()
    def test(self, part: Part) -> None:
        outputs = self.model(part.images)
        self.right = outputs.argmax(1) == part.labels
        self.test_loss = LOSS(outputs, part.labels).item()
        self.wrong.append(int((~self.right).sum()))


@dataclass(frozen=True)
class Trained:
    """``sides`` are fastlr, torch's default and torch's fused SGD; ``others`` are fastlr with other rates."""

    sides: list[Side]
    others: list[Side]
    updates: int
    epochs: int

    @property
    def is_torchs(self) -> bool:
        """Whether the losses of fastlr are those of torch's default, bit for bit; what is no number is one."""
        ours, default = (side.losses for side in self.sides[:2])
        return np.array_equal(ours, default, equal_nan=True)


def fastlr_side(name: str, rate: float, seed: int, total: int) -> Side:
    model = network(seed)
    optimizer = fastlr.SGD(model.parameters(), lr=rate * shape(total), **HYPER)

    def update() -> None:
        optimizer.step()

    return Side(name, rate, model, optimizer, update)


def torch_side(name: str, rate: float, seed: int, total: int, **flags: bool) -> Side:
    """torch's SGD, and the torch schedulers whose rates are those of the shape."""
    model, rise = network(seed), warmup(total)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, **HYPER, **flags)
    rising = LinearLR(optimizer, start_factor=1 / rise, total_iters=rise - 1)
    scheduler = SequentialLR(optimizer, [rising, CosineAnnealingLR(optimizer, total - rise)], milestones=[rise])

    def update() -> None:
        optimizer.step()
        scheduler.step()

    return Side(name, rate, model, optimizer, update)


def other_rates(found: float, swept: Sequence[float]) -> dict[float, str]:
    """The rates to compare with, the smallest first: what one might have taken, and the ends of the sweep."""
    ends = {swept[0]: "smallest of the sweep", swept[-1]: "largest of the sweep"}
    return {rate: name for rate, name in sorted({**ends, **NAMED}.items()) if rate != found}


def train(digits: Digits, found: float, swept: Sequence[float], *, epochs: int, seed: int) -> Trained:
    """Train all sides from one start on the same batches, in an order that the sweep has not seen."""
    total = epochs * digits.batches
    sides = [
        fastlr_side("fastlr.SGD", found, seed, total),
        torch_side("torch SGD (default: loop)", found, seed, total),
        torch_side("torch SGD (fused=True)", found, seed, total, fused=True),
    ]
    others = [fastlr_side(name, rate, seed, total) for rate, name in other_rates(found, swept).items()]
    # Timed ones by themselves: the others would push them out of the caches.
    run(sides, digits, epochs, seed, f"training with {found:.3g}, fastlr and torch")
    run(others, digits, epochs, seed, f"training with {len(others)} other rates")
    return Trained(sides, others, total, epochs)


def run(sides: list[Side], digits: Digits, epochs: int, seed: int, what: str) -> None:
    """Every side does each update on the same batch, in a random order."""
    loader = digits.train.loader(BATCH, shuffle=True, generator=torch.Generator().manual_seed(seed))
    order, first = random.Random(seed), sides[0]
    with shown(what, epochs * digits.batches, quiet=False) as show:
        for epoch in range(epochs):
            for images, labels in loader:
                for side in order.sample(sides, len(sides)):
                    side.train_step(images, labels)
                show(len(first.losses), f"epoch {epoch + 1}, rate {first.rates[-1]:.5f}, loss {first.losses[-1]:.4f}")
            for side in sides:
                side.test(digits.test)
