"""State that a step makes: buffers while a CUDA graph is captured, and torch's count of updates."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.optim.optimizer import _get_scalar_dtype


def aside(tensor: torch.Tensor, stream: int) -> AbstractContextManager[Any]:
    """Within it, work on the tensor's device is done on a stream that is not captured (a CUstream; 0: as outside).

    Memory that is allocated on the captured one is the graph's: its temporaries use it again, and replays fill it anew.
    """
    if stream == 0 or not tensor.is_cuda:
        return nullcontext()
    return torch.cuda.stream(torch.cuda.ExternalStream(stream, device=tensor.device))  # type: ignore[no-untyped-call]


def scalar_on(scalar: torch.Tensor, device: int) -> torch.Tensor:
    """A gradient scaler's number as float32 on that GPU, where the core reads it."""
    return scalar.detach().to(dtype=torch.float32, device=f"cuda:{device}")


def as_step(value: Any) -> torch.Tensor:
    """The number, or None for 0, as torch counts a parameter's updates: a CPU tensor without dimensions."""
    return torch.tensor(0.0 if value is None else float(value), dtype=_get_scalar_dtype(), device="cpu")  # type: ignore[no-untyped-call]
