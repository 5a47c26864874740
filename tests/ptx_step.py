"""An optimizer whose steps are the kernels' PTX: what csrc/cuda/state.h asks of a host around them."""

import ctypes
import math
from collections.abc import Iterator, Sequence
from typing import Any

import cuda_structs as cuda
import torch
from ptx import Memory, Module
from torch import Tensor

from fastlr.schedules import Schedule

# In the order of csrc/dtype.h.
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
WORD = 8
# What torch's groups call it, by the rules' names.
ENTRIES = {"decoupled": "decoupled_weight_decay"}


def entry(group: dict[str, Any], name: str) -> Any:
    """The value or schedule that a group gives for a member of Hyper; 0 where it gives none."""
    if name in ("beta1", "beta2"):
        return group["betas"][name == "beta2"]
    return group.get(ENTRIES.get(name, name), 0.0)


class DeviceOptimizer:
    """Parameters, gradients and state stay where they are, in the memory of the CPU: the kernels work on them.

    State that a first update writes, and the optimizer's own, begins as memory that nobody has written, so that reading
    any of it too early is a fault.
    """

    def __init__(
        self,
        module: Module,
        rule: cuda.Rule,
        groups: Sequence[dict[str, Any]],
        *,
        offset: int = 0,
        tiles: int = 1,
        tensors_per_launch: int | None = None,
        **how: Any,
    ) -> None:
        """offset: elements before each tensor of the state. how: the order and seed of the launches."""
        self.module, self.rule, self.tiles, self.how = module, rule, tiles, how
        self.tensors_per_launch = tensors_per_launch or rule.tensors(cuda.BYTES[0])
        structs = [cuda.step_arguments(rule, bytes) for bytes in cuda.BYTES]
        self.arguments = cuda.arguments_of(module.kernel(f"fastlr_{rule.name}_mixed"), structs)
        self.memory = Memory()
        self.params: list[Tensor] = [param for group in groups for param in group["params"]]
        self.group_of = [g for g, group in enumerate(groups) for _ in group["params"]]
        # By parameter and by state: what an update of its group keeps.
        self.kept: list[list[Tensor]] = []
        for param, g in zip(self.params, self.group_of, strict=True):
            self.memory.add(param)
            count = len(rule.states) - ("amsgrad" in rule.flags and not groups[g].get("amsgrad", False))
            dtype = self._state_dtype(param, groups[g])
            empty = torch.full((offset + param.numel(),), torch.nan if rule.writes_first else 0.0, dtype=dtype)
            self.kept.append([empty.clone()[offset:] for _ in range(count)])
            for state in self.kept[-1]:
                self.memory.add(state, initialised=not rule.writes_first)
        self.state = cuda.StepState()
        self.groups = (cuda.GroupState * len(groups))()
        self.values = (cuda.step_values(rule) * (2 * len(groups)))()
        self.updates = (ctypes.c_int64 * len(self.params))()
        self.clips = (cuda.Clip * len(groups))()
        for block in (self.state, self.groups, self.values, self.updates, self.clips):
            self.memory.add(block, initialised=False, watched=True)
        self._write(self._initial(groups))

    def _initial(self, groups: Sequence[dict[str, Any]]) -> list[tuple[Any, Any]]:
        """Where the state lies, and what the host writes there."""
        state = cuda.StepState(group_count=len(groups))
        state.groups, state.values = ctypes.addressof(self.groups), ctypes.addressof(self.values)
        state.updates, state.clips = ctypes.addressof(self.updates), ctypes.addressof(self.clips)
        described = [(self.groups[g], self._describe(group)) for g, group in enumerate(groups)]
        return [(self.state, state), *described, (self.updates, type(self.updates)())]

    def _describe(self, group: dict[str, Any]) -> cuda.GroupState:
        described = cuda.GroupState(clock=group.get("clock", 0), held=group.get("held", 0), recipe=self._recipe(group))
        hyper: Any = cuda.hyper(self.rule)()
        for name in self.rule.numbers + self.rule.flags:
            value = entry(group, name)
            if not isinstance(value, Schedule):
                setattr(hyper, name, value)
                continue
            followed = described.follows[self.rule.scheduled.index(name)]
            followed.program = cuda.program_view(value, self.memory)
            followed.scale = group.get("lr_scale", 1.0) if name == "lr" else 1.0
            followed.offset = getattr(type(hyper), name).offset
        ctypes.memmove(described.hyper, ctypes.byref(hyper), ctypes.sizeof(hyper))
        return described

    def _state_dtype(self, param: Tensor, group: dict[str, Any]) -> torch.dtype:
        return param.dtype

    def _recipe(self, group: dict[str, Any]) -> cuda.Recipe:
        """Nothing around the rule's update."""
        return cuda.Recipe(ema_decay=-1.0, max_grad_norm=math.inf, max_grad_value=math.inf)

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
            self._run("prepare", arguments, 1)

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
            for k, state in enumerate(self.kept[place]):
                arguments.buffer[k][i] = state.data_ptr()
            arguments.size[i], arguments.place[i], arguments.group[i] = param.numel(), place, self.group_of[place]
            arguments.dtype[i] = DTYPES.index(param.dtype)
            arguments.first_chunk[i] = chunks
            chunks += self._chunks(param)
        dtypes = {self.params[place].dtype for place in places}
        own = {frozenset({torch.float32}): "float32", frozenset({torch.bfloat16}): "bfloat16"}
        self._run(own.get(frozenset(dtypes), "mixed"), arguments, max(chunks + last, 1))

    def _chunks(self, param: Tensor) -> int:
        """Chunks are counted from the 16-byte boundary at or before the first element."""
        if param.numel() == 0:
            return 0
        size = param.data_ptr() % cuda.VECTOR_BYTES + param.numel() * param.element_size()
        return -(-size // (self.tiles * cuda.TILE_BYTES))

    def _run(self, part: str, arguments: ctypes.Structure, blocks: int) -> None:
        kernel = self.module.kernel(f"fastlr_{self.rule.name}_{part}")
        kernel.launch(self.memory, [arguments], grid=blocks, block=cuda.THREADS, **self.how)

    def present_values(self) -> list[Any]:
        """StepValues of each group, for the next update."""
        first = self.state.half * len(self.groups)
        return list(self.values[first : first + len(self.groups)])


def _pieces(target: Any, content: bytes) -> Iterator[tuple[int, bytes]]:
    """Writes that fit a launch."""
    limit = cuda.WORDS * WORD
    for begin in range(0, len(content), limit):
        yield ctypes.addressof(target) + begin, content[begin : begin + limit]
