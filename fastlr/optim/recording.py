"""State that is made while a CUDA graph is captured."""

from __future__ import annotations

import torch


def zeros_aside(param: torch.Tensor, stream: int) -> torch.Tensor:
    """Zeros like the parameter, made now, on a stream that is not captured (a CUstream).

    Memory that is allocated on the captured one is the graph's: its temporaries use it again, and replays fill it anew.
    """
    if not param.is_cuda:
        return torch.zeros_like(param)
    aside = torch.cuda.ExternalStream(stream, device=param.device)  # type: ignore[no-untyped-call]
    with torch.cuda.stream(aside):
        return torch.zeros_like(param)
