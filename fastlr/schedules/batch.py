"""Many schedules at many steps in one native call."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from fastlr import _core
from fastlr.schedules import gpu
from fastlr.schedules import steps as step_arrays
from fastlr.schedules.base import Schedule

if TYPE_CHECKING:
    import torch

    Steps: TypeAlias = NDArray[np.integer[Any]] | range | list[int] | tuple[int, ...]
    Values: TypeAlias = NDArray[np.floating[Any]]

ALLOWED = ("float64", "float32")


@overload
def evaluate(
    schedules: Iterable[Schedule], steps: torch.Tensor, *, dtype: object = None, out: torch.Tensor | None = None
) -> torch.Tensor: ...
@overload
def evaluate(
    schedules: Iterable[Schedule], steps: Steps, *, dtype: object = None, out: torch.Tensor
) -> torch.Tensor: ...
@overload
def evaluate(
    schedules: Iterable[Schedule], steps: Steps, *, dtype: object = None, out: Values | None = None
) -> Values: ...


def evaluate(
    schedules: Iterable[Schedule],
    steps: Steps | torch.Tensor,
    *,
    dtype: object = None,
    out: Values | torch.Tensor | None = None,
) -> Values | torch.Tensor:
    """Values of K schedules at N steps, of shape [K, N].

    Formula: ``result[k, n] = schedules[k](steps[n])``, the same bits as one call for each value. Runs on torch's number
    of threads, with vector instructions. A range is not written out as an array. For steps or an ``out`` on a GPU the
    values are computed there, the same bits in one launch for up to 816 schedules; nothing waits for them, so a step
    below 0, or at which a schedule has no value, gives NaN instead of an error.

    Args:
        schedules: K schedules.
        steps: N steps: a range, an integer array or tensor of one dimension, or a list of ints.
        dtype: float64 (the default) or float32 of NumPy or torch; float32 values are the float64 ones rounded.
        out: An array or tensor of shape [K, N] and one of these dtypes to write to: then nothing is allocated.

    Returns:
        ``out`` where it is given; otherwise a tensor on the steps' device for a tensor of steps or a dtype of torch, an
        array for anything else.

    Raises:
        TypeError: Something else than schedules or integers, or another dtype.
        ValueError: Steps below 0 or not in one dimension, an out that does not fit, or a step at which a schedule has
            no value. ``out`` is then partly written.

    >>> from fastlr.schedules import Constant, Linear
    >>> evaluate([Constant(3.0), Linear(start=1.0, end=0.0, length=2)], range(3))
    array([[3. , 3. , 3. ],
           [1. , 0.5, 0. ]])
    >>> out = np.empty((1, 4), dtype=np.float32)
    >>> evaluate([Constant(3.0)], range(4), out=out) is out
    True
    """
    programs = compiled(schedules)
    on_gpu = step_arrays.is_tensor(steps) and _core.on_cuda(steps)
    array: Any = steps if on_gpu else step_arrays.from_any(steps)
    if not isinstance(array, range) and array.ndim != 1:
        raise ValueError(f"steps are not one-dimensional: shape {tuple(array.shape)}. Flatten them first.")
    if out is None:
        if on_gpu:
            return gpu.new_table(programs, steps, name_of(dtype))  # type: ignore[no-any-return]
        torch_wanted = step_arrays.is_tensor(steps) or type(dtype).__module__.partition(".")[0] == "torch"
        out = new_table((len(programs), len(array)), name_of(dtype), steps if torch_wanted else None, torch_wanted)
    elif dtype is not None and name_of(dtype) != name_of(out.dtype):
        raise TypeError(f"dtype is not that of out: {dtype} for {out.dtype}. Leave one of them out.")
    write(programs, array, out)
    return out


def compiled(schedules: Iterable[Schedule]) -> list[_core.Program]:
    """The schedules' programs."""
    if isinstance(schedules, Schedule):
        raise TypeError(f"schedules are no list: {schedules!r}. Pass [schedule], or call the schedule itself.")
    programs = []
    for one in schedules:
        if not isinstance(one, Schedule):
            raise TypeError(f"schedules hold something else: {one!r}. Wrap numbers in Constant.")
        programs.append(one.program)
    return programs


def name_of(dtype: Any) -> str:
    """The name of a dtype of NumPy or torch."""
    if dtype is None:
        return ALLOWED[0]
    name = str(dtype).removeprefix("torch.") if type(dtype).__module__ == "torch" else np.dtype(dtype).name
    if name not in ALLOWED:
        raise TypeError(f"dtype is not supported: {dtype}. Use float64 or float32.")
    return name


def new_table(shape: tuple[int, int], dtype: str, steps: Any, wants_tensor: bool) -> Values | torch.Tensor:
    """An array, or a tensor on the steps' device, that nothing has been written to."""
    if not wants_tensor:
        return np.empty(shape, dtype=dtype)
    torch_module = sys.modules["torch"]
    device = steps.device if step_arrays.is_tensor(steps) else "cpu"
    table: torch.Tensor = torch_module.empty(shape, dtype=getattr(torch_module, dtype), device=device)
    return table


def write(programs: list[_core.Program], steps: Any, out: Any) -> None:
    """Values into an array, or into a tensor on any device."""
    if not step_arrays.is_tensor(out):
        step_arrays.evaluate(programs, step_arrays.from_any(steps), out)
        return
    dtype = name_of(out.dtype)
    if _core.on_cuda(out):
        gpu.write(programs, steps, out)
        return
    if step_arrays.is_tensor(steps):
        steps = step_arrays.from_any(steps)
    if out.device.type == "cpu":
        step_arrays.evaluate(programs, steps, out.detach().numpy())
        return
    values = np.empty(tuple(out.shape), dtype=dtype)
    step_arrays.evaluate(programs, steps, values)
    out.copy_(sys.modules["torch"].from_numpy(values))
