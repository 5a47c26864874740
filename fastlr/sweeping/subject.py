"""The user's side of a sweep: a model and its loss on a batch. The model itself is never run, only copies of it."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from fastlr.searching.losses import loss_of, require_finite
from fastlr.searching.randomness import Randomness


class Look(NamedTuple):
    """What one pass through the model has shown."""

    trained: list[nn.Parameter]  # of the user's model: those that got a gradient
    unused: list[str]  # require a gradient and got none
    loss: float
    saved: int  # bytes kept for the backward pass


class Subject:
    """The model, how its loss comes about, and a copy whose structure the engines use."""

    def __init__(
        self, model: nn.Module, loss_fn: Callable[..., Any] | None, forward: Callable[[Any, Any], Any] | None
    ) -> None:
        _check(model, loss_fn, forward)
        self.model, self.loss_fn, self.forward = model, loss_fn, forward
        self.template = self.copied({})
        if not self.template.training:
            self.template.train()
        self._plain = [
            (one, {name: value for name, value in vars(one).items() if isinstance(value, (bool, int, float, str))})
            for one in self.template.modules()
        ]
        self.draws = False  # random numbers
        self.draws_elsewhere = False  # from the generators of Python or NumPy

    def reset(self) -> None:
        """Numbers and the like that the copy has kept as they were in the model."""
        for module, plain in self._plain:
            vars(module).update(plain)

    def copied(self, stand_ins: dict[int, Any]) -> nn.Module:
        """A copy of the model in which other tensors stand for those of these ids.

        Raises TypeError where the model cannot be copied.
        """
        try:
            return copy.deepcopy(self.model, dict(stand_ins))
        except Exception as error:
            raise TypeError(
                f"The model cannot be copied: {type(self.model).__name__} ({error}). A sweep trains copies of it; "
                "make copy.deepcopy(model) work, or give a model without what stands in its way."
            ) from error

    def loss(self, module: Callable[..., Any], batch: Any) -> Tensor:
        """The loss of one batch, as the user defines it."""
        return loss_of(module, batch, self.loss_fn, self.forward)

    def look(self, batch: Any, randomness: Randomness) -> Look:
        """Run a copy on the batch, once, and go back to the random numbers before.

        Raises:
            ValueError: The loss is not finite or has no gradient, or the model changes its input.
        """
        own = dict(self.template.named_parameters())
        drawn = drawn_by_torch(), drawn_elsewhere()
        inputs = [(tensor, version_of(tensor), tensor.detach().clone()) for tensor in tensors_in(batch)]
        saved = [0]

        def note(tensor: Tensor) -> Tensor:
            saved[0] += tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = self.loss(self.template, batch)
            if not loss.requires_grad:
                raise ValueError(
                    "The loss depends on no parameter that requires a gradient. Compute it from the model."
                )
            value = float(loss.detach())
            require_finite(value)
            loss.backward(inputs=[param for param in own.values() if param.requires_grad])  # type: ignore[no-untyped-call]
        self._require_unchanged(inputs)
        users = dict(self.model.named_parameters())
        trained = [users[name] for name, param in own.items() if param.grad is not None]
        unused = [name for name, param in own.items() if param.grad is None and param.requires_grad]
        if not trained:
            raise ValueError(f"No parameter of the model has a gradient: {type(self.model).__name__}. Train some.")
        for param in own.values():
            param.grad = None
            param.requires_grad_(False)
        self.draws_elsewhere = drawn_elsewhere() != drawn[1]
        self.draws = self.draws_elsewhere or drawn_by_torch() != drawn[0]
        randomness.restore()
        return Look(trained, unused, value, saved[0])

    def _require_unchanged(self, inputs: list[tuple[Tensor, int, Tensor]]) -> None:
        """Raise ValueError where the model has changed a tensor, given with its version and a copy, and undo it."""
        changed = [(tensor, before) for tensor, version, before in inputs if version_of(tensor) != version]
        if changed:
            with torch.no_grad():
                for tensor, before in changed:
                    tensor.copy_(before)
            raise ValueError(
                "The model changes its input in place, and every replica needs it as it was: "
                f"{type(self.model).__name__}. Have its first layer work on a copy."
            )


def _check(model: Any, loss_fn: Any, forward: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"Not a torch.nn.Module: {model!r}. Give the model itself.")
    if forward is not None and not callable(forward):
        raise TypeError(f"forward is no function: {forward!r}. Give a function of the model and a batch.")
    if forward is None and not callable(loss_fn):
        raise TypeError(f"loss_fn is no function: {loss_fn!r}. Give a function of the model's output and the target.")
    params = dict(model.named_parameters())
    for name, param in params.items():
        if is_lazy(param):
            raise ValueError(f"Parameter not initialised: {name!r}. Run the model once before.")
        if param.layout != torch.strided or type(param.data) is not Tensor:
            raise ValueError(
                f"A parameter that cannot be stacked: {name!r}, {type(param.data).__name__}. Use dense ones."
            )
    if not any(param.requires_grad for param in params.values()):
        raise ValueError(f"No parameter to train: {type(model).__name__}. Set requires_grad on some.")


def drawn_by_torch() -> bytes:
    """Where torch's generator of the CPU is."""
    return torch.get_rng_state().numpy().tobytes()


def drawn_elsewhere() -> tuple[Any, ...]:
    """Where the generators of Python and NumPy are."""
    return random.getstate(), pickle.dumps(np.random.get_state(legacy=False))


def version_of(tensor: Tensor) -> int:
    """How often it has been changed; 0 for tensors of the inference mode, which do not count."""
    return 0 if tensor.is_inference() else tensor._version


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of a batch."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for one in value for tensor in tensors_in(one)] if isinstance(value, (tuple, list)) else []
