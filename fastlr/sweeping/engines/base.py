"""What an engine is: losses and gradients of all replicas on one batch."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastlr.searching.randomness import Randomness
from fastlr.sweeping.replicas import Chunk, Replicas
from fastlr.sweeping.subject import Subject


class Unsupported(Exception):
    """An engine that is none for this model, and why."""


class Engine(ABC):
    """Runs the live replicas, all with the same random numbers."""

    # Gradients are added to the replicas' own; else each replica has new ones in every pass.
    accumulates: ClassVar[bool]

    def __init__(self, subject: Subject, replicas: Replicas) -> None:
        self.subject, self.replicas = subject, replicas

    @abstractmethod
    def begin(self) -> None:
        """From here on the optimizer uses the gradients of this engine."""

    @abstractmethod
    def train(self, batch: Any) -> Tensor:
        """The loss of each live replica, whose gradients are there then."""

    @abstractmethod
    def gradients(self) -> list[Tensor]:
        """Those of the last pass, of all replicas stacked."""

    @abstractmethod
    def evaluate(self, batch: Any) -> Tensor:
        """The loss of each live replica, inside `evaluating`."""

    @property
    @abstractmethod
    def together(self) -> int:
        """How many replicas run through the model at once."""

    @abstractmethod
    def _modules(self) -> list[nn.Module]:
        """What has train flags."""

    def drawn(self) -> Callable[[], None]:
        """Goes back to the present random numbers, those that the model draws from."""
        device = self.replicas.params[0].device
        if self.subject.draws_elsewhere or device.type not in ("cpu", "cuda"):
            return Randomness((device.type,)).restore
        state = torch.get_rng_state()
        if device.type == "cpu":
            return lambda: torch.set_rng_state(state)
        of_device = torch.cuda.get_rng_state(device)

        def again() -> None:
            torch.set_rng_state(state)
            torch.cuda.set_rng_state(of_device, device)

        return again

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """A block in which the model evaluates and nothing is recorded for gradients."""
        flags = [(one, one.training) for module in self._modules() for one in module.modules()]
        try:
            for one, _ in flags:
                one.training = False
            with torch.no_grad():
                yield
        finally:
            for one, training in flags:
                one.training = training


class StackedEngine(Engine):
    """Runs a chunk of stacked replicas at a time."""

    accumulates: ClassVar[bool] = True

    @abstractmethod
    def _losses(self, chunk: Chunk, batch: Any) -> Tensor:
        """The losses of a chunk, for autograd."""

    def _train(self, chunk: Chunk, batch: Any) -> Tensor:
        losses = self._losses(chunk, batch)
        losses.sum().backward(inputs=chunk.params)  # type: ignore[no-untyped-call]
        return losses.detach()

    def begin(self) -> None:
        self.replicas.hold_gradients()

    def gradients(self) -> list[Tensor]:
        return self.replicas.grads

    @property
    def together(self) -> int:
        return max(chunk.size for chunk in self.replicas.chunks)

    def _modules(self) -> list[nn.Module]:
        return [self.subject.template]

    def train(self, batch: Any) -> Tensor:
        return self._each(self._train, batch)

    def evaluate(self, batch: Any) -> Tensor:
        return self._each(self._losses, batch)

    def _each(self, function: Callable[[Chunk, Any], Tensor], batch: Any) -> Tensor:
        chunks = self.replicas.chunks
        if len(chunks) == 1:
            return function(chunks[0], batch)
        losses, again = [], self.drawn()
        for index, chunk in enumerate(chunks):
            if index:
                again()
            losses.append(function(chunk, batch))
        return torch.cat(losses)
