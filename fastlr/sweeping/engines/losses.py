"""Losses of stacked outputs: one call for all replicas where the loss is known, else as torch.func maps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# From the outputs [R, B, ...] and the target of all to R losses; None where it does not fit them.
Stacked = Callable[[Tensor, Any], Tensor | None]


def stacked(loss_fn: Callable[..., Any]) -> Stacked | None:
    """The loss over stacked outputs, for functions and modules of torch with default options; None for others."""
    if isinstance(loss_fn, nn.Module):
        default = _MODULES.get(type(loss_fn))
        if default is None or _settings(loss_fn) != _settings(type(loss_fn)()):
            return None
        loss_fn = default
    return next((stacked for function, stacked in _FUNCTIONS.items() if function is loss_fn), None)


def is_cross_entropy(loss: Stacked | None) -> bool:
    """Whether `with_gradient` says the same."""
    return loss is _cross_entropy


def mapped(loss_fn: Callable[..., Any]) -> Stacked:
    """The loss as torch.func maps it over the outputs."""
    return torch.vmap(loss_fn, in_dims=(0, None), randomness="same")


def looped(loss_fn: Callable[..., Any]) -> Stacked:
    """The loss of one output after another."""
    return lambda outputs, target: torch.stack([loss_fn(output, target) for output in outputs.unbind(0)])


def _settings(module: nn.Module) -> dict[str, Any]:
    """Everything that makes a module behave as it does, hooks included, but for its train flag."""
    return {name: value for name, value in vars(module).items() if name != "training"}


def _cross_entropy(outputs: Tensor, target: Any) -> Tensor | None:
    if outputs.dim() != 3 or target.dim() != 1 or target.is_floating_point():
        return None
    # The classes in the middle: neighbours in memory are of one class, which is several times as fast.
    scores = outputs.transpose(1, 2).contiguous()
    return _mean(F.cross_entropy(scores, target.expand(outputs.shape[0], -1), reduction="none"), target)


def _nll_loss(outputs: Tensor, target: Any) -> Tensor | None:
    if outputs.dim() != 3 or target.dim() != 1:
        return None
    return _mean(F.nll_loss(outputs.transpose(1, 2), target.expand(outputs.shape[0], -1), reduction="none"), target)


def _mean(losses: Tensor, target: Tensor) -> Tensor:
    """Over the samples of each replica, but for those whose target is ignored."""
    if target.is_cpu and target.numel() and int(target.min()) >= 0:
        return losses.mean(1)  # the usual case is the quicker one
    return losses.sum(1) / (target != -100).sum()


def with_gradient(outputs: Tensor, target: Any) -> tuple[Tensor, Tensor] | None:
    """The cross entropies and their gradients by the outputs, written out: half of autograd's time for small ones.

    >>> outputs = torch.zeros(1, 2, 4)
    >>> losses, gradient = with_gradient(outputs, torch.tensor([0, 3]))
    >>> [round(value, 4) for value in losses.tolist()], gradient[0, 0].tolist()
    ([1.3863], [-0.375, 0.125, 0.125, 0.125])
    """
    if outputs.dim() != 3 or target.dim() != 1 or target.dtype != torch.int64 or not target.is_cpu:
        return None
    if target.numel() == 0 or int(target.min()) < 0:
        return None
    count, size, _ = outputs.shape
    log_odds = F.log_softmax(outputs.detach().transpose(1, 2).contiguous(), 1)
    places = target.expand(count, 1, size)
    losses = log_odds.gather(1, places).mean((1, 2)).neg_()
    gradient = log_odds.exp_()
    gradient.scatter_add_(1, places, gradient.new_full((1, 1, 1), -1.0).expand(count, 1, size))
    return losses, gradient.div_(size).transpose(1, 2)


def _elementwise(function: Callable[..., Tensor]) -> Stacked:
    def losses(outputs: Tensor, target: Any) -> Tensor | None:
        if not isinstance(target, Tensor) or outputs.shape[1:] != target.shape:
            return None
        return function(outputs, target.expand_as(outputs), reduction="none").flatten(1).mean(1)

    return losses


_FUNCTIONS: dict[Any, Stacked] = {
    F.cross_entropy: _cross_entropy,
    F.nll_loss: _nll_loss,
    F.mse_loss: _elementwise(F.mse_loss),
    F.l1_loss: _elementwise(F.l1_loss),
    F.smooth_l1_loss: _elementwise(F.smooth_l1_loss),
    F.huber_loss: _elementwise(F.huber_loss),
    F.binary_cross_entropy: _elementwise(F.binary_cross_entropy),
    F.binary_cross_entropy_with_logits: _elementwise(F.binary_cross_entropy_with_logits),
}
_MODULES: dict[type[nn.Module], Any] = {
    nn.CrossEntropyLoss: F.cross_entropy,
    nn.NLLLoss: F.nll_loss,
    nn.MSELoss: F.mse_loss,
    nn.L1Loss: F.l1_loss,
    nn.SmoothL1Loss: F.smooth_l1_loss,
    nn.HuberLoss: F.huber_loss,
    nn.BCELoss: F.binary_cross_entropy,
    nn.BCEWithLogitsLoss: F.binary_cross_entropy_with_logits,
}
