"""The model as a function of its parameters, mapped over the replicas by torch.func."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from fastlr.sweeping.engines.base import StackedEngine
from fastlr.sweeping.replicas import Chunk, Replicas
from fastlr.sweeping.subject import Subject


class Vmapped(StackedEngine):
    """``vmap`` of the loss, whose backward pass autograd does; `functional`: of ``grad_and_value`` of the loss."""

    def __init__(self, subject: Subject, replicas: Replicas, *, functional: bool = False) -> None:
        super().__init__(subject, replicas)
        self._whole = _Whole(subject)
        users = dict(subject.model.named_parameters())
        self._names = [_name(param, users) for param in replicas.trained]
        buffers = dict(subject.model.named_buffers())
        self._buffer_names = [_name(buffer, buffers) for buffer in replicas.model_buffers]
        self._functional = functional

    def _losses(self, chunk: Chunk, batch: Any) -> Tensor:
        losses: Tensor = torch.vmap(self._function(batch), randomness="same")(chunk.params, chunk.buffers)
        return losses

    def _train(self, chunk: Chunk, batch: Any) -> Tensor:
        if not self._functional:
            return super()._train(chunk, batch)
        params = [param.detach() for param in chunk.params]
        grads, losses = torch.vmap(grad_and_value(self._function(batch)), randomness="same")(params, chunk.buffers)
        torch._foreach_add_(chunk.grads, list(grads))
        return losses.detach()  # type: ignore[no-any-return]

    def _function(self, batch: Any) -> Any:
        def loss(params: list[Tensor], buffers: list[Tensor]) -> Tensor:
            values = dict(zip(self._names, params, strict=True))
            values.update(zip(self._buffer_names, buffers, strict=True))
            found: Tensor = functional_call(self._whole, values, (batch,))
            return found

        return loss


class _Whole(nn.Module):
    """From a batch to its loss."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.model = subject.template
        self._loss = subject.loss

    def forward(self, batch: Any) -> Tensor:
        return self._loss(self.model, batch)


def _name(tensor: Tensor, named: dict[str, Any]) -> str:
    return next(f"model.{name}" for name, one in named.items() if one is tensor)
