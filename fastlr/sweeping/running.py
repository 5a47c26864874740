"""One sweep from the first look at the model to the result."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from fastlr.schedules import Schedule
from fastlr.searching.batches import Batches, device_of
from fastlr.searching.randomness import Randomness
from fastlr.sweeping import memory
from fastlr.sweeping.blocks import BlockedTraining, Drawn
from fastlr.sweeping.calibration import Calibration
from fastlr.sweeping.engines import Sequential
from fastlr.sweeping.result import Sweep
from fastlr.sweeping.settings import Settings
from fastlr.sweeping.subject import Look, Subject
from fastlr.sweeping.training import Training

DRAWN = "after the first batch the model drew random numbers, whose order threads mix up: begun again without"
STATES = {"sgd": 1, "lion": 1, "adam": 2}  # tensors that an optimizer keeps for a parameter


def run(
    subject: Subject,
    loader: Iterable[Any],
    asked: Settings,
    shape: Schedule | None,
    chosen: Callable[[str], object] | None = None,
) -> Sweep:
    """What `fastlr.sweep` does once its arguments are checked. Random numbers are the caller's to restore."""
    devices = {tensor.device.type for tensor in subject.model.parameters()}
    beginning = Randomness(devices, loader)
    try:
        return _run(subject, loader, asked, shape, chosen, devices)
    except Drawn:
        beginning.restore()
        subject = Subject(subject.model, subject.loss_fn, subject.forward)
        found = _run(subject, loader, replace(asked, engine="sequential"), shape, chosen, devices)
        return replace(found, engine=replace(found.engine, excluded={"threaded": DRAWN}))


def _run(
    subject: Subject,
    loader: Iterable[Any],
    asked: Settings,
    shape: Schedule | None,
    chosen: Callable[[str], object] | None,
    devices: set[str],
) -> Sweep:
    batches = Batches(loader, device_of(subject.model))
    if asked.validation is not None:
        before = Randomness(devices, asked.validation)
        next(Batches(asked.validation))  # raises where it is empty, before any work
        before.restore()
    first = next(batches)
    randomness = Randomness(devices, loader)
    look = subject.look(first, randomness)
    calibration = Calibration(subject, look.trained, _at_once(look, asked), first, asked)
    engine, replicas, choice = calibration.choose() if asked.engine == "auto" else calibration.take(asked.engine)
    if chosen is not None:
        chosen(choice.name)
    randomness.restore()
    blocked = isinstance(engine, Sequential) and replicas.params[0].is_cpu
    training = (BlockedTraining if blocked else Training)(asked, replicas, engine, look.loss)
    record = training.run(itertools.chain([first], batches))
    count = len(asked.entries)
    return Sweep(
        entries=tuple(entry.given for entry in asked.entries),
        rates=np.array([entry.peak for entry in asked.entries]),
        losses=record.losses,
        start=look.loss,
        diverged=tuple(record.diverged),
        dropped=tuple(record.dropped),
        validated=tuple(record.validated),
        validation=np.array(record.validation, dtype=np.float64).reshape(-1, count),
        last_validation=record.last_validation,
        engine=choice,
        notes=tuple(_notes(look, batches, asked, shape)),
        confidence=asked.confidence,
        shaped=shape is not None,
    )


def _at_once(look: Look, asked: Settings) -> int:
    """How many replicas run together. Raises ValueError where not even their parameters fit."""
    count, device = len(asked.entries), look.trained[0].device
    free = memory.available(device)
    tensors = 2 + STATES[asked.rule.rule] + ("ema_decay" in asked.options) + ("master_weights" in asked.options)
    needed = count * tensors * sum(param.nbytes for param in look.trained)
    memory.require(needed, free, count)
    at_once = memory.replicas_at_once(look.saved, None if free is None else free - needed, count)
    return min(count, asked.chunk or at_once)


def _notes(look: Look, batches: Batches, asked: Settings, shape: Schedule | None) -> Iterator[str]:
    """What is to be known of how it went."""
    if batches.restarts:
        times = "once" if batches.restarts == 1 else f"{batches.restarts} times"
        yield f"The loader is shorter than {asked.steps} steps and began again {times}"
    if shape is not None and shape.length is not None and shape.length != asked.steps:
        yield f"The shape is {shape.length} steps long, and the training {asked.steps}"
    if look.unused:
        shown = ", ".join(look.unused[:3]) + (" ..." if len(look.unused) > 3 else "")
        yield f"Not trained, as the first loss does not depend on them: {shown}"
