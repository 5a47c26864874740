"""The sides of a bench: an optimizer of fastlr's and each way in which torch can do the same update."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

import fastlr
from fastlr.benchmarks.rules import Rule
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

# More updates than any bench does: the rate changes at each of them. A large rate, so that a wrong one shows.
RATE, UPDATES = 0.1, 10_000


@dataclass(frozen=True)
class Side:
    """An optimizer and its whole update: for torch the scheduler's step belongs to it."""

    name: str
    rule: Rule
    optimizer: torch.optim.Optimizer
    update: Callable[[], None]


def label(name: str, rule: Rule) -> str:
    """A side's name as it is shown; torch's default is marked."""
    if name == OURS:
        return rule.label
    return f"torch {name} (default)" if name == DEFAULT_ON_CPU else f"torch {name}"


def schedule(rate: float, updates: int) -> fastlr.schedules.Schedule:
    """The rates of ``CosineAnnealingLR(optimizer, updates)``."""
    return Cosine(rate, 0.0, updates)


def make_side(
    rule: Rule, name: str, parameters: Iterable[torch.nn.Parameter], rate: float = RATE, updates: int = UPDATES
) -> Side:
    """One of ``fastlr`` or ``PEERS``; its rate falls to 0 in that many updates."""
    if name == OURS:
        ours = rule.ours(parameters, lr=schedule(rate, updates), **rule.options)

        def native() -> None:
            ours.step()

        return Side(name, rule, ours, native)

    compiled = name == "compiled"
    first = torch.tensor(rate) if compiled else rate
    optimizer = rule.theirs(parameters, lr=first, **rule.options, **PEERS[name])
    scheduler = CosineAnnealingLR(optimizer, updates)
    step = compiled_step(optimizer) if compiled else optimizer.step

    def update() -> None:
        step()
        scheduler.step()

    return Side(name, rule, optimizer, update)


def compiled_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """torch.compile of the step alone; the rate is a tensor, without which every new rate would compile again."""
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    return torch.compile(optimizer.step)
