"""The training loop of the demo: every side does each update on the same batch, in a random order."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

import fastlr
from fastlr._command import optional_module
from fastlr.demo.task import Digits, network

PEAK = 0.1
HYPER: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


@dataclass
class Side:
    """One optimizer with a network of its own, and what it did at each update."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    update: Callable[[], None]
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    microseconds: list[float] = field(default_factory=list)
    accuracy: float = 0.0

    def train_step(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.rates.append(float(self.optimizer.param_groups[0]["lr"]))
        self.losses.append(loss.item())
        start = time.perf_counter_ns()
        self.update()
        self.microseconds.append((time.perf_counter_ns() - start) / 1e3)

    @torch.no_grad()
    def test(self, images: Tensor, labels: Tensor) -> None:
        self.model.eval()
        self.accuracy = (self.model(images).argmax(1) == labels).double().mean().item()
        self.model.train()


@dataclass(frozen=True)
class Run:
    """``sides`` are fastlr, torch's default and torch's fused SGD; ``batches`` are the updates of one epoch."""

    sides: list[Side]
    updates: int
    batches: int
    warmup: int
    seconds: float


def fastlr_side(seed: int, total: int, warmup: int) -> Side:
    model = network(seed)
    optimizer = fastlr.SGD(model.parameters(), lr=fastlr.warmup_cosine(PEAK, total, warmup=warmup), **HYPER)

    def update() -> None:
        optimizer.step()

    return Side("fastlr.SGD", model, optimizer, update)


def torch_side(name: str, seed: int, total: int, warmup: int, **flags: bool) -> Side:
    """torch's SGD, and the torch schedulers whose rates are those of ``fastlr.warmup_cosine``."""
    model = network(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=PEAK, **HYPER, **flags)
    rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1)
    scheduler = SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, total - warmup)], milestones=[warmup])

    def update() -> None:
        optimizer.step()
        scheduler.step()

    return Side(name, model, optimizer, update)


def train(digits: Digits, *, epochs: int, seed: int) -> Run:
    """Train every side for ``epochs`` passes, with progress on the terminal."""
    total = epochs * digits.batches
    warmup = max(2, total // 20)
    sides = [
        fastlr_side(seed, total, warmup),
        torch_side("torch SGD (default: loop)", seed, total, warmup),
        torch_side("torch SGD (fused=True)", seed, total, warmup, fused=True),
    ]
    order = random.Random(seed)
    batches = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    with optional_module("rich.progress", "rich").Progress() as progress:
        bar = progress.add_task("", total=total)
        for epoch in range(epochs):
            for images, labels in digits.epoch(batches):
                for side in order.sample(sides, len(sides)):
                    side.train_step(images, labels)
                ours = sides[0]
                text = f"epoch {epoch + 1}/{epochs}  rate {ours.rates[-1]:.5f}  loss {ours.losses[-1]:.4f}"
                progress.update(bar, advance=1, description=text)
    for side in sides:
        side.test(digits.test_images, digits.test_labels)
    return Run(sides, total, digits.batches, warmup, time.perf_counter() - start)
