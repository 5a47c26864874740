"""Where a schedule's pieces and cycles begin and which of them are warm-ups, read from its description."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from fastlr.schedules import CosineRestarts, Cyclic, PerEpoch, Repeat, Schedule, Sequence, Shift

MOST = 20  # of each kind in one picture: more only hide the curve


class Marks(NamedTuple):
    """Warm-ups as first and last step, and the steps at which a piece or a cycle begins."""

    warmups: list[tuple[float, float]]
    starts: list[float]


class Mark(NamedTuple):
    """A piece or cycle from `begin` to before `end`."""

    begin: float
    end: float
    rises: bool = False


def marks(schedule: Schedule, span: float) -> Marks:
    """What to mark in a picture of the steps 0 to span."""
    # The walk goes in no order of time, and an endless repetition of short cycles never ends.
    found = [one for one in itertools.islice(walk(schedule, 0.0, 1.0), 1000) if 0 <= one.begin < span]
    starts = sorted({one.begin for one in found if one.begin > 0})
    warmups = sorted({(one.begin, min(one.end, span)) for one in found if one.rises})
    return Marks(warmups[:MOST], starts[:MOST])


def walk(schedule: Schedule, origin: float, scale: float) -> Iterator[Mark]:
    """The pieces and cycles of a schedule that begins at origin and whose steps last scale steps."""
    if isinstance(schedule, Sequence):
        yield from pieces(schedule, origin, scale)
    elif isinstance(schedule, (Repeat, CosineRestarts, Cyclic)):
        yield from cycles(schedule, origin, scale)
    elif isinstance(schedule, Shift):
        yield from walk(schedule.schedule, origin + scale * schedule.steps, scale)
    elif isinstance(schedule, PerEpoch):
        yield from walk(schedule.schedule, origin, scale * schedule.steps)
    else:
        for part in parts(schedule):
            yield from walk(part, origin, scale)


def parts(schedule: Schedule) -> Iterator[Schedule]:
    """The schedules that a schedule is made of."""
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Schedule):
                yield one


def pieces(sequence: Sequence, origin: float, scale: float) -> Iterator[Mark]:
    """The pieces of a sequence and what they hold. A first piece that rises is a warm-up."""
    begin = origin
    for piece in sequence.pieces:
        end = begin + scale * (piece.length or 0) if piece.length is not None else float("inf")
        yield Mark(begin, end, piece is sequence.pieces[0] and piece.end_value > piece.start_value)
        yield from (one for one in walk(piece, begin, scale) if one.begin < end)
        begin = end


def cycles(schedule: Repeat | CosineRestarts | Cyclic, origin: float, scale: float) -> Iterator[Mark]:
    """The cycles of a repetition."""
    if isinstance(schedule, Cyclic):
        length: float = schedule.step_size_up + (schedule.step_size_down or schedule.step_size_up)
        growth, count = 1.0, None
    elif isinstance(schedule, Repeat):
        length = float(schedule.schedule.length or 0)
        growth, count = float(schedule.growth), schedule.times
    else:
        length, growth, count = float(schedule.period), schedule.growth, schedule.cycles
    begin = origin
    for _ in itertools.count() if count is None else range(count):
        yield Mark(begin, begin + scale * length)
        begin += scale * length
        length *= growth
