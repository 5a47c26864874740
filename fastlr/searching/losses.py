"""The loss of a batch, as the user defines it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from fastlr.searching.batches import split


def loss_of(
    model: Callable[..., Any],
    batch: Any,
    loss_fn: Callable[..., Any] | None,
    forward: Callable[[Any, Any], Any] | None,
) -> Tensor:
    """What `forward` says of the model and the batch, without it ``loss_fn(output, target)``; without dimensions.

    Raises TypeError for a batch that cannot be taken apart and for a loss that is no tensor, ValueError for one of
    several numbers.
    """
    if forward is not None:
        return _checked(forward(model, batch))
    inputs, named, target = split(batch)
    return _checked(loss_fn(model(*inputs, **named), target))  # type: ignore[misc]  # there is one of the two


def require_finite(loss: float) -> None:
    """Raise ValueError for a first loss that no training can begin with."""
    if not math.isfinite(loss):
        raise ValueError(f"The loss is not finite before any update: {loss}. Look at the model and its inputs.")


def _checked(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor):
        raise TypeError(f"The loss is no tensor: {type(loss).__name__}. Return the tensor to call backward() on.")
    if loss.numel() != 1 or loss.is_complex():
        raise ValueError(
            f"The loss is no number: {loss.dtype} of shape {list(loss.shape)}. Average it, as with reduction='mean'."
        )
    return loss.reshape(())
