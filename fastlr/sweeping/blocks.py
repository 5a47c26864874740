"""Training one replica after another on a CPU, some steps at a time, so that what it works on stays in the caches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch

from fastlr.sweeping.engines.sequential import Sequential
from fastlr.sweeping.subject import tensors_in
from fastlr.sweeping.training import Floats, Record, Training

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
        losses: Floats = np.empty((end - first, len(live)))
        failed: dict[int, int] = {}
        versions: list[list[int]] = []
        kept: list[tuple[Any, Any]] = []  # each batch, and the way back to the random numbers after it
        for position, (place, module) in enumerate(zip(live, self._replicas.modules(), strict=True)):
            optimizer = self._optimizers[place]
            for index in range(end - first):
                if position == 0:
                    batch = next(batches)
                    self._most = _steps_kept(batch)
                    kept.append((batch, engine.drawn()))
                    versions.append([tensor._version for tensor in tensors_in(batch)])
                else:
                    batch, again = kept[index]
                    again()
                losses[index, position] = engine.train_one(place, module, batch).item()
                optimizer.step()
                if self._settings.clips and not math.isfinite(_norm(optimizer.grad_norm)):
                    failed.setdefault(place, first + index)
            for leaf in self._replicas.leaves[place]:
                leaf.grad = None
            if [[tensor._version for tensor in tensors_in(batch)] for batch, _ in kept] != versions:
                raise ValueError(
                    "A batch was changed after it was given: by the loader, which fills the same tensors again, or by "
                    "the model. Have the loader give new tensors."
                )
        for index, row in enumerate(losses):
            self._note(first + index, live, torch.from_numpy(row))
            self._stop([place for place, step in failed.items() if step == first + index], first + index)


def _steps_kept(batch: Any) -> int:
    """How many batches of this size are kept."""
    size = sum(tensor.nbytes for tensor in tensors_in(batch))
    return max(1, min(BLOCK, KEPT // max(1, size)))


def _norm(norms: float | tuple[float, ...] | None) -> float:
    return norms[0] if isinstance(norms, tuple) else math.nan
