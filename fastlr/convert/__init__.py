"""From schedulers that are running to schedules."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastlr.compat._pieces import resumed
from fastlr.convert import own_scheduler, sampled, timm_scheduler, torch_scheduler
from fastlr.convert.unreadable import Unreadable
from fastlr.schedules import Schedule, WithMomentum, checks
from fastlr.schedules.plateau import ReduceOnPlateau

__all__ = ["from_torch"]


def from_torch(scheduler: Any, steps: int | None = None, *, updates: int | None = None) -> list[Schedule]:
    """A running scheduler's schedules, one a parameter group, each going on from where the scheduler is.

    ``s(0)`` is the rate that the next update uses, and ``s(t)`` the one after t more steps of the scheduler. A
    scheduler that is stepped once an epoch gives a schedule in epochs: ``s.per_epoch(n)``.

    Read exactly are torch's own schedulers, `SequentialLR` and `ChainedScheduler` of them included, the lambdas of
    transformers, timm's schedulers and `fastlr.LRScheduler`. What counts is what the object holds, not what it was
    constructed with: a loaded checkpoint may have changed it. Schedulers that move the momentum too give a schedule
    that has ``.momentum``. The result has to agree with the present rate of its group.

    Args:
        scheduler: The scheduler. It and its optimizer stay as they are.
        steps: For what cannot be read (other functions, subclasses, changed rates, sequences in sequences): tabulate so
            many steps, by driving a copy of the scheduler, whose functions are called. The last value holds.
        updates: For timm's schedulers, which do not count: the number that was last passed to ``step_update`` or
            ``step``, 0 by default. Before the first call some of them have not set the rate of 0 yet.

    Raises:
        TypeError: No scheduler.
        ValueError: It cannot be read exactly, and no steps are given; it follows a metric that it has seen already; or
            it does not know one of the groups.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.ones(1)], lr=0.5)
    >>> from_torch(torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=10))
    [CosineRestarts(start=0.5, end=0.0, period=10)]
    >>> half = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5**t)
    >>> from_torch(half, steps=3)
    [Table(values=(0.5, 0.25, 0.125))]
    """
    count = None if steps is None else checks.integer("steps", steps)
    done = None if updates is None else checks.integer("updates", updates, 0)
    reader = reader_of(scheduler)
    if done is not None and reader is not timm_scheduler:
        raise ValueError(f"This scheduler counts by itself: updates={done}. Leave updates out.")
    found: list[Schedule] = []
    tables: list[Schedule] | None = None
    for index, group in enumerate(scheduler.optimizer.param_groups):
        try:
            schedule = remaining(*reader.read(scheduler, index, done or 0))
            confirm(schedule, scheduler, group)
        except IndexError:
            raise ValueError(f"Group {index} came after its scheduler was made. Make a new scheduler.") from None
        except ValueError as error:
            final = reader is own_scheduler or getattr(error, "final", False)
            if count is None or final:
                raise ValueError(str(error)) from None
            tables = tables or sampled.tables(scheduler, count, done)
            schedule = tables[index]
        found.append(schedule)
    return found


def reader_of(scheduler: Any) -> Any:
    """The module that reads schedulers of this kind."""
    from torch.optim.lr_scheduler import LRScheduler

    if own_scheduler.reads(scheduler):
        return own_scheduler
    if timm_scheduler.reads(scheduler):
        return timm_scheduler
    if isinstance(scheduler, LRScheduler):
        return torch_scheduler
    raise TypeError(f"No scheduler: {type(scheduler).__name__}. Pass one of torch, transformers, timm or fastlr.")


def remaining(schedule: Schedule, momentum: Schedule | None, done: int) -> Schedule:
    """The schedule from there on, together with the momentum that is cycled along."""
    if done == 0 and momentum in (None, getattr(schedule, "momentum", None)):
        return schedule
    if isinstance(schedule, ReduceOnPlateau):
        return dataclasses.replace(schedule, schedule=resumed(schedule.schedule, done))
    rate = resumed(schedule.schedule if isinstance(schedule, WithMomentum) else schedule, done)
    return rate if momentum is None else WithMomentum(rate, resumed(momentum, done))


def confirm(schedule: Schedule, scheduler: Any, group: dict[str, Any]) -> None:
    """Refuse a schedule that does not begin with the group's present rate, to what torch's recursions lose."""
    now, rate = schedule(0), float(group["lr"])
    single = getattr(group["lr"], "dtype", None) is not None and group["lr"].element_size() < 8
    scale = max(abs(rate), float(group.get("initial_lr", 0.0)))
    if abs(now - rate) > (1e-5 * scale if single else 1e-9 * abs(rate) + 1e-12 * scale):
        raise Unreadable(
            f"The group's rate is not what its {type(scheduler).__name__} says: {rate!r}, not {now!r}",
            "Somebody changed it, or the scheduler went astray; give steps, for which a copy of it is driven.",
        )
