"""Many schedules at many steps in one native call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlr.schedules import steps as step_arrays
from fastlr.schedules.base import Schedule

if TYPE_CHECKING:
    import torch


def evaluate(
    schedules: Iterable[Schedule],
    steps: NDArray[np.integer[Any]] | torch.Tensor | range | list[int] | tuple[int, ...],
) -> NDArray[np.float64]:
    """Values of K schedules at N steps as float64 of shape [K, N].

    Formula: ``result[k, n] = schedules[k](steps[n])``, the same bits as one call for each value.

    Raises TypeError for something else than schedules or integers, ValueError for steps below 0 or not in one
    dimension.

    >>> from fastlr.schedules import Constant, Linear
    >>> evaluate([Constant(3.0), Linear(start=1.0, end=0.0, length=2)], range(3))
    array([[3. , 3. , 3. ],
           [1. , 0.5, 0. ]])
    """
    if isinstance(schedules, Schedule):
        raise TypeError(f"schedules are no list: {schedules!r}. Pass [schedule], or call the schedule itself.")
    programs = []
    for one in schedules:
        if not isinstance(one, Schedule):
            raise TypeError(f"schedules hold something else: {one!r}. Wrap numbers in Constant.")
        programs.append(one.program)
    array = step_arrays.from_any(steps)
    if array.ndim != 1:
        raise ValueError(f"steps are not one-dimensional: shape {array.shape}. Flatten them first.")
    return step_arrays.table(programs, array)
