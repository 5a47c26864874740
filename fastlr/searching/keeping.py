"""What stands in containers and tensors at one time, to be put back."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch.optim import Optimizer

from fastlr.optim.scheduled import ScheduledOptimizer

_PLAIN = (bool, int, float, str, type(None))


class Kept:
    """Containers and the tensors in them, as they are now."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}  # held, so that no number is used twice
        self._containers: list[tuple[Any, Any]] = []
        self._tensors: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._leaves: list[tuple[torch.Tensor, torch.Tensor | None, bool]] = []
        self.optimizers: list[Optimizer] = []  # those met, wrapped ones too
        self._modules: list[tuple[torch.nn.Module, bool, dict[str, Any]]] = []

    def keep_module(self, module: torch.nn.Module) -> None:
        """A module with all that are in it."""
        for one in module.modules():
            plain = {name: value for name, value in vars(one).items() if type(value) in _PLAIN and name != "training"}
            self._modules.append((one, one.training, plain))
            self.keep(one._parameters)
            self.keep(one._buffers)

    def keep(self, value: Any) -> None:
        """A tensor, or a container with the tensors, containers and optimizers in it; anything else stays as it is."""
        if id(value) in self._seen:
            return
        if isinstance(value, torch.Tensor):
            self._seen[id(value)] = value
            self._keep_tensor(value)
        elif isinstance(value, Optimizer):
            self._seen[id(value)] = value
            self.optimizers.append(value)
            if isinstance(value, ScheduledOptimizer):
                value.sync()
            self.keep(vars(value))
        elif isinstance(value, (dict, list, set, deque, tuple)):
            self._seen[id(value)] = value
            contents = dict(value) if isinstance(value, dict) else tuple(value)
            if not isinstance(value, tuple):
                self._containers.append((value, contents))
            for one in contents.values() if isinstance(contents, dict) else contents:
                self.keep(one)

    def _keep_tensor(self, tensor: torch.Tensor) -> None:
        with torch.no_grad():
            self._tensors.append((tensor, distinct(tensor.detach()).clone()))
        if tensor.is_leaf:
            self._leaves.append((tensor, tensor.grad, tensor.requires_grad))

    def devices(self) -> set[str]:
        """The types of the devices in use."""
        return {tensor.device.type for tensor, _ in self._tensors}

    def begin(self) -> None:
        """Take the gradients away: those of the search are others."""
        for tensor, *_ in self._leaves:
            tensor.grad = None

    def restore(self) -> None:
        """Put everything back."""
        for container, contents in self._containers:
            container.clear()
            getattr(container, "extend" if isinstance(container, (list, deque)) else "update")(contents)
        with torch.no_grad():
            for tensor, value in self._tensors:
                distinct(tensor.detach()).copy_(value)
        for tensor, grad, requires_grad in self._leaves:
            if not tensor.is_leaf:  # a buffer into which something with a gradient was written
                tensor.detach_()
            tensor.requires_grad_(requires_grad)
            tensor.grad = grad
        for module, training, plain in self._modules:
            if module.training != training:
                module.training = training
            vars(module).update(plain)


def distinct(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without dimensions along which it is expanded: each element once, so that it can be written."""
    for dim, stride in enumerate(tensor.stride() if tensor.layout == torch.strided else ()):
        if stride == 0 and tensor.shape[dim] > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor
