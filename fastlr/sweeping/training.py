"""The training of all replicas: one pass and one fused update a step."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastlr.searching.arrivals import Arrivals
from fastlr.searching.batches import Batches, split
from fastlr.searching.randomness import Randomness
from fastlr.sweeping import halving
from fastlr.sweeping.clipping import clip
from fastlr.sweeping.engines import Engine
from fastlr.sweeping.replicas import Replicas
from fastlr.sweeping.settings import Settings
from fastlr.sweeping.subject import tensors_in

Floats = NDArray[np.float64]


@dataclass
class Record:
    """What the training has shown.

    Attributes:
        losses: Before each update, [steps, R]; NaN once a replica has stopped.
        diverged: The step at whose loss each replica was found to diverge, else None.
        dropped: After how many steps halving took each replica out, else None.
        validated: After how many steps the validation losses were taken, and their means, [times, R].
        last_validation: Of each batch of the last time, [batches, R], with the batches' sizes.
    """

    losses: Floats
    diverged: list[int | None]
    dropped: list[int | None]
    validated: list[int] = field(default_factory=list)
    validation: list[Floats] = field(default_factory=list)
    last_validation: tuple[Floats, Floats] | None = None


class Training:
    """Steps all replicas with one optimizer, whose groups they are."""

    def __init__(self, settings: Settings, replicas: Replicas, engine: Engine, first_loss: float) -> None:
        count = len(settings.entries)
        self._settings, self._replicas, self._engine = settings, replicas, engine
        self._start = first_loss
        self._at_once = self._on_host(replicas)
        engine.begin()
        self._make_optimizer()
        self._step = 0
        self._arrivals = Arrivals()
        self._awaited: deque[tuple[int, list[int]]] = deque()
        self._latest = 0  # the step whose losses were noted last
        self._has_stopped = False  # some replica, as it diverged
        self._rungs = {} if settings.halving is None else halving.rungs(settings.steps, count, settings.halving)
        self.record = Record(np.full((settings.steps, count), np.nan), [None] * count, [None] * count)

    def _make_optimizer(self) -> None:
        self._optimizer = self._settings.optimizer(
            self._replicas.leaves, zeroes=self._engine.accumulates, clips=self._at_once
        )

    def _forget(self, places: list[int]) -> None:
        """Free the optimizer's state of replicas."""
        for place in places:
            for leaf in self._replicas.leaves[place]:
                self._optimizer.state.pop(leaf, None)

    @staticmethod
    def _on_host(replicas: Replicas) -> bool:
        """Whether the host has the losses of a step before its update."""
        return replicas.params[0].is_cpu

    def run(self, batches: Iterator[Any]) -> Record:
        """Train until the end, or until all replicas have diverged."""
        for step in range(self._settings.steps):
            self._step = step
            losses = self._engine.train(next(batches))
            if self._at_once:
                self._note(step, self._replicas.live, losses)
            else:
                self._arrivals.push(torch.stack([losses, self._clipped()]) if self._settings.clips else losses)
                self._awaited.append((step, self._replicas.live))
                self._look(wait=False)
            if self._replicas.live:
                self._update()
                self._after(step + 1)
            self._tell(step + 1)
            if not self._replicas.live:
                break
        self._look(wait=True)
        return self.record

    def _after(self, done: int) -> None:
        """Halving and validation, where it is time for them."""
        last = done == self._settings.steps
        if self._settings.validation is not None and (last or done % self._settings.validate_every == 0):
            self._look(wait=True)
            self._validate(done)
        if done in self._rungs:
            self._look(wait=True)
            self._halve(done, self._rungs[done])

    def _look(self, *, wait: bool) -> None:
        """Note the losses that have arrived from the device."""
        for arrived in self._arrivals.arrived(wait=wait):
            step, live = self._awaited.popleft()
            losses, norms = arrived if arrived.dim() == 2 else (arrived, None)
            self._note(step, live, losses)
            if norms is not None:
                self._stop([live[place] for place in np.flatnonzero(~np.isfinite(norms.numpy()))], step)

    def _clipped(self) -> torch.Tensor:
        """Clip the gradients where they are; returns the norms of all replicas, which are not waited for."""
        limit = self._settings.options["max_grad_norm"]
        if self._engine.accumulates:
            return clip(self._replicas.grads, limit)
        leaves = (self._replicas.leaves[place] for place in self._replicas.live)
        return torch.stack([torch.nn.utils.clip_grad_norm_(own, limit) for own in leaves])

    def _note(self, step: int, live: list[int], losses: torch.Tensor) -> None:
        """Keep losses, and stop the replicas that diverge."""
        values = losses.double().numpy()
        self._latest = step
        row = self.record.losses[step]
        row[live] = values
        if self._has_stopped:  # perhaps since this step
            row[[place for place in live if self.record.diverged[place] is not None]] = np.nan
        factor = self._settings.freeze_above
        if _harmless(values, self._start, factor):
            return
        self._stop([live[place] for place in np.flatnonzero(halving.diverged(values, self._start, factor))], step)

    def _tell(self, done: int) -> None:
        """Report to the caller, once some losses are known."""
        row = self.record.losses[self._latest]
        if self._settings.progress is not None and not np.isnan(row).all():
            best = int(np.nanargmin(row))
            self._settings.progress(done, self._settings.entries[best].given, float(row[best]))

    def _stop(self, places: list[int], step: int) -> None:
        """Take diverged replicas out; the losses after the one that shows it count no more."""
        going = [place for place in places if place in self._replicas.live]
        for place in going:
            self._has_stopped = True
            self.record.diverged[place] = step
            self.record.losses[step + 1 :, place] = np.nan
        self._drop(going)

    def _drop(self, places: list[int]) -> None:
        if not places:
            return
        self._replicas.drop([self._replicas.live.index(place) for place in places])
        self._forget(places)

    def _update(self) -> None:
        self._optimizer.step()
        if not (self._settings.clips and self._at_once):
            return  # the step has zeroed the gradients
        # A norm that is not finite skips the step for all of them: without that replica it is done after all.
        norms = self._optimizer.grad_norm
        assert isinstance(norms, tuple)
        failed = [place for place in self._replicas.live if not math.isfinite(norms[place])]
        if failed:
            self._look(wait=True)
            self._stop(failed, self._step)
            if self._replicas.live:
                self._optimizer.step()
        self._replicas.zero_gradients()

    def _halve(self, done: int, keep: int) -> None:
        live = list(self._replicas.live)
        if len(live) <= keep:
            return
        if self.record.validation:
            found = self.record.validation[-1][live]
        else:
            found = halving.scores(self.record.losses[:, live], done)
        gone = [live[place] for place in halving.worst(found, keep)]
        for place in gone:
            self.record.dropped[place] = done
        self._drop(gone)

    def _validate(self, done: int) -> None:
        """The loss over the validation loader; the random numbers of the training go on as if there were none."""
        if not self._replicas.live:
            return
        device = self._replicas.params[0].device
        randomness = Randomness((device.type,), self._settings.validation)
        found, sizes = [], []
        batches = Batches(self._settings.validation, device)  # type: ignore[arg-type]
        with self._engine.evaluating():
            for batch in batches:
                if batches.restarts:
                    break
                found.append(self._engine.evaluate(batch).double().cpu())
                sizes.append(_size(batch))
        randomness.restore()
        each = np.full((len(found), self.record.losses.shape[1]), np.nan)
        each[:, self._replicas.live] = torch.stack(found).numpy()
        weights = np.array(sizes, dtype=np.float64)
        self.record.validated.append(done)
        self.record.validation.append(np.average(each, axis=0, weights=weights))
        self.record.last_validation = (each, weights)


def _harmless(values: Floats, start: float, factor: float | None) -> bool:
    """Whether no loss is above the first one, or above the factor times the lowest: most steps."""
    high = float(values.max())
    if high <= start:
        return True
    return factor is not None and high <= factor * float(values.min())  # false for NaN, and where the lowest is below 0


def _size(batch: Any) -> int:
    """How many samples a batch has: the length of its target, or of its first tensor."""
    try:
        known = tensors_in(split(batch).target)
    except TypeError:
        known = []
    sizes = [len(tensor) for tensor in known or tensors_in(batch) if tensor.dim() > 0]
    return max(1, sizes[0]) if sizes else 1
