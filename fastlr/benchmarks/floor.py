"""The least that a step with momentum has to move through memory: 20 bytes an element in float32.

A step reads parameter, gradient and momentum and writes parameter and momentum. No optimizer that is bound by
memory can be faster than a loop that moves those bytes and hardly computes.
"""

from collections.abc import Callable

import torch

FLOOR_LABEL = "floor: 20 bytes an element"
# Below this everything stays in the caches, and memory is no floor.
FLOOR_LEAST_ELEMENTS = 10_000_000


def floor(elements: int) -> Callable[[], object]:
    """Two threaded passes of torch's that move the same bytes: momentum += gradient 12, parameter = -parameter 8."""
    parameter, gradient, momentum = (torch.zeros(elements) for _ in range(3))

    def passes() -> None:
        momentum.add_(gradient)
        parameter.neg_()

    return passes
