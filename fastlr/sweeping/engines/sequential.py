"""One replica after another, each a copy of the model: whatever trains alone trains here, to the same bits."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastlr.sweeping.engines.base import Engine
from fastlr.sweeping.replicas import Chunk


class Sequential(Engine):
    """Chunks are of no use to it: one replica is in memory at a time."""

    accumulates: ClassVar[bool] = False

    def begin(self) -> None:
        self.replicas.release_gradients()

    def gradients(self) -> list[Tensor]:
        leaves = zip(*(self.replicas.leaves[place] for place in self.replicas.live), strict=True)
        return [
            torch.stack([torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in of_one])
            for of_one in leaves
        ]

    def _modules(self) -> list[nn.Module]:
        return self.replicas.modules()

    def train(self, batch: Any) -> Tensor:
        losses, again = [], self.drawn()
        for index, (place, module) in enumerate(zip(self.replicas.live, self.replicas.modules(), strict=True)):
            if index:
                again()
            losses.append(self.train_one(place, module, batch))
        return torch.stack(losses)

    def train_one(self, place: int, module: nn.Module, batch: Any) -> Tensor:
        """The loss of one replica, which has its gradients then."""
        leaves = self.replicas.leaves[place]
        for leaf in leaves:
            leaf.grad = None
        loss = self.subject.loss(module, batch)
        loss.backward(inputs=leaves)  # type: ignore[no-untyped-call]
        return loss.detach()

    def evaluate(self, batch: Any) -> Tensor:
        losses, again = [], self.drawn()
        for index, module in enumerate(self.replicas.modules()):
            if index:
                again()
            losses.append(self.subject.loss(module, batch))
        return torch.stack(losses)

    def _losses(self, chunk: Chunk, batch: Any) -> Tensor:
        raise NotImplementedError
