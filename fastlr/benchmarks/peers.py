"""The sides of a bench: fastlr.SGD and each way in which torch.optim.SGD can do the same update."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

import fastlr
from fastlr.schedules import Cosine

OURS = "fastlr"
PEERS: dict[str, dict[str, bool]] = {
    "loop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "compiled": {},
}
# torch takes foreach or fused by itself only on accelerators.
DEFAULT_ON_CPU = "loop"

# More updates than any bench does: the rate changes at each of them.
RATE, UPDATES = 0.1, 10_000
HYPER: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}


@dataclass(frozen=True)
class Side:
    """An optimizer and its whole update: for torch the scheduler's step belongs to it."""

    name: str
    optimizer: torch.optim.Optimizer
    update: Callable[[], None]


def label(name: str) -> str:
    """A side's name as it is shown; torch's default is marked."""
    if name == OURS:
        return "fastlr.SGD"
    return f"torch {name} (default)" if name == DEFAULT_ON_CPU else f"torch {name}"


def schedule(updates: int) -> fastlr.schedules.Schedule:
    """The rates of ``CosineAnnealingLR(optimizer, updates)``."""
    return Cosine(RATE, 0.0, updates)


def make_side(name: str, parameters: Iterable[torch.nn.Parameter], updates: int = UPDATES) -> Side:
    """One of ``fastlr`` or ``PEERS``; its rate falls to 0 in that many updates."""
    if name == OURS:
        ours = fastlr.SGD(parameters, lr=schedule(updates), **HYPER)

        def native() -> None:
            ours.step()

        return Side(name, ours, native)

    compiled = name == "compiled"
    optimizer = torch.optim.SGD(parameters, lr=torch.tensor(RATE) if compiled else RATE, **HYPER, **PEERS[name])
    scheduler = CosineAnnealingLR(optimizer, updates)
    step = compiled_step(optimizer) if compiled else optimizer.step

    def update() -> None:
        step()
        scheduler.step()

    return Side(name, optimizer, update)


def compiled_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """torch.compile of the step alone; the rate is a tensor, without which every new rate would compile again."""
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    return torch.compile(optimizer.step)
