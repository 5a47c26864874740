"""The optimizers that the benches time: their options, their state, and what a step of each has to move."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

import fastlr


@dataclass(frozen=True)
class Rule:
    """An optimizer that torch has too.

    Attributes:
        name: Of its class, in fastlr as in torch.optim.
        options: Of all sides, the rate apart.
        states: The names of its state tensors that are shaped like the parameter.
        training_rate: The first rate of a network's training.
        loop_ulps: By how many ulps of the largest element an update on equal gradients may differ from torch's loop.
        temporaries: How many tensors shaped like the parameter torch's operators need beside those.
        counts: Whether the state has a ``step`` too.
        in_graph: Arguments that torch's needs in a CUDA graph.
    """

    name: str
    options: Mapping[str, Any]
    states: tuple[str, ...]
    training_rate: float
    loop_ulps: int = 0
    temporaries: int = 1
    counts: bool = False
    in_graph: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"fastlr.{self.name}"

    @property
    def moved(self) -> int:
        """Values that a step moves for each element: the gradient read, parameter and state read and written."""
        return 3 + 2 * len(self.states)

    @property
    def ours(self) -> Callable[..., torch.optim.Optimizer]:
        made: Callable[..., torch.optim.Optimizer] = getattr(fastlr, self.name)
        return made

    @property
    def theirs(self) -> Callable[..., torch.optim.Optimizer]:
        made: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, self.name)
        return made


def _adam(name: str) -> Rule:
    # torch's square root is an ulp off at times.
    return Rule(
        name,
        {"betas": (0.9, 0.999), "weight_decay": 0.01},
        ("exp_avg", "exp_avg_sq"),
        training_rate=1e-3,
        loop_ulps=2,
        temporaries=2,
        counts=True,
        in_graph={"capturable": True},
    )


RULES = {
    "sgd": Rule(
        "SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}, ("momentum_buffer",), training_rate=0.1
    ),
    "adam": _adam("Adam"),
    "adamw": _adam("AdamW"),
}
