"""Tensors that fastlr takes for CUDA tensors, in the CPU's memory, and the driver that stands in for CUDA's.

`CudaTensor` is a torch.Tensor whose DLPack exchange table, built around torch's own, says that it lies on device 0;
`on_device(tensor, 1)` gives one of device 1. Everything else is torch's: arithmetic, autograd, `.grad`, `empty_like`.
"""

import ctypes
import functools
from typing import Any

import torch
from standin_driver import Standin, Unavailable, load

CAPSULE_NAME = b"dlpack_exchange_api"  # kept: the capsule points to it
DEVICES = 4


def _capsule(standin: Standin, device: int) -> Any:
    own = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if own is None:
        raise Unavailable(f"torch {torch.__version__} has no DLPack exchange table")
    pointer, new = ctypes.pythonapi.PyCapsule_GetPointer, ctypes.pythonapi.PyCapsule_New
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    table = standin.dll.standin_table(ctypes.c_void_p(pointer(own, CAPSULE_NAME)), device)
    if table is None:
        raise Unavailable(f"the exchange table of torch {torch.__version__} gives no views")
    return new(table, CAPSULE_NAME, None)


class CudaTensor(torch.Tensor):
    """A tensor of device 0. Its subclasses are those of the other devices."""

    cuda_device = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if id(self) not in memo:
            copied = on_device(self.detach().clone(), self.cuda_device).requires_grad_(self.requires_grad)
            copied.grad = None if self.grad is None else self.grad.clone()
            memo[id(self)] = copied
        return memo[id(self)]

    @property
    def grad(self) -> torch.Tensor | None:  # type: ignore[override]
        """Autograd makes plain tensors of the gradients of every type; here they become this one, and stay it."""
        stored: torch.Tensor | None = torch.Tensor.grad.__get__(self)
        if stored is not None and type(stored) is not type(self):
            stored = stored.as_subclass(type(self))
            torch.Tensor.grad.__set__(self, stored)
        return stored

    @grad.setter
    def grad(self, value: torch.Tensor | None) -> None:
        torch.Tensor.grad.__set__(self, value)

    @grad.deleter
    def grad(self) -> None:
        torch.Tensor.grad.__delete__(self)


@functools.lru_cache(maxsize=1)
def types() -> list[type[CudaTensor]]:
    """The type of each device's tensors. Raises Unavailable where there is no stand-in, or torch has no such table."""
    standin = load()
    kinds = [CudaTensor, *(type(f"CudaTensor{i}", (CudaTensor,), {"cuda_device": i}) for i in range(1, DEVICES))]
    for device, kind in enumerate(kinds):
        kind.__dlpack_c_exchange_api__ = _capsule(standin, device)  # type: ignore[attr-defined]
    return kinds


def on_device(tensor: torch.Tensor, device: int = 0) -> torch.Tensor:
    """The same memory as a tensor of this device: a leaf that requires a gradient where `tensor` does, and has its."""
    kind = types()[device]
    moved = tensor.detach().as_subclass(kind).requires_grad_(tensor.requires_grad)
    if tensor.grad is not None:
        moved.grad = tensor.grad.as_subclass(kind)
    return moved


def on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as a plain tensor, which torch.equal and prints take for what it is."""
    return tensor.detach().as_subclass(torch.Tensor)


def module_on_device(module: torch.nn.Module, device: int = 0) -> torch.nn.Module:
    """Makes the module's parameters tensors of this device, in place."""
    for owner in module.modules():
        for name, param in list(owner.named_parameters(recurse=False)):
            setattr(owner, name, torch.nn.Parameter(on_device(param, device), param.requires_grad))
    return module
