"""What a launch holds while it runs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ptx.faults import Trap
from ptx.kinds import Array, Lanes
from ptx.memory import Memory, Parameters, Shared
from ptx.races import Races

WARP = 32
Extent = tuple[int, int, int]
Declared = list[tuple[str, np.dtype[Any]]]


class Register:
    """One register of every thread, and which threads have written it."""

    __slots__ = ("_bits", "_views", "_written", "complete", "name")

    def __init__(self, name: str, dtype: np.dtype[Any], threads: int) -> None:
        self.name = name
        self.complete = False
        self._bits = np.empty(threads, dtype)
        self._views = {dtype: self._bits}
        self._written = np.zeros(threads, bool)

    def view(self, dtype: np.dtype[Any]) -> Array:
        found = self._views.get(dtype)
        if found is None:
            found = self._views[dtype] = self._bits.view(dtype)
        return found

    def read(self, lanes: Lanes, dtype: np.dtype[Any]) -> Array:
        if not self.complete:
            written = self._written[lanes]
            if not written.all():
                raise Trap(f"read of the never-written register {self.name}", int(written.argmin()))
            self.complete = written.size == self._bits.size
        array: Array = self.view(dtype)[lanes]
        return array

    def write(self, lanes: Lanes, values: Array, dtype: np.dtype[Any]) -> None:
        self.view(dtype)[lanes] = values
        if not self.complete:
            self._written[lanes] = True


class State:
    """Every thread's registers, and the memory. Threads are numbered over the whole grid, block after block."""

    def __init__(
        self, declared: Declared, memory: Memory, shared_bytes: int, arguments: bytes, grid: Extent, block: Extent
    ) -> None:
        self.memory = memory
        self.sequence: Callable[[int], Array] = np.arange  # of threads that one instruction serves one after another
        self.threads_per_block = block[0] * block[1] * block[2]
        self.blocks = grid[0] * grid[1] * grid[2]
        self.thread = np.arange(self.blocks * self.threads_per_block)
        self.block, within = np.divmod(self.thread, self.threads_per_block)
        self.warp = self.block * -(-self.threads_per_block // WARP) + within // WARP
        self.shared = Shared(self.blocks, shared_bytes)
        self.races = Races(memory.watched(), self.blocks, self.thread.size)
        self.parameters = Parameters(arguments)
        self.special = self._special(grid, block, within)
        self._declared = declared
        self._registers: dict[int, Register] = {}

    def _special(self, grid: Extent, block: Extent, within: Array) -> dict[str, Array]:
        special: dict[str, Array] = {}
        for name, number, extent in (("tid", within, block), ("ctaid", self.block, grid)):
            parts = (number % extent[0], number // extent[0] % extent[1], number // (extent[0] * extent[1]))
            for axis, part, count in zip("xyz", parts, extent, strict=True):
                special[f"%{name}.{axis}"] = part.astype(np.uint32)
                special[f"%n{name}.{axis}"] = np.full(self.thread.shape, count, np.uint32)
        return special

    def register(self, slot: int) -> Register:
        """To read: at least one thread has written it."""
        found = self._registers.get(slot)
        if found is None:
            raise Trap(f"read of the never-written register {self._declared[slot][0]}")
        return found

    def target(self, slot: int) -> Register:
        """To write."""
        found = self._registers.get(slot)
        if found is None:
            found = self._registers[slot] = Register(*self._declared[slot], self.thread.size)
        return found
