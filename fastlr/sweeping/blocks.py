"""Training replicas by themselves on a CPU, some steps at a time, so that what one works on stays in the caches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from fastlr.sweeping.engines import Sequential, Threaded
from fastlr.sweeping.subject import drawn_by_torch, drawn_elsewhere, tensors_in, version_of
from fastlr.sweeping.training import Record, Training

BLOCK = 32  # steps of a replica before the next one's, whose batches are kept meanwhile
KEPT = 2**27  # bytes of such batches


class BlockedTraining(Training):
    """Replicas know nothing of each other, so which of them is ahead for some steps makes no difference to any.

    Each has an optimizer of its own, whose update finds its parameters and gradients in the caches.
    """

    def _make_optimizer(self) -> None:
        leaves = self._replicas.leaves
        self._optimizers = {place: self._settings.optimizer_of(place, leaves[place]) for place in self._replicas.live}

    def _forget(self, places: list[int]) -> None:
        for place in places:
            del self._optimizers[place]

    _most = 1  # until the size of a batch is known

    def run(self, batches: Iterator[Any]) -> Record:
        done = 0
        while done < self._settings.steps and self._replicas.live:
            end = self._end(done)
            self._block(batches, done, end)
            done = end
            self._after(done)
            self._tell(done)
        return self.record

    def _end(self, done: int) -> int:
        """Where the block ends: at the latest where replicas are compared."""
        ends = [done + self._most, self._settings.steps, *(rung for rung in self._rungs if rung > done)]
        if self._settings.validation is not None:
            ends.append((done // self._settings.validate_every + 1) * self._settings.validate_every)
        return min(ends)

    def _block(self, batches: Iterator[Any], first: int, end: int) -> None:
        live, engine = self._replicas.live, cast(Sequential, self._engine)
        given = _Given(batches, engine, end - first)
        replicas = list(zip(live, self._replicas.modules(), strict=True))
        if isinstance(engine, Threaded):
            columns = self._on_threads(engine, given, replicas)
        else:
            columns = [self._replica(*one, given.each()) for one in replicas]
        given.require_unchanged()
        self._most = given.most
        for index, row in enumerate(zip(*(column.losses for column in columns), strict=True)):
            self._note(first + index, live, torch.tensor(row, dtype=torch.float64))
            failed = [place for place, column in zip(live, columns, strict=True) if column.failed == index]
            self._stop(failed, first + index)

    def _on_threads(self, engine: Threaded, given: _Given, replicas: list[tuple[int, nn.Module]]) -> list[_Column]:
        """Random numbers would go from one replica to another: a model that begins to draw some is none for this."""
        kept = given.all()
        before = drawn_by_torch(), drawn_elsewhere()
        columns = engine.each(lambda replica: self._replica(*replica, kept), replicas)
        if (drawn_by_torch(), drawn_elsewhere()) != before:
            raise Drawn
        return columns

    def _replica(self, place: int, module: nn.Module, batches: Iterable[Any]) -> _Column:
        """Some steps of one replica."""
        engine, optimizer, found = cast(Sequential, self._engine), self._optimizers[place], _Column([], None)
        for index, batch in enumerate(batches):
            if engine.stopped.is_set():
                break
            found.losses.append(engine.train_one(place, module, batch).item())
            optimizer.step()
            if self._settings.clips and found.failed is None and not math.isfinite(_norm(optimizer.grad_norm)):
                found.failed = index
        for leaf in self._replicas.leaves[place]:
            leaf.grad = None
        return found


class Drawn(Exception):
    """A model whose replicas run at once has drawn random numbers."""


@dataclass
class _Column:
    """The losses of a replica in some steps, and the first of these whose gradients were not finite."""

    losses: list[float]
    failed: int | None


class _Given:
    """The batches of some steps, for one replica after another, each with the random numbers that the first one had."""

    def __init__(self, batches: Iterator[Any], engine: Sequential, count: int) -> None:
        self._batches, self._engine, self._count = batches, engine, count
        self._kept: list[tuple[Any, Callable[[], None]]] = []  # each batch, and the way back to the numbers after it
        self._versions: list[list[int]] = []
        self.most = 1  # how many batches of this size are kept

    def each(self) -> Iterator[Any]:
        """One after another, for one replica."""
        if self._kept:
            for batch, again in self._kept:
                again()
                yield batch
            return
        for _ in range(self._count):
            batch = next(self._batches)
            size = sum(tensor.nbytes for tensor in tensors_in(batch))
            self.most = max(1, min(BLOCK, KEPT // max(1, size)))
            self._kept.append((batch, self._engine.drawn()))
            self._versions.append(_versions(batch))
            yield batch

    def all(self) -> list[Any]:
        """All of them at once."""
        return list(self.each())

    def require_unchanged(self) -> None:
        """Raise ValueError where a batch has been changed since."""
        if [_versions(batch) for batch, _ in self._kept] != self._versions:
            raise ValueError(
                "A batch was changed after it was given: by the loader, which fills the same tensors again, or by "
                "the model. Have the loader give new tensors."
            )


def _versions(batch: Any) -> list[int]:
    return [version_of(tensor) for tensor in tensors_in(batch)]


def _norm(norms: float | tuple[float, ...] | None) -> float:
    return norms[0] if isinstance(norms, tuple) else math.nan
