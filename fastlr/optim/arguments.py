"""What the rules share: checks of torch's arguments, and the values for torch's operators."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from fastlr.optim import groups
from fastlr.schedules import Schedule, plateau


def check_rate_tensor(lr: Any) -> None:
    """Raise ValueError for a learning rate that is a tensor of several elements."""
    if isinstance(lr, torch.Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")


def check_exclusive(fused: bool | None, foreach: bool | None, differentiable: bool) -> None:
    """Raise RuntimeError, as torch does, for implementations that exclude each other."""
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def betas(values: dict[str, Any]) -> tuple[Any, Any]:
    """Both betas, each a number, a tensor or the schedule that it follows."""
    pair = values.get("betas")
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"Invalid betas: {pair!r}. Give a pair of numbers or schedules.")
    return values.get("beta1", pair[0]), values.get("beta2", pair[1])


def check_betas(values: dict[str, Any]) -> None:
    """Raise ValueError unless both betas (of a schedule: all its values) are in [0, 1)."""
    for index, beta in enumerate(betas(values)):
        plateau.require_outermost(f"beta{index + 1}", beta, allowed=False)
        if isinstance(beta, torch.Tensor) and beta.numel() != 1:
            raise ValueError(f"Tensor betas[{index}] must be 1-element")
        beta = beta.detach() if isinstance(beta, torch.Tensor) else beta
        low, high = (beta.minimum_value, beta.peak) if isinstance(beta, Schedule) else (beta, beta)
        if not (low >= 0.0 and high < 1.0):
            shown = f"{beta!r}, which goes from {low} to {high}" if isinstance(beta, Schedule) else f"{beta}"
            raise ValueError(
                f"Invalid beta parameter at index {index}: {shown}. Give a number in [0, 1) or a schedule of such."
            )


def in_use(group: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
    """What an update uses of what may be scheduled, for torch's operators: tensors that follow no schedule stay."""
    follows = {name: group[groups.schedule_key(name)] is not None for name in values}
    return {name: value if follows[name] else groups.value(group, name) for name, value in values.items()}


def check_fused(params: list[torch.Tensor]) -> None:
    """Raise RuntimeError where ``fused=True`` meets what torch's fused kernels do not take either."""
    devices = _get_fused_kernels_supported_devices()
    for param in params:
        if param.device.type not in devices or not param.is_floating_point() or param.grad.is_sparse:  # type: ignore[union-attr]
            raise RuntimeError(
                f"`fused=True` requires dense floating point parameters and gradients on one of {', '.join(devices)}: "
                f"{param.dtype} on {param.device}. Leave fused at None."
            )
