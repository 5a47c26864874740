"""Whether engines do the same: their losses, gradients and buffers, but for rounding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fastlr.sweeping.engines import Unsupported

ROUNDING = 1e-3  # what an engine may be off, as a part of the norm: a rounding may put a ReLU on the other side of 0
ON_GPU = 1e-2  # where products may be in TF32


class Outcome(NamedTuple):
    """What an engine has made of a pass."""

    losses: Tensor
    grads: list[Tensor]
    buffers: list[Tensor]


def difference(found: Outcome, expected: Outcome) -> str:
    """How they differ by more than rounding, else nothing."""
    if found.losses.shape != expected.losses.shape:
        return "its losses have another shape"
    if _apart([found.losses], [expected.losses]):
        return "its losses are others than those of one after another"
    # All together: a gradient that is 0 but for rounding has no digits of its own.
    if _apart(found.grads, expected.grads):
        return "its gradients are others than those of one after another"
    if any(_apart([mine], [other]) for mine, other in zip(found.buffers, expected.buffers, strict=True)):
        return "its buffers are others than those of one after another"
    return ""


def _apart(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether they are, of some replica, further apart than a part of their norm."""
    apart = whole = torch.zeros(())
    allowed = ROUNDING
    for mine, other in zip(found, expected, strict=True):
        exact = other.double().reshape(len(other), -1)
        apart = apart.to(exact.device) + (mine.double().reshape(len(other), -1) - exact).square().sum(1)
        whole = whole.to(exact.device) + exact.square().sum(1)
        if other.is_cuda:
            allowed = max(allowed, ON_GPU)
        if other.is_floating_point():
            allowed = max(allowed, 10.0 * torch.finfo(other.dtype).eps)
    return bool((apart.sqrt() > allowed * whole.sqrt()).any())


def shortened(error: Exception) -> str:
    """The first line of what an engine has against a model."""
    text = next(iter(str(error).strip().splitlines()), "")
    text = text if isinstance(error, Unsupported) else f"{type(error).__name__}: {text}"
    return text if len(text) <= 120 else f"{text[:117]}..."
