"""One replica after another, each a copy of the model: whatever trains alone trains here, to the same bits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from fastlr.sweeping.engines.base import Engine
from fastlr.sweeping.replicas import Replicas
from fastlr.sweeping.subject import Subject

Item = TypeVar("Item")
Result = TypeVar("Result")


class Sequential(Engine):
    """Has a model for each replica. What a pass keeps for its backward pass is in memory once."""

    accumulates: ClassVar[bool] = False
    workers = 1  # how many replicas run at once

    def __init__(self, subject: Subject, replicas: Replicas) -> None:
        super().__init__(subject, replicas)
        self.stopped = threading.Event()  # whoever does several steps looks whether it is set

    @property
    def together(self) -> int:
        return self.workers

    def begin(self) -> None:
        for leaves in self.replicas.leaves:
            for leaf in leaves:
                leaf.grad = None

    def gradients(self) -> list[Tensor]:
        leaves = zip(*(self.replicas.leaves[place] for place in self.replicas.live), strict=True)
        return [
            torch.stack([torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in of_one])
            for of_one in leaves
        ]

    def _modules(self) -> list[nn.Module]:
        return self.replicas.modules()

    def train(self, batch: Any) -> Tensor:
        return self._of_each(lambda replica: self.train_one(*replica, batch))

    def train_one(self, place: int, module: nn.Module, batch: Any) -> Tensor:
        """The loss of one replica, which has its gradients then."""
        leaves = self.replicas.leaves[place]
        for leaf in leaves:
            leaf.grad = None
        loss = self.subject.loss(module, batch)
        loss.backward(inputs=leaves)  # type: ignore[no-untyped-call]
        return loss.detach()

    def evaluate(self, batch: Any) -> Tensor:
        return self._of_each(lambda replica: self.subject.loss(replica[1], batch))

    def _of_each(self, function: Callable[[tuple[int, nn.Module]], Tensor]) -> Tensor:
        replicas = zip(self.replicas.live, self.replicas.modules(), strict=True)
        return torch.stack(self.each(function, replicas))

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """What the function makes of each, all with the same random numbers."""
        found, again = [], self.drawn()
        for index, item in enumerate(items):
            if index:
                again()
            found.append(function(item))
        return found
