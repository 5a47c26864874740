"""The least that a step has to move through memory: in float32 20 bytes an element for SGD with momentum, 28 for AdamW.

A step reads parameter, gradient and state and writes parameter and state. No optimizer that is bound by memory can be
faster than a loop that moves those bytes and hardly computes.
"""

from collections.abc import Callable

import torch

from fastlr.benchmarks.rules import Rule

# Below this everything stays in the caches, and memory is no floor.
FLOOR_LEAST_ELEMENTS = 10_000_000


def floor_label(rule: Rule) -> str:
    return f"floor: {torch.float32.itemsize * rule.moved} bytes an element"


def floor(rule: Rule, elements: int) -> Callable[[], object]:
    """Threaded passes of torch's that move the same bytes: first state += gradient 12, each other tensor negated 8."""
    gradient, first, *others = (torch.zeros(elements) for _ in range(2 + len(rule.states)))

    def passes() -> None:
        first.add_(gradient)
        for tensor in others:
            tensor.neg_()

    return passes
