"""State that a step makes: buffers while a CUDA graph is captured, and torch's count of updates."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.optimizer import _get_scalar_dtype


def zeros_aside(param: torch.Tensor, stream: int) -> torch.Tensor:
    """Zeros like the parameter, made now, on a stream that is not captured (a CUstream).

    Memory that is allocated on the captured one is the graph's: its temporaries use it again, and replays fill it anew.
    """
    if not param.is_cuda:
        return torch.zeros_like(param)
    aside = torch.cuda.ExternalStream(stream, device=param.device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(aside):
        return torch.zeros_like(param)


def as_step(value: Any) -> torch.Tensor:
    """The number, or None for 0, as torch counts a parameter's updates: a CPU tensor without dimensions."""
    return torch.tensor(0.0 if value is None else float(value), dtype=_get_scalar_dtype(), device="cpu")  # type: ignore[no-untyped-call]
