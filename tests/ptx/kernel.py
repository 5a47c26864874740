"""Kernels ready to run: every instruction checked and turned into a step when the kernel is loaded."""

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ptx import access
from ptx.code import Code, Kind
from ptx.convert import conversion
from ptx.kinds import DTYPES
from ptx.memory import Memory
from ptx.operations import operation
from ptx.parse import Instruction, Source, entries, parse
from ptx.run import run
from ptx.state import Extent, State
from ptx.values import Scope, Step

_STEPS: dict[str, Callable[[Scope, Instruction], Step]] = {
    "mov": access.move,
    "ld": access.access,
    "st": access.access,
    "cvta": access.convert_address,
    "atom": access.atomic,
    "membar": access.fence,
    "cvt": conversion,
}


class Kernel:
    """One entry of a module."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self.parameter_bytes = source.parameter_bytes
        scope = Scope(source)
        self.code = [self._code(scope, instruction) for instruction in source.instructions]
        self._declared = [(name, DTYPES[kind]) for name, kind in source.registers.items()]

    def _code(self, scope: Scope, instruction: Instruction) -> Code:
        slot = None
        if instruction.guard is not None:
            if scope.types.get(instruction.guard) != "pred":
                raise instruction.refused("the guard is no predicate register")
            slot = scope.slots[instruction.guard]
        kind, step, target = Kind.private, None, 0
        if instruction.opcode == "bra":
            kind, target = Kind.branch, self._target(instruction)
        elif instruction.name == "ret":
            kind = Kind.leave
        elif instruction.name == "bar.sync" and instruction.operands == ("0",):
            kind = Kind.barrier
        else:
            step = _STEPS.get(instruction.opcode, operation)(scope, instruction)
            if instruction.opcode in ("ld", "st", "atom", "membar") and instruction.modifiers[0] != "param":
                kind = Kind.visible
        return Code(kind, instruction.text, step, slot, instruction.negated, target)

    def _target(self, instruction: Instruction) -> int:
        label = instruction.operands[0] if len(instruction.operands) == 1 else None
        if instruction.modifiers not in ((), ("uni",)) or label not in self.source.labels:
            raise instruction.refused("unknown branch")
        return self.source.labels[str(label)]

    def launch(
        self,
        memory: Memory,
        arguments: Iterable[Any],
        *,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        order: str = "forward",
        seed: int = 0,
    ) -> int:
        """Run the kernel over a grid; returns how many instructions the threads executed.

        arguments: a ctypes structure or NumPy scalar for each parameter.
        order: "forward" runs one block after another, "reversed" from the last one, "together" all in step, "random"
        lets random subsets of the warps advance, anew for each access to memory, as `seed` has it.
        """
        content = self._content(list(arguments))
        grid, block = _extent(grid), _extent(block)
        if self.source.max_threads is not None and np.prod(block) > self.source.max_threads:
            raise ValueError(f"a block is too large: {block}. {self.name} takes {self.source.max_threads} threads.")
        state = State(self._declared, memory, self.source.shared_bytes, content, grid, block)
        return run(self.name, self.code, state, order, seed)

    def _content(self, arguments: list[Any]) -> bytes:
        """The parameter space: the arguments' bytes at the parameters' offsets."""
        parts = [
            bytes(a) if isinstance(a, (bytes, ctypes.Structure, ctypes._SimpleCData)) else a.tobytes()
            for a in arguments
        ]
        sizes = [variable.size for variable in self.source.parameters]
        if [len(part) for part in parts] != sizes:
            raise ValueError(f"{self.name}'s arguments do not fit: {[len(p) for p in parts]} bytes. Pass {sizes}.")
        content = bytearray(self.parameter_bytes)
        for variable, part in zip(self.source.parameters, parts, strict=True):
            content[variable.offset : variable.offset + variable.size] = part
        return bytes(content)


def _extent(extent: int | Sequence[int]) -> Extent:
    x, y, z = (*([extent] if isinstance(extent, int) else extent), 1, 1, 1)[:3]
    return x, y, z


class Module:
    """The kernels of one PTX text, each loaded when it is first asked for."""

    def __init__(self, text: str) -> None:
        self._entries = entries(text)
        self._kernels: dict[str, Kernel] = {}

    def names(self) -> list[str]:
        return list(self._entries)

    def kernel(self, name: str) -> Kernel:
        if name not in self._kernels:
            self._kernels[name] = Kernel(parse(self._entries[name]))
        return self._kernels[name]
