"""An optimizer whose steps with a recipe are the kernels' PTX: the norm's, and the one that updates."""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import cuda_structs as cuda
import torch
from ptx import Module
from ptx_step import DTYPES, DeviceOptimizer
from torch import Tensor

NORM_CHUNK = 16384
VECTOR = cuda.CONSTANTS["kRecipeVector"]
TILE = cuda.THREADS * VECTOR * cuda.CONSTANTS["kVectors"]


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


class RecipeOptimizer(DeviceOptimizer):
    """As the one without a recipe; what a group's entries say, as in fastlr's own groups, is done around the update."""

    def __init__(self, module: Module, rule: cuda.Rule, groups: Sequence[dict[str, Any]], **how: Any) -> None:
        self.clipped = [group.get("max_grad_norm") is not None for group in groups]
        super().__init__(module, rule, groups, **how)
        structs = [cuda.recipe_arguments(rule, bytes) for bytes in cuda.BYTES]
        self.arguments = cuda.arguments_of(module.kernel(f"fastlr_{rule.name}_recipe"), structs)
        self.norm_arguments = cuda.arguments_of(
            module.kernel("fastlr_norm"), [cuda.norm_arguments(bytes) for bytes in cuda.BYTES]
        )
        self.masters: list[Tensor | None] = []
        self.averages: list[Tensor | None] = []
        for param, g in zip(self.params, self.group_of, strict=True):
            narrow = param.dtype.itemsize == 2 and groups[g].get("master_weights", False)
            self.masters.append(param.detach().float() if narrow else None)
            average = torch.promote_types(param.dtype, torch.float32)
            averages = groups[g].get("ema_decay") is not None
            self.averages.append(param.detach().to(average, copy=True) if averages else None)
            for tensor in (self.masters[-1], self.averages[-1]):
                if tensor is not None:
                    self.memory.add(tensor)

    def _state_dtype(self, param: Tensor, group: dict[str, Any]) -> torch.dtype:
        """Beside a master float32, where nothing else is asked for."""
        has_master = param.dtype.itemsize == 2 and group.get("master_weights", False)
        return group.get("state_dtype") or (torch.float32 if has_master else param.dtype)

    def _recipe(self, group: dict[str, Any]) -> cuda.Recipe:
        recipe = cuda.Recipe(ema_decay=-1.0, max_grad_norm=math.inf, max_grad_value=math.inf)
        for name, _ in cuda.Recipe._fields_:
            if group.get(name) is not None:
                setattr(recipe, name, group[name])
        return recipe

    def update(self, grad_scale: Tensor | None = None, found_inf: Tensor | None = None) -> None:
        """One step over all parameters, each of which has a gradient."""
        scalars = [scalar for scalar in (grad_scale, found_inf) if scalar is not None]
        lent = [*scalars, *[grad for param in self.params if (grad := param.grad) is not None]]
        for tensor in lent:
            self.memory.add(tensor, writable=not any(tensor is scalar for scalar in scalars))
        if any(self.clipped):
            self._launch_norm(_address(grad_scale), _address(found_inf))
        places = list(range(len(self.params)))
        parts = [places[i : i + self.tensors_per_launch] for i in range(0, len(places), self.tensors_per_launch)]
        for part in parts:
            self._launch_recipe(part, part is parts[-1], _address(grad_scale), _address(found_inf))
        for tensor in lent:
            self.memory.remove(tensor.data_ptr())

    def _launch_norm(self, grad_scale: int, found_inf: int) -> None:
        measured = [place for place, g in enumerate(self.group_of) if self.clipped[g]]
        arguments: Any = self.norm_arguments(state=ctypes.addressof(self.state), last=1)
        arguments.grad_scale, arguments.found_inf = grad_scale, found_inf
        arguments.tensors = len(measured)
        for i, place in enumerate(measured):
            param = self.params[place]
            arguments.grad[i], arguments.size[i] = _address(param.grad), param.numel()
            arguments.group[i], arguments.dtype[i] = self.group_of[place], DTYPES.index(param.dtype)
            arguments.first_chunk[i] = arguments.chunks
            arguments.chunks += -(-param.numel() // NORM_CHUNK)
        sums, groups = (ctypes.c_double * arguments.chunks)(), (ctypes.c_int32 * arguments.chunks)()
        ranges = (ctypes.c_int32 * (2 * len(self.clipped)))()
        for name, block in (("sums", sums), ("groups", groups), ("ranges", ranges)):
            self.memory.add(block, initialised=False, watched=True)
            setattr(arguments, name, ctypes.addressof(block))
        kernel = self.module.kernel("fastlr_norm")
        kernel.launch(self.memory, [arguments], grid=max(arguments.chunks, 1), block=cuda.THREADS, **self.how)
        for block in (sums, groups, ranges):
            self.memory.remove(ctypes.addressof(block))

    def _launch_recipe(self, places: list[int], last: bool, grad_scale: int, found_inf: int) -> None:
        arguments: Any = self.arguments(state=ctypes.addressof(self.state), tensors=len(places), last=last)
        arguments.grad_scale, arguments.found_inf = grad_scale, found_inf
        arguments.tiles, arguments.clipped, chunks = self.tiles, any(self.clipped), 0
        for i, place in enumerate(places):
            param, master = self.params[place], self.masters[place]
            arguments.param[i], arguments.grad[i] = param.data_ptr(), _address(param.grad)
            arguments.master[i], arguments.average[i] = _address(master), _address(self.averages[place])
            for k, state in enumerate(self.kept[place]):
                arguments.buffer[k][i] = state.data_ptr()
                arguments.state_dtype[k][i] = DTYPES.index(state.dtype)
            arguments.size[i], arguments.rows[i], arguments.columns[i] = param.numel(), 1, 1
            arguments.place[i], arguments.group[i] = place, self.group_of[place]
            arguments.dtype[i], arguments.first_chunk[i] = DTYPES.index(param.dtype), chunks
            weights = param if master is None else master
            past = weights.data_ptr() // weights.element_size() % VECTOR
            chunks += -(-(past + param.numel()) // (self.tiles * TILE)) if param.numel() else 0
        self._run("recipe", arguments, max(chunks + last, 1))
