"""Lengths of schedules from the length of the data."""

from __future__ import annotations

from collections.abc import Sized

from fastlr.schedules import checks


def steps_per_epoch(loader: Sized, accumulate: int = 1) -> int:
    """The number of updates in an epoch: ``ceil(len(loader) / accumulate)``.

    Args:
        loader: What gives the batches of an epoch, with a length.
        accumulate: The batches whose gradients are accumulated for one update. The last batches of an epoch make one
            even if they are fewer.

    Raises:
        TypeError: A loader without a length, or an `accumulate` that is no int.
        ValueError: An `accumulate` below 1.

    >>> steps_per_epoch(range(10)), steps_per_epoch(range(10), accumulate=4), steps_per_epoch(range(8), accumulate=4)
    (10, 3, 2)
    """
    groups = checks.integer("steps_per_epoch accumulate", accumulate)
    try:
        batches = len(loader)
    except TypeError as error:
        raise TypeError(f"The loader has no length: {loader!r}. Count the batches of an epoch yourself.") from error
    return -(-batches // groups)
