"""torch's schedulers of schedulers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastlr.compat._chain import Link, absolute, composed, cosine, driven, multiplier, switch
from fastlr.compat._pieces import boundaries, cut, function, joined, lengths, table, tabulable
from fastlr.compat._torch_single import BUILDERS
from fastlr.schedules import Constant, Cosine, Exponential, Schedule, WithMomentum, checks

MULTIPLIERS = {
    "ConstantLR",
    "ExponentialLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "PolynomialLR",
    "StepLR",
}
ABSOLUTE = {"CosineAnnealingWarmRestarts", "CyclicLR", "LambdaLR", "OneCycleLR"}
OWN_BASE = {"CyclicLR", "OneCycleLR"}  # have no base_lr from the optimizer
# Of a chain without a formula.
DEFAULT_STEPS, DEFAULT_LIMIT, MOST_STEPS = 10_000, 100_000, 10**6


@dataclass(frozen=True)
class Part:
    """One scheduler: its class's name, the base of its group, its arguments; its parts, if it is made of some, or its
    schedule, if that is known already."""

    name: str
    base_lr: float
    kwargs: dict[str, Any]
    parts: tuple[Part, ...] = ()
    schedule: Schedule | None = None

    def build(self) -> Schedule:
        if self.schedule is not None:
            return self.schedule
        if self.name == "SequentialLR":
            return sequential(self.parts, self.kwargs.get("milestones", ()))
        if self.name == "ChainedScheduler":
            return chained(self.parts, self.kwargs.get("steps"))
        base = () if self.name in OWN_BASE else (self.base_lr,)
        return BUILDERS[self.name](*base, **self.kwargs)

    def momentum(self) -> Schedule | None:
        """The momentum that goes with the rate, where the scheduler cycles it."""
        if self.parts:
            return getattr(self.build(), "momentum", None)
        cycles = self.name in OWN_BASE and self.kwargs.get("cycle_momentum", True)
        return getattr(self.build(), "momentum", None) if cycles else None


def part(base_lr: float, entry: object) -> Part:
    """A scheduler from what a caller lists: its name and its arguments."""
    if not isinstance(entry, (list, tuple)) or len(entry) != 2 or not isinstance(entry[1], dict):
        raise TypeError(f"No scheduler: {entry!r}. Give a list of its name and a dict of its arguments.")
    name, kwargs = entry[0], dict(entry[1])
    if name in ("SequentialLR", "ChainedScheduler"):
        return Part(name, base_lr, kwargs, parts(base_lr, kwargs.pop("schedulers", ())))
    if name not in BUILDERS:
        raise ValueError(f"No scheduler that can be combined: {name!r}. Use {', '.join(sorted(BUILDERS))}.")
    return Part(name, base_lr, kwargs)


def parts(base_lr: float, entries: object) -> tuple[Part, ...]:
    """Several schedulers of one group."""
    if not isinstance(entries, (list, tuple)):
        raise TypeError(f"Schedulers are no list: {entries!r}. List names and arguments.")
    found = tuple(part(base_lr, entry) for entry in entries)
    if not found:
        raise ValueError("There is no scheduler: []. List at least one name and its arguments.")
    return found


def SequentialLR(base_lr: float, schedulers: Sequence[Sequence[Any]], milestones: Sequence[int]) -> Schedule:
    """Schedulers one after the other, each from its own first step on when its milestone is reached.

    Each is a list of its name and its arguments, a composite's own ``schedulers`` among them. Each has base_lr for its
    base; after a ``CyclicLR`` in the first place it is that one's base_lr, as in torch. A
    ``MultiplicativeLR`` multiplies the rate before it, as in torch. If one cycles the momentum, the result has
    `.momentum`, which stands still before and after.

    Raises ValueError for unknown names and for milestones that are not one fewer, or out of order.

    >>> SequentialLR(1.0, [["LinearLR", {"total_iters": 5}], ["ExponentialLR", {"gamma": 0.9}]], milestones=[5])
    Linear(start=0.3333333333333333, end=1.0, length=5) >> Exponential(start=1.0, gamma=0.9)
    """
    found = parts(checks.real("base_lr", base_lr), schedulers)
    if found[0].name == "CyclicLR":
        base = checks.real("base_lr", found[0].kwargs.get("base_lr"))
        found = (found[0], *parts(base, schedulers[1:])) if len(found) > 1 else found
    return sequential(found, milestones)


def sequential(found: Sequence[Part], milestones: Sequence[int]) -> Schedule:
    """The schedule of a SequentialLR's parts."""
    starts = boundaries("milestones", milestones, len(found))
    counts = lengths(starts)
    pieces: list[tuple[int, Schedule]] = []
    last: Schedule | None = None
    for start, one in zip([0, *starts], found, strict=True):
        if one.name == "MultiplicativeLR" and start > 0 and last is not None:
            before = joined(pieces[:-1], pieces[-1][1])(start - 1)
            one = replace(one, base_lr=before * function("lr_lambda", one.kwargs.get("lr_lambda"))(0))
        last = one.build()
        if len(pieces) < len(counts):
            pieces.append((counts[len(pieces)], last))
    assert last is not None
    return with_momentum(joined(pieces, last), found, counts)


def with_momentum(rate: Schedule, found: Sequence[Part], counts: Sequence[int]) -> Schedule:
    """The rate together with the momentum of the parts that cycle it."""
    momenta = [one.momentum() for one in found]
    current = next((momentum(0) for momentum in momenta if momentum is not None), None)
    if current is None:
        return rate
    pieces: list[tuple[int, Schedule]] = []
    for count, momentum in zip(counts, momenta[:-1], strict=True):
        pieces.append((count, Constant(current) if momentum is None else momentum))
        if momentum is not None and count > 0:
            current = momentum(count - 1)
    return WithMomentum(rate, joined(pieces, momenta[-1] or Constant(current)))


def ChainedScheduler(base_lr: float, schedulers: Sequence[Sequence[Any]], steps: int | None = None) -> Schedule:
    """Schedulers that all act on the rate at every step, in this order: in torch that is no product.

    Each is a list of its name and its arguments. Factors (``ConstantLR``, ``LinearLR``, ``ExponentialLR``, ``StepLR``,
    ``MultiStepLR``, ``PolynomialLR``, ``MultiplicativeLR``) multiply. A ``CosineAnnealingLR`` with eta_min 0 multiplies
    them until T_max, where the rate is 0 and their past is forgotten. What sets a rate of its own (``LambdaLR``,
    ``CyclicLR``, ``OneCycleLR``, ``CosineAnnealingWarmRestarts``) undoes whatever stands before it.

    Chains without a formula are tabulated, by torch's rules, for `steps` steps, at most a million; by default 10 000,
    or a period of the slowest cosine where that is more, up to 100 000. Past them they raise.

    Raises ValueError for unknown names.

    >>> half = ["ConstantLR", {"factor": 0.5, "total_iters": 2}]
    >>> s = ChainedScheduler(1.0, [half, ["ExponentialLR", {"gamma": 0.5}]])
    >>> [s(t) for t in (0, 1, 2, 3)]
    [0.5, 0.25, 0.25, 0.125]
    """
    return chained(parts(checks.real("base_lr", base_lr), schedulers), steps)


def chained(found: Sequence[Part], steps: int | None = None) -> Schedule:
    """The schedule of a ChainedScheduler's parts."""
    flat = flattened(found)
    built = [one.build() for one in flat]  # refuses wrong arguments before any is looked at
    momenta = [momentum for momentum in (one.momentum() for one in flat) if momentum is not None]
    kept = max((i for i, one in enumerate(flat) if one.name in ABSOLUTE), default=0)
    count = None if steps is None else tabulable("steps", steps, MOST_STEPS)
    rate = built[kept] if len(flat) == kept + 1 else chained_rate(flat[kept:], count)
    return WithMomentum(rate, momenta[-1]) if momenta else rate


def flattened(found: Sequence[Part]) -> list[Part]:
    """The parts, with the parts of chains in their place."""
    return [one for part in found for one in (flattened(part.parts) if part.name == "ChainedScheduler" else [part])]


def chained_rate(flat: Sequence[Part], steps: int | None) -> Schedule:
    cosines = [one for one in flat if one.name == "CosineAnnealingLR"]
    factors = [one for one in flat if one.name in MULTIPLIERS]
    if len(factors) == len(flat):
        return math.prod((unit(one) for one in factors[1:]), start=factors[0].build())
    if len(cosines) == 1 and len(factors) == len(flat) - 1:
        schedule = cosine_times_factors(flat, cosines[0])
        if schedule is not None:
            return schedule
    period = max((2 * math.ceil(one.kwargs["T_max"]) for one in cosines), default=0)
    count = steps or min(max(DEFAULT_STEPS, period), DEFAULT_LIMIT)
    rates = table(1.0, driven(flat[0].base_lr, [link(one, count) for one in flat], count))
    return rates.hold(count).past_end("error")


def unit(one: Part) -> Schedule:
    """The factor that a scheduler multiplies the rate with."""
    return replace(one, base_lr=1.0).build()


def settled(one: Part) -> int | None:
    """The last step at which a factor changes, None if it changes for ever."""
    if one.name == "MultiStepLR":
        return max(one.kwargs["milestones"], default=0)
    return int(one.kwargs.get("total_iters", 5)) if one.name in ("ConstantLR", "LinearLR", "PolynomialLR") else None


def cosine_times_factors(flat: Sequence[Part], one: Part) -> Schedule | None:
    """A cosine among factors, if there is a formula: at T_max it sets the rate to eta_min, and rises from there by
    base_lr's height, times what the factors do from then on."""
    base, length, end = one.base_lr, one.kwargs["T_max"], one.kwargs.get("eta_min", 0.0)
    others = [other for other in flat if other is not one]
    ends = [settled(other) for other in others if other.name != "ExponentialLR"]
    if length != int(length) or any(last is None or last >= length for last in ends):
        return None
    period = int(length)
    if end != 0.0:
        if len(ends) < len(others) or period > MOST_STEPS:
            return None
        first = table(1.0, driven(base, [link(other, period) for other in flat], period))
        return first >> Cosine(end, base, period).past_end("extrapolate").shift(-1)
    first = cut(math.prod((unit(other) for other in others), start=Cosine(base, 0.0, period)), period + 1)
    gamma = math.prod(other.kwargs["gamma"] for other in others if other.name == "ExponentialLR")
    later = math.prod(other.kwargs["gamma"] for other in flat[flat.index(one) :] if other.name == "ExponentialLR")
    rise = Cosine(0.0, base * later, period).past_end("extrapolate").shift(-1)
    return first >> (rise if gamma == 1.0 else (rise * Exponential(1.0, gamma)).hold(2 * period).repeat())


def link(one: Part, count: int) -> Link:
    """What a scheduler does to the rate at each of these steps."""
    if one.name == "CosineAnnealingLR":
        return cosine(one.base_lr, one.kwargs["T_max"], one.kwargs.get("eta_min", 0.0))
    if one.name == "ChainedScheduler":
        return composed([link(inner, count) for inner in one.parts])
    if one.name == "SequentialLR":
        firsts = [inner.build()(0) for inner in one.parts]
        milestones = boundaries("milestones", one.kwargs.get("milestones", ()), len(firsts))
        return switch(milestones, [link(inner, count) for inner in one.parts], firsts)
    return multiplier(unit(one), count) if one.name in MULTIPLIERS else absolute(one.build(), count)
