"""An SGD whose steps are the kernels' PTX: what a host has to do around them, as csrc/cuda/state.h asks for it."""

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import cuda_structs as cuda
import torch
from ptx import Memory, Module
from torch import Tensor

from fastlr.schedules import Schedule

# In the order of csrc/dtype.h.
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
SCHEDULED = ("lr", "momentum", "weight_decay")
WORD = 8


class DeviceSgd:
    """Parameters, gradients and buffers stay where they are, in the memory of the CPU: the kernels work on them.

    Buffers and state begin as memory that nobody has written, so that reading any of it too early is a fault.
    """

    def __init__(
        self,
        module: Module,
        groups: Sequence[dict[str, Any]],
        *,
        offset: int = 0,
        tiles: int = 1,
        tensors_per_launch: int = cuda.TENSORS[0],
        **how: Any,
    ) -> None:
        """offset: elements before each buffer. how: the order and seed of the launches."""
        self.module, self.tiles, self.tensors_per_launch, self.how = module, tiles, tensors_per_launch, how
        self.arguments = cuda.arguments_of(module.kernel("fastlr_sgd_mixed"), cuda.step_arguments, cuda.TENSORS)
        self.memory = Memory()
        self.params: list[Tensor] = [param for group in groups for param in group["params"]]
        self.group_of = [g for g, group in enumerate(groups) for _ in group["params"]]
        self.buffers = [torch.full((offset + p.numel(),), torch.nan, dtype=p.dtype)[offset:] for p in self.params]
        for param, buffer in zip(self.params, self.buffers, strict=True):
            self.memory.add(param)
            self.memory.add(buffer, initialised=False)
        self.state = cuda.StepState()
        self.groups = (cuda.GroupState * len(groups))()
        self.values = (cuda.StepValues * (2 * len(groups)))()
        self.updates = (ctypes.c_int64 * len(self.params))()
        for block in (self.state, self.groups, self.values, self.updates):
            self.memory.add(block, initialised=False, watched=True)
        self._write(self._initial(groups))

    def _initial(self, groups: Sequence[dict[str, Any]]) -> list[tuple[Any, Any]]:
        """Where the state lies, and what the host writes there."""
        state = cuda.StepState(group_count=len(groups))
        state.groups, state.values = ctypes.addressof(self.groups), ctypes.addressof(self.values)
        state.updates = ctypes.addressof(self.updates)
        described = [(self.groups[g], self._describe(group)) for g, group in enumerate(groups)]
        return [(self.state, state), *described, (self.updates, type(self.updates)())]

    def _describe(self, group: dict[str, Any]) -> cuda.GroupState:
        constants = {name: value for name, value in group.items() if name in cuda.SgdHyper.__dict__}
        views = {name: constants.pop(name) for name in SCHEDULED if isinstance(constants.get(name), Schedule)}
        described = cuda.GroupState(lr_scale=group.get("lr_scale", 1.0), held=group.get("held", 0))
        described.clock = group.get("clock", 0)
        described.hyper = cuda.SgdHyper(**constants)
        for name, schedule in views.items():
            setattr(described, name, cuda.program_view(schedule, self.memory))
        return described

    def _write(self, writes: list[tuple[Any, Any]]) -> None:
        """By as many launches of the prepare kernel as it takes; the last one evaluates the present values."""
        pieces = [piece for target, content in writes for piece in _pieces(target, bytes(content))]
        while pieces:
            arguments = cuda.PrepareArguments(state=ctypes.addressof(self.state))
            used = 0
            while pieces and arguments.writes < cuda.WRITES and used + len(pieces[0][1]) // WORD <= cuda.WORDS:
                to, content = pieces.pop(0)
                arguments.write[arguments.writes] = cuda.Write(to, used, len(content) // WORD)
                ctypes.memmove(ctypes.addressof(arguments.payload) + used * WORD, content, len(content))
                arguments.writes += 1
                used += len(content) // WORD
            arguments.refresh = not pieces
            self._run("fastlr_prepare", arguments, 1)

    def step(self) -> None:
        """One step over the parameters that have a gradient."""
        present = [place for place, param in enumerate(self.params) if param.grad is not None]
        for place in present:
            self.memory.add(self.params[place].grad, writable=False)
        parts = [present[i : i + self.tensors_per_launch] for i in range(0, len(present), self.tensors_per_launch)]
        for part in parts or [[]]:
            self._launch(part, last=not parts or part is parts[-1])
        for place in present:
            grad = self.params[place].grad
            assert grad is not None
            self.memory.remove(grad.data_ptr())

    def _launch(self, places: list[int], *, last: bool) -> None:
        arguments: Any = self.arguments(state=ctypes.addressof(self.state), tensors=len(places), last=last)
        arguments.tiles, chunks = self.tiles, 0
        for i, place in enumerate(places):
            param, grad = self.params[place], self.params[place].grad
            assert grad is not None
            arguments.param[i], arguments.grad[i] = param.data_ptr(), grad.data_ptr()
            arguments.buffer[i] = self.buffers[place].data_ptr()
            arguments.size[i], arguments.place[i], arguments.group[i] = param.numel(), place, self.group_of[place]
            arguments.dtype[i] = DTYPES.index(param.dtype)
            arguments.first_chunk[i] = chunks
            chunks += self._chunks(param)
        dtypes = {self.params[place].dtype for place in places}
        name = str(dtypes.pop()).removeprefix("torch.") if len(dtypes) == 1 else "mixed"
        self._run(f"fastlr_sgd_{name}", arguments, chunks + last)

    def _chunks(self, param: Tensor) -> int:
        """Chunks are counted from the 16-byte boundary at or before the first element."""
        if param.numel() == 0:
            return 0
        size = param.data_ptr() % cuda.VECTOR_BYTES + param.numel() * param.element_size()
        return -(-size // (self.tiles * cuda.TILE_BYTES))

    def _run(self, kernel: str, arguments: ctypes.Structure, blocks: int) -> None:
        if blocks:
            self.module.kernel(kernel).launch(self.memory, [arguments], grid=blocks, block=cuda.THREADS, **self.how)

    def present_values(self) -> list[cuda.StepValues]:
        """Of each group, for the next update."""
        first = self.state.half * len(self.groups)
        return list(self.values[first : first + len(self.groups)])


def _pieces(target: Any, content: bytes) -> Iterator[tuple[int, bytes]]:
    """Writes that fit a launch."""
    limit = cuda.WORDS * WORD
    for begin in range(0, len(content), limit):
        yield ctypes.addressof(target) + begin, content[begin : begin + limit]
