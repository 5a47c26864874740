"""Which engine is the fastest here: each is tried on the first batch, and checked against one replica after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastlr.sweeping.engines import Engine, Unsupported
from fastlr.sweeping.replicas import Replicas
from fastlr.sweeping.settings import Settings

ROUNDS = 4
PART = 0.03  # of the training's time that the trial takes at most, after a pass of two engines
FAR, FAR_AT_FIRST = 1.5, 4.0  # times as slow as the fastest: not timed again
SHORT = 0.02  # seconds of a first pass that say little, as it sets things up
SPREAD = 0.2  # between the first and the last replica's parameters, so that mixing them up shows
ROUNDING = 1e-3  # what an engine may be off, as a part of the norm: a rounding may put a ReLU on the other side of 0
ON_GPU = 1e-2  # where products may be in TF32
LAST = "sequential"


@dataclass(frozen=True)
class Choice:
    """The engine that was taken, and why.

    Attributes:
        name: "batched", "vmapped", "grad_and_value" or "sequential".
        milliseconds: Of forward and backward of all replicas on the first batch, for each engine that was timed; with
            the update where it is one for all.
        excluded: Why the other engines could not be taken.
        chunk: How many replicas run at once.
    """

    name: str
    milliseconds: dict[str, float] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    chunk: int = 1

    def __str__(self) -> str:
        others = [f"{name} {one:.3g} ms" for name, one in self.milliseconds.items() if name != self.name]
        without = [f"{name} ({reason})" for name, reason in self.excluded.items()]
        parts = []
        if self.name in self.milliseconds:
            why = f"{self.milliseconds[self.name]:.3g} ms a step"
            parts.append(f"{why}, against {', '.join(others)}" if others else f"{why}, the only one")
        else:
            parts.append("as asked for")
        if without:
            parts.append(f"not {', '.join(without)}")
        return f"{self.name}: {'; '.join(parts)}"


class Outcome(NamedTuple):
    """What an engine has made of a pass."""

    losses: Tensor
    grads: list[Tensor]
    buffers: list[Tensor]


class Calibration:
    """Tries engines on replicas that differ a little, and puts the replicas back afterwards."""

    def __init__(
        self, makers: dict[str, Callable[[], Engine]], replicas: Replicas, batch: Any, asked: Settings
    ) -> None:
        self._makers, self._replicas, self._batch, self._asked = makers, replicas, batch, asked
        self._steps = asked.steps
        self._spent = 0.0
        self.excluded: dict[str, str] = {}
        self.times: dict[str, float] = {}

    def choose(self) -> tuple[Engine, Choice]:
        """The fastest engine whose losses, gradients and buffers are those of the last one but for rounding."""
        made = {LAST: self._makers[LAST]()}
        update = self._update()
        expected, self.times[LAST] = self._outcome(made[LAST])
        for name in self._makers:
            if name == LAST or (engine := self._made(name)) is None:
                continue
            if len(made) > 1 and not self._affords(min(self.times.values())):
                self.excluded[name] = "not tried in so short a training"
                continue
            try:
                found, seconds = self._outcome(engine)
                problem = _difference(found, expected)
            except Exception as error:  # whatever an engine has against the model
                problem = _shortened(error)
            if problem:
                self.excluded[name] = problem
            else:
                made[name], self.times[name] = engine, seconds
        self._time_again(made)
        for name in self.times:
            self.times[name] += update if made[name].accumulates else 0.0
        self._put_back()
        name = min(self.times, key=self.times.__getitem__)
        milliseconds = {one: 1e3 * self.times[one] for one in self._makers if one in self.times}
        return made[name], Choice(name, milliseconds, self.excluded, self._at_once(name))

    def take(self, name: str) -> tuple[Engine, Choice]:
        """The engine of this name. Raises ValueError where it is none for the model."""
        engine = self._made(name)
        if engine is not None and name != LAST:
            try:
                engine.train(self._batch)
            except Exception as error:
                self.excluded[name] = _shortened(error)
        self._put_back()
        if engine is None or name in self.excluded:
            raise ValueError(f"The engine {name!r} does not take this model: {self.excluded[name]}. Use 'auto'.")
        return engine, Choice(name, chunk=self._at_once(name))

    def _at_once(self, name: str) -> int:
        return 1 if name == LAST else max(chunk.size for chunk in self._replicas.chunks)

    def _made(self, name: str) -> Engine | None:
        try:
            return self._makers[name]()
        except Unsupported as reason:
            self.excluded[name] = str(reason)
            return None

    def _put_back(self) -> None:
        self._replicas.restart()
        self._replicas.forget_modules()

    def _update(self) -> float:
        """How long the fused update of all takes, on a CPU: that of one replica finds its tensors in the caches."""
        if not self._replicas.params[0].is_cpu:
            return 0.0
        self._replicas.hold_gradients()
        optimizer = self._asked.optimizer(self._replicas.leaves, zeroes=True)
        optimizer.step()
        start = time.perf_counter()
        optimizer.step()
        return time.perf_counter() - start

    def _affords(self, seconds: float) -> bool:
        """Whether the trial remains a small part of the training with a pass of so many seconds more."""
        return self._spent + seconds <= PART * self._steps * min(self.times.values())

    def _outcome(self, engine: Engine) -> tuple[Outcome, float]:
        """What a pass makes, and how long it takes."""
        self._replicas.restart(SPREAD)
        seconds, losses = self._pass(engine)
        grads, buffers = ([one.clone() for one in stacks] for stacks in (engine.gradients(), self._replicas.buffers))
        return Outcome(losses, grads, buffers), seconds

    def _time_again(self, engines: dict[str, Engine]) -> None:
        """More passes, in turns, of all that may still be the fastest: a first one is slow, and times differ."""
        for index in range(ROUNDS):
            # The first passes had to set up what later ones find.
            far = FAR if index else FAR_AT_FIRST
            close = [name for name, one in self.times.items() if one < max(far * min(self.times.values()), SHORT)]
            for name in close if len(close) > 1 else ():
                if self._affords(self.times[name]):
                    self.times[name] = min(self.times[name], self._pass(engines[name])[0])

    def _pass(self, engine: Engine) -> tuple[float, Tensor]:
        device, again = self._replicas.params[0].device, engine.drawn()
        _wait(device)
        start = time.perf_counter()
        try:
            losses = engine.train(self._batch)
            _wait(device)
        finally:
            again()  # also for the engine after one that fails
            seconds = time.perf_counter() - start
            self._spent += seconds
        return seconds, losses


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _difference(found: Outcome, expected: Outcome) -> str:
    """How they differ by more than rounding, else nothing."""
    if found.losses.shape != expected.losses.shape:
        return "its losses have another shape"
    if _apart([found.losses], [expected.losses]):
        return "its losses are others than those of one after another"
    # All together: a gradient that is 0 but for rounding has no digits of its own.
    if _apart(found.grads, expected.grads):
        return "its gradients are others than those of one after another"
    if any(_apart([mine], [other]) for mine, other in zip(found.buffers, expected.buffers, strict=True)):
        return "its buffers are others than those of one after another"
    return ""


def _apart(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether they are, of some replica, further apart than a part of their norm."""
    apart = whole = torch.zeros(())
    allowed = ROUNDING
    for mine, other in zip(found, expected, strict=True):
        exact = other.double().reshape(len(other), -1)
        apart = apart.to(exact.device) + (mine.double().reshape(len(other), -1) - exact).square().sum(1)
        whole = whole.to(exact.device) + exact.square().sum(1)
        if other.is_cuda:
            allowed = max(allowed, ON_GPU)
        if other.is_floating_point():
            allowed = max(allowed, 10.0 * torch.finfo(other.dtype).eps)
    return bool((apart.sqrt() > allowed * whole.sqrt()).any())


def _shortened(error: Exception) -> str:
    """The first line of what an engine has against a model."""
    text = next(iter(str(error).strip().splitlines()), "")
    text = text if isinstance(error, Unsupported) else f"{type(error).__name__}: {text}"
    return text if len(text) <= 120 else f"{text[:117]}..."
