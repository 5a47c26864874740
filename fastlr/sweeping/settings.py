"""What a sweep is asked for, checked before anything is done."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from fastlr.optim.scheduled import ScheduledOptimizer
from fastlr.schedules import Constant, ReduceOnPlateau, Schedule, checks
from fastlr.searching.batches import check_loader

ENGINES = ("batched", "vmapped", "grad_and_value", "threaded", "sequential")
CLIPPING = ("max_grad_norm", "norm_per_group")

Rate = float | Schedule


@dataclass(frozen=True)
class Entry:
    """One of the rates or schedules to try: as it was passed in, and what the optimizer follows."""

    given: Rate
    followed: Rate
    peak: float


def entries(given: Iterable[Rate], shape: Schedule | None) -> list[Entry]:
    """The entries, each a rate above 0 or a schedule, multiplied by the shape.

    Raises:
        TypeError: Something else.
        ValueError: No entry, a rate that is not positive, rates that do not increase, a rule that needs a metric.
    """
    if shape is not None and not isinstance(shape, Schedule):
        raise TypeError(f"shape is no schedule: {shape!r}. Give one that begins at or reaches 1, such as a warm-up.")
    if isinstance(given, (str, bytes, numbers.Real, Schedule)) or not isinstance(given, Iterable):
        raise TypeError(f"rates are no list: {given!r}. Give several rates or schedules, such as [0.01, 0.1].")
    found = [_entry(index, one, shape) for index, one in enumerate(given)]
    if not found:
        raise ValueError("rates are none: []. Give at least one.")
    plain = [entry.given for entry in found if not isinstance(entry.given, Schedule)]
    for low, high in itertools.pairwise(plain):
        if not low < high:
            raise ValueError(f"rates do not increase: {low!r} before {high!r}. Sort them, each once.")
    return found


def _entry(index: int, given: Any, shape: Schedule | None) -> Entry:
    if isinstance(given, Schedule):
        if isinstance(given, ReduceOnPlateau) or isinstance(shape, ReduceOnPlateau):
            raise ValueError(f"A rule that waits for a metric: {given!r}. Give schedules of the step alone.")
        followed: Rate = given if shape is None else given * shape
        peak = _peak(followed)
    else:
        rate = checks.real(f"rate {index}", given)
        if rate <= 0.0:
            raise ValueError(f"rate {index} is not positive: {given!r}. Use more than 0.")
        followed = rate if shape is None else Constant(rate) * shape
        peak = _peak(followed)
        given = rate if isinstance(given, float) else given
    if not 0.0 < peak < math.inf:
        raise ValueError(f"Entry {index} has no positive, finite peak: {given!r} reaches {peak}. Use other values.")
    return Entry(given, followed, peak)


def _peak(followed: Rate) -> float:
    return followed.peak if isinstance(followed, Schedule) else followed


@dataclass(frozen=True)
class Settings:
    """A sweep, checked.

    Attributes:
        rule: The optimizer's class, with `options` for it.
        freeze_above: A replica stops once its loss is above this many times the best one, and twice the first loss.
        halving: At each rung only one in so many replicas goes on; None: all of them.
        engine: One of `ENGINES`, or "auto".
        chunk: How many replicas go through the model at once; None: as many as the memory allows.
    """

    entries: list[Entry]
    steps: int
    rule: type[ScheduledOptimizer]
    options: dict[str, Any]
    validation: Iterable[Any] | None
    validate_every: int
    freeze_above: float | None
    halving: int | None
    engine: str
    chunk: int | None
    confidence: float
    progress: Callable[[int, Rate, float], object] | None

    def optimizer(self, params: list[list[torch.Tensor]], *, zeroes: bool, clips: bool = True) -> ScheduledOptimizer:
        """One group for each replica. Where it clips by norm a step may have to be done again: it zeroes nothing."""
        groups = [{"params": own, "lr": entry.followed} for own, entry in zip(params, self.entries, strict=True)]
        return self._over(groups, zeroes=zeroes, clips=clips)

    def optimizer_of(self, place: int, params: list[torch.Tensor]) -> ScheduledOptimizer:
        """For one replica alone, which has new gradients in every step."""
        return self._over([{"params": params, "lr": self.entries[place].followed}], zeroes=False)

    def _over(self, groups: list[dict[str, Any]], *, zeroes: bool, clips: bool = True) -> ScheduledOptimizer:
        options = {**self.options, "zero_grad_in_step": zeroes and not (clips and self.clips)}
        if not clips:
            options = {
                name: value for name, value in options.items() if name not in ("max_grad_norm", "norm_per_group")
            }
        return self.rule(groups, **options)

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped by norm."""
        return self.options.get("max_grad_norm") not in (None, math.inf)


def settings(
    loader: Any,
    rates: Iterable[Rate],
    shape: Schedule | None,
    rule: Any,
    options: dict[str, Any],
    **values: Any,
) -> Settings:
    """The checked settings of a sweep. Raises TypeError and ValueError for what is none."""
    check_loader(loader)
    if values["validation"] is not None:
        check_loader(values["validation"])
    steps = checks.integer("steps", values.pop("steps"))
    every = values.pop("validate_every")
    values["validate_every"] = max(1, steps // 10) if every is None else checks.integer("validate_every", every)
    for name, least in (("chunk", 1), ("halving", 2)):
        if values[name] is not None:
            values[name] = checks.integer(name, values[name], least)
    _check_numbers(values["freeze_above"], values["confidence"])
    if values["engine"] not in ("auto", *ENGINES):
        raise ValueError(f"engine is unknown: {values['engine']!r}. Use 'auto' or one of {', '.join(ENGINES)}.")
    rule, options = _rule(rule, options)
    return Settings(entries(rates, shape), steps, rule, options, **values)


def _check_numbers(freeze_above: Any, confidence: Any) -> None:
    if freeze_above is not None and not checks.real("freeze_above", freeze_above) > 1.0:
        raise ValueError(f"freeze_above is out of range: {freeze_above!r}. Use more than 1, or None for no limit.")
    if not 0.0 < checks.real("confidence", confidence) < 1.0:
        raise ValueError(f"confidence is out of range: {confidence!r}. Use more than 0 and less than 1.")


def _rule(rule: Any, options: dict[str, Any]) -> tuple[type[ScheduledOptimizer], dict[str, Any]]:
    if rule is None:
        from fastlr.optim import SGD

        rule, options = SGD, {"momentum": 0.9, **options}
    if isinstance(rule, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer is an optimizer already: {type(rule).__name__}. Give its class, and its options as arguments."
        )
    if not (isinstance(rule, type) and issubclass(rule, ScheduledOptimizer)):
        raise TypeError(f"optimizer is no class of fastlr's: {rule!r}. Give fastlr.SGD, Adam, AdamW or Lion.")
    for name in ("lr", "params"):
        if name in options:
            raise TypeError(f"An option that the sweep itself sets: {name}={options[name]!r}. Leave it away.")
    if options.get("differentiable"):
        raise ValueError("differentiable is of no use in a sweep: True. Leave it away.")
    if options.get("max_grad_norm") is not None:
        options = {**options, "norm_per_group": True}  # the norm of each replica is its own
    options = {name: value for name, value in options.items() if name != "zero_grad_in_step"}  # gradients are its own
    rule([torch.zeros(1)], lr=0.0, **options)  # type: ignore[call-arg]  # raises for options that it does not take
    return rule, options
