"""A GPU for the bench that is none: updates run on the processor, and a captured graph calls its step again."""

from collections.abc import Callable

import torch

from fastlr.benchmarks.cuda.device import WARM_UPS, Action, Times
from fastlr.benchmarks.shapes import ShapeList
from fastlr.benchmarks.timing import Effort, seconds

SMALL = ShapeList("gpt2", "some small ones", ((7, 5), (3,), (1000,), (1,), (2, 2, 2)))
SHORT = Effort(budget=0.0, least=2, most=2, warmup=0)


class FakeDevice:
    """Replays do `replay` with the captured step, as a graph that is right or wrong in some way."""

    def __init__(self, free: int = 1 << 40, replay: Callable[[Action], object] = lambda step: step()) -> None:
        self.device = torch.device("cpu")
        self.captured: list[Action] = []
        self._free = free
        self._replay = replay

    def free_memory(self) -> int:
        return self._free

    def time(self, update: Action) -> Times:
        taken = seconds(update)
        return Times(device=taken, host=taken / 4)

    def capture(self, step: Action, warm_up: Action) -> Action:
        for _ in range(WARM_UPS):
            warm_up()
        self.captured.append(step)
        return lambda: self._replay(step)
