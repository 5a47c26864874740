"""Schedules as trees: what a schedule is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from fastlr.schedules.base import Schedule


def parts(schedule: Schedule) -> Iterator[Schedule]:
    """The schedules that a schedule is directly made of."""
    for field in dataclasses.fields(schedule):  # type: ignore[arg-type]
        value = getattr(schedule, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Schedule):
                yield one


def size(schedule: Schedule) -> int:
    """How many schedules a schedule is made of, itself included."""
    return 1 + sum(map(size, parts(schedule)))


def levels(schedule: Schedule) -> int:
    """How many schedules lie inside one another, the outermost included."""
    count, level = 0, [schedule]
    while level:
        count, level = count + 1, [part for one in level for part in parts(one)]
    return count
