"""All replicas at once by explicit batched products, for models that are a sequence of known layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastlr.searching.batches import split
from fastlr.sweeping.engines import losses
from fastlr.sweeping.engines.base import StackedEngine, Unsupported
from fastlr.sweeping.engines.layers import Form, Stack, rows
from fastlr.sweeping.engines.table import Layer, function_of
from fastlr.sweeping.replicas import Chunk, Replicas
from fastlr.sweeping.subject import Subject


class Batched(StackedEngine):
    """One product, or one grouped convolution, for a layer of all replicas; one loss and one backward pass."""

    def __init__(self, subject: Subject, replicas: Replicas) -> None:
        super().__init__(subject, replicas)
        if subject.forward is not None or subject.loss_fn is None:
            raise Unsupported("forward= may do anything with the model")
        self._layers = [(layer, function_of(layer)) for layer in _in_order(subject.template)]
        self._loss_fn = subject.loss_fn
        self._stacked = losses.stacked(subject.loss_fn)
        self._is_cross_entropy = losses.is_cross_entropy(self._stacked)
        self._other: losses.Stacked | None = None

    def _losses(self, chunk: Chunk, batch: Any) -> Tensor:
        return self._loss(*self._outputs(chunk, batch))

    def _train(self, chunk: Chunk, batch: Any) -> Tensor:
        if not self._is_cross_entropy:
            return super()._train(chunk, batch)
        outputs, target = self._outputs(chunk, batch)
        found = losses.with_gradient(outputs, target)
        if found is None:
            values = self._loss(outputs, target)
            values.sum().backward(inputs=chunk.params)  # type: ignore[no-untyped-call]
            return values.detach()
        outputs.backward(found[1])  # type: ignore[no-untyped-call]  # which reaches nothing but the chunk
        return found[0]

    def _outputs(self, chunk: Chunk, batch: Any) -> tuple[Tensor, Any]:
        """The outputs of all replicas, [R, B, ...], and the target."""
        inputs, named, target = split(batch)
        if named or len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            raise Unsupported("the model's input is not one tensor")
        stack = Stack(inputs[0], Form.SHARED)
        for layer, function in self._layers:
            stack = function(layer, chunk, stack)
        return rows(stack, chunk.size), target

    def _loss(self, outputs: Tensor, target: Any) -> Tensor:
        found = None if self._stacked is None else self._stacked(outputs, target)
        if found is not None:
            return found
        if self._other is None:
            self._other = losses.mapped(self._loss_fn)
            try:
                return self._other(outputs, target)  # type: ignore[return-value]
            except Exception:  # whatever torch.func has against it
                self._other = losses.looped(self._loss_fn)
        return self._other(outputs, target)  # type: ignore[return-value]


def _in_order(module: nn.Module) -> list[Layer]:
    """The layers of a sequence, and of the sequences in it. Raises Unsupported for hooks, which it would pass by."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    if any(vars(module).get(name) for name in hooks):
        raise Unsupported(f"{type(module).__name__} has hooks")
    if type(module).forward is not nn.Sequential.forward:
        return [module]
    return [layer for child in module.children() for layer in _in_order(child)]
