"""From what a caller passes as steps to the native evaluator and back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastlr import _core
from fastlr.schedules.checks import MAX_STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def is_tensor(value: object) -> bool:
    """Whether value is a torch tensor, without importing torch."""
    torch_module = sys.modules.get("torch")
    return torch_module is not None and isinstance(value, torch_module.Tensor)


def refuse_kind(value: object) -> TypeError:
    """The error for steps that are not integers."""
    kind = getattr(value, "dtype", type(value).__name__)
    return TypeError(f"steps are not integers: {value!r} ({kind}). Pass an int, an integer array or an integer tensor.")


def refuse_range(value: int) -> ValueError:
    """The error for steps that int64 does not hold."""
    return ValueError(f"step is out of range: {value}. Steps count the updates done before: from 0 to 2**63 - 1.")


def from_array(array: NDArray[Any]) -> NDArray[np.int64]:
    """An integer array as contiguous int64 of the same shape."""
    if array.dtype.kind not in "iu":
        raise refuse_kind(array)
    if array.dtype.kind == "u" and array.size and int(array.max()) > MAX_STEP:
        raise refuse_range(int(array.max()))
    return np.asarray(array, dtype=np.int64, order="C")


def require_integers(tensor: torch.Tensor) -> None:
    """Raise TypeError for a tensor of anything else."""
    if str(tensor.dtype) == "torch.bool" or tensor.dtype.is_floating_point or tensor.dtype.is_complex:
        raise refuse_kind(tensor)


def from_tensor(tensor: torch.Tensor) -> NDArray[np.int64]:
    """An integer tensor on any device as contiguous int64 of the same shape."""
    require_integers(tensor)
    return from_array(tensor.detach().cpu().numpy())


def from_any(steps: object) -> NDArray[np.int64] | range:
    """An integer array, tensor, list or tuple as contiguous int64; a range as it is."""
    if isinstance(steps, np.ndarray):
        return from_array(steps)
    if is_tensor(steps):
        return from_tensor(steps)  # type: ignore[arg-type]
    if isinstance(steps, range):
        ends = [steps[0], steps[-1]] if steps else []
    elif isinstance(steps, (list, tuple)) and all(type(step) is int for step in steps):
        ends = [min(steps), max(steps)] if steps else []
    else:
        raise refuse_kind(steps)
    for end in ends:
        if not 0 <= end <= MAX_STEP:
            raise refuse_range(end)
    return steps if isinstance(steps, range) else np.array(steps, dtype=np.int64)


def evaluate(programs: Sequence[_core.Program], steps: NDArray[np.int64] | range, out: NDArray[Any]) -> None:
    """Write values of shape [programs, N] at one-dimensional steps, on torch's number of threads."""
    torch_module = sys.modules.get("torch")
    threads = 1 if torch_module is None else torch_module.get_num_threads()
    _core.evaluate(programs, steps, out, threads)


def row(program: _core.Program, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """One program's values, of the steps' shape."""
    values = np.empty((1, steps.size))
    evaluate([program], steps.reshape(-1), values)
    return values.reshape(steps.shape)


def values_at(program: _core.Program, t: object) -> float | NDArray[np.float64] | torch.Tensor:
    """One program at an integer, an array or a tensor: a float, an array or a tensor of the same shape."""
    if isinstance(t, (int, np.integer)) and not isinstance(t, bool):
        return program(int(t))
    if isinstance(t, np.ndarray):
        return row(program, from_array(t))
    if is_tensor(t):
        return tensor_at(program, t)  # type: ignore[arg-type]
    raise refuse_kind(t)


def tensor_at(program: _core.Program, t: torch.Tensor) -> torch.Tensor:
    """One program at an integer tensor: float64 of the same shape on the same device."""
    if _core.on_cuda(t):
        from fastlr.schedules import gpu  # after this module, which it needs

        return gpu.at_tensor(program, t)  # type: ignore[no-any-return]
    result: torch.Tensor = sys.modules["torch"].from_numpy(row(program, from_tensor(t))).to(t.device)
    return result
