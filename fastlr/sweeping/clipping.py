"""Gradients clipped by the norm of each replica, without waiting for a device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SMALL = 1e-6  # as in torch.nn.utils.clip_grad_norm_


def clip(grads: Sequence[Tensor], limit: float) -> Tensor:
    """Scale the gradients of each replica, stacked, by ``min(1, limit / (norm + 1e-6))``; returns the norms, [R].

    Where one is not finite, that replica's gradients are then not either.

    >>> grads = [torch.tensor([[3.0, 0.0], [0.3, 0.0]]), torch.tensor([4.0, 0.4])]
    >>> clip(grads, 1.0).tolist(), grads[1].tolist()
    ([5.0, 0.5], [0.7999998331069946, 0.4000000059604645])
    """
    norms: Tensor = torch.linalg.vector_norm(torch.stack([_norms(grad) for grad in grads]), dim=0)
    factors = (limit / (norms + SMALL)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factors.to(grad.dtype).view(-1, *[1] * (grad.dim() - 1)))
    return norms


def _norms(grad: Tensor) -> Tensor:
    dtype = torch.promote_types(grad.dtype, torch.float32)
    found: Tensor = torch.linalg.vector_norm(grad.reshape(len(grad), -1), dim=1, dtype=dtype)
    return found
