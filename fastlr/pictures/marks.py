"""Where a schedule's pieces and cycles begin and which of them are warm-ups, read from its description."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from fastlr.schedules import CosineCycles, CosineRestarts, Cyclic, PerEpoch, Repeat, Schedule, Sequence, Shift, Warmup
from fastlr.schedules.tree import parts

LOOKED_AT = 1000
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
    found = [one for one in first_marks(schedule) if 0 <= one.begin < span]
    starts = sorted({one.begin for one in found if one.begin > 0})
    warmups = sorted({(one.begin, min(one.end, span)) for one in found if one.rises})
    return Marks(warmups[:MOST], starts[:MOST])


def first_marks(schedule: Schedule) -> list[Mark]:
    """At most `LOOKED_AT` pieces and cycles, in no order of time: an endless repetition has no last one."""
    return list(itertools.islice(walk(schedule, 0.0, 1.0), LOOKED_AT))


def walk(schedule: Schedule, origin: float, scale: float) -> Iterator[Mark]:
    """The pieces and cycles of a schedule that begins at origin and whose steps last scale steps."""
    if isinstance(schedule, Sequence):
        yield from pieces(schedule, origin, scale)
    elif isinstance(schedule, (Repeat, CosineRestarts, CosineCycles, Cyclic)):
        yield from cycles(schedule, origin, scale)
    elif isinstance(schedule, Shift):
        yield from walk(schedule.schedule, origin + scale * schedule.steps, scale)
    elif isinstance(schedule, Warmup):
        yield Mark(origin, origin + scale * schedule.length, rises=True)
    elif isinstance(schedule, PerEpoch):
        yield from walk(schedule.schedule, origin, scale * schedule.steps)
    else:
        for part in parts(schedule):
            yield from walk(part, origin, scale)


def pieces(sequence: Sequence, origin: float, scale: float) -> Iterator[Mark]:
    """The pieces of a sequence and what they hold. A first piece that rises is a warm-up."""
    begin = origin
    for piece in sequence.pieces:
        end = begin + scale * (piece.length or 0) if piece.length is not None else float("inf")
        yield Mark(begin, end, piece is sequence.pieces[0] and piece.end_value > piece.start_value)
        yield from (one for one in walk(piece, begin, scale) if one.begin < end)
        begin = end


def cycles(schedule: Repeat | CosineRestarts | CosineCycles | Cyclic, origin: float, scale: float) -> Iterator[Mark]:
    """The cycles of a repetition."""
    if isinstance(schedule, Cyclic):
        length: float = schedule.step_size_up + (schedule.step_size_down or schedule.step_size_up)
        growth, count = 1.0, None
    elif isinstance(schedule, CosineCycles):
        length, growth, count = schedule.cycle * (2 if schedule.mirror else 1), 1.0, None
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
