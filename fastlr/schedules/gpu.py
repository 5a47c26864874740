"""Schedules at steps on a GPU: values there, in one launch, and nothing waits for them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from fastlr import _core
from fastlr.schedules import steps as step_arrays


def at_tensor(program: _core.Program, t: Any) -> Any:
    """One program at an integer tensor on a GPU: float64 of the same shape."""
    steps = _dense(t)
    values = steps.new_empty((1, steps.numel()), dtype=sys.modules["torch"].float64)
    _core.evaluate_cuda([program], steps, values)
    return values.reshape(t.shape)


def new_table(programs: Sequence[_core.Program], steps: Any, dtype: str) -> Any:
    """Values of shape [programs, steps] beside a one-dimensional tensor of steps."""
    dense = _dense(steps)
    values = dense.new_empty((len(programs), dense.numel()), dtype=getattr(sys.modules["torch"], dtype))
    _core.evaluate_cuda(programs, dense, values)
    return values


def write(programs: Sequence[_core.Program], steps: Any, out: Any) -> None:
    """Values into a tensor on a GPU, from steps on it, from a range, or from an array of the host's."""
    if step_arrays.is_tensor(steps):
        steps = _dense(steps)
    elif not isinstance(steps, range):
        steps = out.new_tensor(steps, dtype=sys.modules["torch"].int64)
    wanted = (len(programs), len(steps))
    if tuple(out.shape) != wanted:
        raise ValueError(f"out does not fit: shape {tuple(out.shape)} for {wanted}. Give one of that shape.")
    if out.numel() > 0 and out.stride(1) == 1:
        _core.evaluate_cuda(programs, steps, out.detach())
        return
    values = out.new_empty(wanted)
    _core.evaluate_cuda(programs, steps, values)
    out.detach().copy_(values)


def _dense(steps: Any) -> Any:
    step_arrays.require_integers(steps)
    return steps.detach().to(sys.modules["torch"].int64).reshape(-1).contiguous()
