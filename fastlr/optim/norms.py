"""Norms that need torch's operators: of gradients that the core does not read, and over the ranks of a mesh."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from fastlr.optim.stepping import Left, SteppingOptimizer

# What a sum of squares is added up over: a mesh of ranks and its dimensions that hold shards, and where it lies.
_Where = tuple[Any, tuple[int, ...], torch.device]


def norm_set(index: int, group: dict[str, Any]) -> int | None:
    """Which norm a group is clipped by: 0 is the shared one, 1 + index its own, None none."""
    if group["max_grad_norm"] is None:
        return None
    return 1 + index if group["norm_per_group"] else 0


def find(optimizer: SteppingOptimizer, left: Left, inverse_scale: float) -> list[float]:
    """The norms of all sets, nan where no group has one. Every rank has to call this."""
    sets = [norm_set(index, group) for index, group in enumerate(optimizer.param_groups)]
    totals: dict[_Where, torch.Tensor] = {}
    # From the parameters, which are the same on every rank; of the gradients a rank may have fewer.
    for place, group in zip(sets, optimizer.param_groups, strict=True):
        for param in group["params"] if place is not None else ():
            where = _where(param)
            if where not in totals:
                totals[where] = torch.zeros(1 + len(sets), dtype=torch.float64, device=where[-1])
    for param, of_set, square in optimizer._plan.squares():
        totals[_where(param)][of_set] += square
    for index, _, params in left:
        place = sets[index]
        for param in params if place is not None else ():
            totals[_where(param)][place] += _square(param)
    sums = [0.0] * (1 + len(sets))
    for where, total in totals.items():
        sums = [a + b for a, b in zip(sums, _over_ranks(where, total), strict=True)]
    return [math.sqrt(sum_) * inverse_scale if place in sets else math.nan for place, sum_ in enumerate(sums)]


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this rank holds of a DTensor; other tensors as they are."""
    return tensor.to_local() if is_distributed(tensor) else tensor  # type: ignore[attr-defined]


def is_distributed(tensor: torch.Tensor) -> bool:
    """Whether it is a DTensor, without importing their module."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def _where(param: torch.Tensor) -> _Where:
    if not is_distributed(param):
        return None, (), param.device
    placements = enumerate(param.placements)  # type: ignore[attr-defined]
    sharded = tuple(dim for dim, placement in placements if not (placement.is_replicate() or placement.is_partial()))
    return param.device_mesh, sharded, local(param).device  # type: ignore[attr-defined]


def _over_ranks(where: _Where, total: torch.Tensor) -> list[float]:
    mesh, sharded, _ = where
    if sharded and mesh.get_coordinate() is not None:
        for dim in sharded:
            torch.distributed.all_reduce(total, group=mesh.get_group(dim))
    values: list[float] = total.tolist()
    return values


def _square(param: torch.Tensor) -> torch.Tensor:
    """The sum of the squares of what this rank holds of the gradient."""
    grad = param.grad
    assert grad is not None
    if is_distributed(param) and is_distributed(grad):
        from torch.distributed.tensor import Replicate

        # Laid out as the parameter; parts of sums are added up before they are squared.
        placements = [Replicate() if p.is_partial() else p for p in param.placements]  # type: ignore[attr-defined]
        grad = grad.redistribute(placements=placements)  # type: ignore[attr-defined]
    values = added_up(grad).values() if grad.is_sparse else local(grad)
    wide = torch.complex128 if values.is_complex() else torch.float64
    norm: torch.Tensor = torch.linalg.vector_norm(values, dtype=wide)
    return norm.square()


def added_up(grad: torch.Tensor) -> torch.Tensor:
    """A sparse gradient with each element once; 16-bit ones in float32, where nothing overflows."""
    narrow = grad.dtype in (torch.float16, torch.bfloat16)
    return (grad.to(torch.float32) if narrow else grad).coalesce()
