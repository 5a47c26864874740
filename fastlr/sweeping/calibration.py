"""Which engine is the fastest here: each is tried on the first batch, and checked against one replica after another."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from fastlr.sweeping.checking import Outcome, difference, shortened
from fastlr.sweeping.engines import Engine, Sequential, Threaded, Unsupported, makers
from fastlr.sweeping.replicas import Replicas
from fastlr.sweeping.settings import Settings
from fastlr.sweeping.subject import Subject

FEW = 4  # replicas that every engine is checked with, or as many as torch has threads
ROUNDS = 4
STEPS = 3  # of a replica by itself, one behind the other
PART = 0.01  # of the training's time that the trial with a few takes at most, after a pass of the first engines
WHOLE = 0.02  # and with all, of those that promise something
SHORT = 0.05  # seconds of a pass that say little, where something else may have come between:
FIRST = 2  # so many are done in any case, the first of which sets things up
GAIN = 0.95  # of the fastest one's time so far: who promises less is not tried with all
FAR = 1.5  # times as slow as the fastest: not tried with all either
SPREAD = 0.2  # between the first and the last replica's parameters, so that mixing them up shows
LAST = "sequential"
ONE_BY_ONE = ("threaded", LAST)


@dataclass(frozen=True)
class Choice:
    """The engine that was taken, and why.

    Attributes:
        name: "threaded", "batched", "vmapped", "grad_and_value" or "sequential".
        milliseconds: Of a step of all replicas, for each engine that was timed; what a few replicas let expect for one
            that was not tried with all.
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
        elif not self.excluded:
            parts.append("as asked for")
        if without:
            parts.append(f"not {', '.join(without)}")
        return f"{self.name}: {'; '.join(parts)}"


class Calibration:
    """Tries engines on replicas that differ a little, first on a few of them: most models show there which is none."""

    def __init__(
        self, subject: Subject, trained: Sequence[nn.Parameter], at_once: int, batch: Any, asked: Settings
    ) -> None:
        self._subject, self._trained, self._at_once, self._batch, self._asked = subject, trained, at_once, batch, asked
        self._count = len(asked.entries)
        # Without schedules, which a few steps may already end; a rate of 0 takes as long.
        self._standing = replace(asked, entries=[replace(entry, followed=0.0) for entry in asked.entries])
        self._spent = 0.0
        self.excluded: dict[str, str] = {}
        self.times: dict[str, float] = {}  # of a step of all replicas

    def choose(self) -> tuple[Engine, Replicas, Choice]:
        """The fastest engine whose losses, gradients and buffers are those of the last one but for rounding."""
        few = self._replicas(min(self._count, max(FEW, torch.get_num_threads())))
        engines = self._checked(few)
        self._expect(engines, few)
        tried, whole = [one for one in self.times if one in ONE_BY_ONE], few
        while promising := self._promising(tried):
            whole = self._replicas(self._count) if whole is few else whole
            self._time_whole(promising, whole)
            tried += promising
        name = min(tried, key=self.times.__getitem__)
        milliseconds = {one: 1e3 * self.times[one] for one in makers(self._subject, few) if one in self.times}
        engine, replicas = self._ready(name, None if name in ONE_BY_ONE else whole)
        return engine, replicas, Choice(name, milliseconds, self.excluded, engine.together)

    def take(self, name: str) -> tuple[Engine, Replicas, Choice]:
        """The engine of this name. Raises ValueError where it is none for the model."""
        try:
            engine, replicas = self._ready(name)
            if name not in ONE_BY_ONE:
                engine.train(self._batch)
        except Exception as error:
            problem = shortened(error)
            raise ValueError(f"The engine {name!r} does not take this model: {problem}. Use 'auto'.") from error
        self._put_back(replicas)
        return engine, replicas, Choice(name, chunk=engine.together)

    def _replicas(self, count: int, *, held: bool = True) -> Replicas:
        return Replicas(self._subject, self._trained, count, self._at_once, held=held)

    def _ready(self, name: str, replicas: Replicas | None = None) -> tuple[Engine, Replicas]:
        """The engine on all replicas, which are as in the model."""
        if replicas is None:
            replicas = self._replicas(self._count, held=name not in ONE_BY_ONE)
        self._put_back(replicas)
        return makers(self._subject, replicas)[name](), replicas

    @staticmethod
    def _put_back(replicas: Replicas) -> None:
        replicas.restart()
        replicas.forget_modules()

    def _affords(self, seconds: float, part: float) -> bool:
        """Whether the trial remains a small part of the training with so many seconds more."""
        return self._spent + seconds <= part * self._asked.steps * min(self.times.values())

    def _checked(self, few: Replicas) -> dict[str, Engine]:
        """The engines that do the same as the last one, with what their first pass lets expect; others are excluded."""
        made = makers(self._subject, few)
        found = {LAST: made.pop(LAST)()}
        expected = self._outcome(LAST, found[LAST], few)
        for name, make in made.items():
            try:
                engine = make()
                if isinstance(engine, Threaded) and engine.workers == 1:
                    raise Unsupported("torch has one thread")
                has_one = any(other not in ONE_BY_ONE for other in found)
                if has_one and not self._affords(min(self.times.values()) * len(few.live) / self._count, PART):
                    raise Unsupported("not tried in so short a training")
                problem = difference(self._outcome(name, engine, few), expected)
            except Exception as error:  # whatever an engine has against the model
                problem = shortened(error)
            if problem:
                self.excluded[name] = problem
                self.times.pop(name, None)
            else:
                found[name] = engine
        return found

    def _outcome(self, name: str, engine: Engine, few: Replicas) -> Outcome:
        """What a pass makes."""
        few.restart(SPREAD)
        seconds, losses = self._pass(engine)
        self.times[name] = seconds * self._count / len(few.live)
        grads, buffers = ([one.clone() for one in stacks] for stacks in (engine.gradients(), few.buffers))
        return Outcome(losses, grads, buffers)

    def _expect(self, engines: dict[str, Engine], few: Replicas) -> None:
        """How long a step of all takes, from what it costs with a few replicas and with one."""
        number, alone, passes = len(few.live), {}, {}
        for name, engine in engines.items():
            cost = self.times[name] * number / self._count
            if isinstance(engine, Sequential) and few.params[0].is_cpu:
                alone[name] = self._steps_of(engine), cost
            else:
                passes[name] = self._pass_of(engine), cost
        found = self._lowest({**alone, **passes}, PART)
        self.times.update({name: found[name] for name in alone if name in found})
        some = {name: found.get(name, cost) for name, (_, cost) in passes.items()}
        few.drop(range(1, number))
        one = self._lowest({name: (measure, some[name]) for name, (measure, _) in passes.items()}, PART)
        chunks = -(-self._count // self._at_once)
        for name, seconds in some.items():
            each = max(0.0, seconds - one.get(name, 0.0)) / max(1, number - (name in one))
            self.times[name] = self._count * each + chunks * max(0.0, seconds - number * each)

    def _promising(self, tried: list[str]) -> list[str]:
        """The engines that may gain enough on those tried to be tried with all replicas, the best of them."""
        others = {name: one for name, one in self.times.items() if name not in tried}
        limit = min(GAIN * min(self.times[name] for name in tried), FAR * min(others.values(), default=0.0))
        return [name for name, one in others.items() if one < limit]

    def _time_whole(self, names: list[str], whole: Replicas) -> None:
        """The time of a step of all, with the update."""
        update = self._update(whole)
        passes = {name: self._pass_of(makers(self._subject, whole)[name]()) for name in names}
        # One in any case: large tensors may cost more than the few let expect, as memory is mapped anew for each.
        found = self._lowest({name: (measure, self.times[name]) for name, measure in passes.items()}, WHOLE, least=1)
        self.times.update({name: found[name] + update for name in names})

    def _lowest(
        self, measures: dict[str, tuple[Callable[[], float], float]], part: float, least: int = 0
    ) -> dict[str, float]:
        """What each measures, with what it costs at first, in turns: first passes are slow, and times differ."""
        found: dict[str, float] = {}
        for index in range(ROUNDS):
            for name, (measure, cost) in measures.items():
                in_any_case = index < least or (index < FIRST and cost < SHORT)
                if in_any_case or self._affords(found.get(name, cost), part):
                    found[name] = min(measure(), found.get(name, math.inf))
        return found

    def _pass_of(self, engine: Engine) -> Callable[[], float]:
        return lambda: self._pass(engine)[0]

    def _pass(self, engine: Engine) -> tuple[float, Tensor]:
        device, again = engine.replicas.params[0].device, engine.drawn()
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

    def _steps_of(self, engine: Sequential) -> Callable[[], float]:
        """Measures a step of all by steps of as many as run at once, one behind the other: in blocks, as they will."""
        replicas = list(zip(engine.replicas.live, engine.replicas.modules(), strict=True))[: engine.workers]
        leaves = engine.replicas.leaves
        optimizers = {place: self._standing.optimizer_of(place, leaves[place]) for place, _ in replicas}
        together = threading.Barrier(len(replicas))

        def steps(replica: tuple[int, nn.Module]) -> float:
            for index in range(1 + STEPS):
                if index == 1:  # the step before has set the thread up; alone it would be faster than it will be
                    with contextlib.suppress(threading.BrokenBarrierError):
                        together.wait(1.0)
                    start = time.perf_counter()
                engine.train_one(*replica, self._batch).item()
                optimizers[replica[0]].step()
            return time.perf_counter() - start

        def measure() -> float:
            again, start = engine.drawn(), time.perf_counter()
            seconds = max(engine.each(steps, replicas))
            self._spent += time.perf_counter() - start
            again()
            return seconds / STEPS * -(-self._count // engine.workers)

        return measure

    def _update(self, whole: Replicas) -> float:
        """How long the fused update of all takes, on a CPU: that of one replica finds its tensors in the caches."""
        if not whole.params[0].is_cpu:
            return 0.0
        whole.hold_gradients()
        optimizer = self._standing.optimizer(whole.leaves, zeroes=True)
        optimizer.step()
        start = time.perf_counter()
        optimizer.step()
        return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
