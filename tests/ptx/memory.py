"""Memory of a launch: registered ranges of real memory, the shared memory of each block, the parameters."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ptx.faults import Trap
from ptx.kinds import Array

# The widest access, and what every view of memory is a multiple of.
_WIDEST = 16
_NOBODY, _SEVERAL = -1, -2


@dataclass(order=True)
class _Range:
    begin: int
    end: int = field(compare=False)
    writable: bool = field(compare=False)
    written: npt.NDArray[np.bool_] | None = field(compare=False)  # None: as a whole from the start
    watched: bool = field(compare=False)
    owner: Any = field(compare=False)


class _Foreign:
    """Real memory as NumPy reads it."""

    def __init__(self, begin: int, size: int) -> None:
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": (size,), "data": (begin, False)}


class Memory:
    """Global memory: ranges of this process's own memory, worked on in place. All else is out of bounds."""

    def __init__(self) -> None:
        self._ranges: list[_Range] = []
        self._loaded = np.zeros(0, np.int64)  # bytes, for each range
        self._stored = np.zeros(0, np.int64)
        self._freeze()

    def add(self, owner: Any, **how: bool) -> int:
        """Register a NumPy array, ctypes object or CPU tensor, as add_range does; returns its address."""
        if hasattr(owner, "data_ptr"):
            address, size, whole = owner.data_ptr(), owner.numel() * owner.element_size(), owner.is_contiguous()
        else:
            array = owner if isinstance(owner, np.ndarray) else np.frombuffer(owner, np.uint8)
            address, size, whole = array.ctypes.data, array.nbytes, array.flags.c_contiguous
        if not whole:
            raise ValueError(f"memory is not contiguous: shape {tuple(owner.shape)}. Register the parts one by one.")
        self.add_range(address, size, owner, **how)
        return int(address)

    def add_range(
        self,
        address: int,
        size: int,
        owner: Any = None,
        *,
        initialised: bool = True,
        writable: bool = True,
        watched: bool = False,
    ) -> None:
        """Register `size` bytes from `address` on; `owner` is kept alive. An empty range adds nothing.

        initialised=False: reading a byte before a kernel has written it is a fault. writable=False: writing is one.
        watched=True: so is an access that may overlap with one of another thread's, at least one of them a store.
        """
        if size == 0:
            return
        written = None if initialised else np.zeros(size, bool)
        added = _Range(address, address + size, writable, written, watched, owner)
        place = bisect_right(self._ranges, added)
        before, after = self._ranges[:place], self._ranges[place:]
        if (before and before[-1].end > address) or (after and after[0].begin < added.end):
            raise ValueError(f"the range overlaps another: {size} bytes at {address:#x}. Register memory once.")
        self._ranges.insert(place, added)
        self._loaded, self._stored = (np.insert(each, place, 0) for each in (self._loaded, self._stored))
        self._freeze()

    def remove(self, address: int) -> None:
        """Forget the range that begins there, if there is one."""
        if self.holds(address):
            place = [each.begin for each in self._ranges].index(address)
            del self._ranges[place]
            self._loaded, self._stored = (np.delete(each, place) for each in (self._loaded, self._stored))
            self._freeze()

    def holds(self, address: int) -> bool:
        """Whether a range begins there."""
        return any(each.begin == address for each in self._ranges)

    def watched(self) -> list[tuple[int, int]]:
        """Address and bytes of each range that is watched."""
        return [(each.begin, each.end - each.begin) for each in self._ranges if each.watched]

    def traffic(self, address: int) -> tuple[int, int]:
        """Bytes loaded from and stored to the range that begins there, by all launches so far."""
        place = [each.begin for each in self._ranges].index(address)
        return int(self._loaded[place]), int(self._stored[place])

    def _freeze(self) -> None:
        self._begins = np.array([each.begin for each in self._ranges], np.uint64)
        self._ends = np.array([each.end for each in self._ranges], np.uint64)
        self._constant = np.array([not each.writable for each in self._ranges], bool)
        self._tracked = np.array([each.written is not None and not each.written.all() for each in self._ranges], bool)
        # One view over everything from the first range to the last: only addresses that were checked index it.
        self._base = self._ranges[0].begin // _WIDEST * _WIDEST if self._ranges else 0
        size = self._ranges[-1].end - self._base if self._ranges else 0
        self._bytes: Array = np.zeros(0, np.uint8)
        if size:
            self._bytes = np.asarray(_Foreign(self._base, -(-size // _WIDEST) * _WIDEST))

    def view(self, dtype: np.dtype[Any]) -> Array:
        return self._bytes.view(dtype)

    def locate(self, addresses: Array, size: int, *, store: bool) -> Array:
        """Byte positions in view() of accesses of `size` bytes, each of which is checked."""
        action = "store" if store else "load"
        _require_aligned(addresses, size, f"global {action}")
        which = np.searchsorted(self._begins, addresses, side="right") - 1
        inside = which >= 0
        if len(self._ends):
            inside &= addresses <= self._ends[which] - np.uint64(size)
        _require(inside, f"out-of-bounds global {action} of {size} bytes", addresses)
        if store:
            _require(~self._constant[which], f"global store of {size} bytes to read-only memory", addresses)
        counts = self._stored if store else self._loaded
        times = np.bincount(which, minlength=counts.size)
        counts += times * size
        for i in np.flatnonzero(self._tracked & (times > 0)):
            self._track(int(i), which == i, addresses, size, store)
        found: Array = (addresses - np.uint64(self._base)).astype(np.intp)
        return found

    def _track(self, place: int, here: Array, addresses: Array, size: int, store: bool) -> None:
        """Notes the bytes that are stored, and refuses to load others."""
        written = self._ranges[place].written
        assert written is not None
        begin = (addresses[here] - self._begins[place]).astype(np.intp)
        touched = begin[:, None] + np.arange(size)
        if store:
            written[touched] = True
            self._tracked[place] = not written.all()
            return
        known = ~here
        known[here] = written[touched].all(axis=1)
        _require(known, f"global load of {size} bytes that nobody has written", addresses)


class Shared:
    """The shared memory of every block, with what each byte was used for since its block's last barrier."""

    def __init__(self, blocks: int, size: int) -> None:
        self.size = size
        self.stride = -(-size // _WIDEST) * _WIDEST
        self._bytes = np.zeros(blocks * self.stride, np.uint8)
        self._written = np.zeros(blocks * self.stride, bool)
        self._writer = np.full(blocks * self.stride, _NOBODY, np.int32)
        self._reader = np.full(blocks * self.stride, _NOBODY, np.int32)

    def view(self, dtype: np.dtype[Any]) -> Array:
        return self._bytes.view(dtype)

    def barrier(self, block: int) -> None:
        """What came before is ordered before what comes after."""
        span = slice(block * self.stride, (block + 1) * self.stride)
        self._writer[span] = _NOBODY
        self._reader[span] = _NOBODY

    def locate(self, addresses: Array, size: int, *, store: bool, blocks: Array, threads: Array) -> Array:
        """Byte positions in view() of one access by each of `threads`, which are numbered over the whole grid."""
        action = "store" if store else "load"
        _require_aligned(addresses, size, f"shared {action}")
        inside = addresses <= np.uint64(max(self.size - size, 0))
        _require(inside & (size <= self.size), f"out-of-bounds shared {action} of {size} bytes", addresses)
        begin: Array = addresses.astype(np.intp) + blocks * self.stride
        touched, thread = begin[:, None] + np.arange(size), threads[:, None].astype(np.int32)
        other = (self._writer[touched] != _NOBODY) & (self._writer[touched] != thread)
        reader = self._reader[touched]
        if store:
            other |= (reader != _NOBODY) & (reader != thread)
            self._writer[touched] = thread
            other |= self._writer[touched] != thread  # two of the threads store to one byte
            self._written[touched] = True
        else:
            known = self._written[touched].all(axis=1)
            _require(known, f"shared load of {size} bytes that nobody has written", addresses)
            now = np.where((reader == _NOBODY) | (reader == thread), thread, _SEVERAL)
            self._reader[touched] = now
            self._reader[touched[self._reader[touched] != now]] = _SEVERAL
        _require(~other.any(axis=1), f"data race in a shared {action} of {size} bytes", addresses)
        return begin


class Parameters:
    """The kernel's arguments, one after another. Never written."""

    def __init__(self, content: bytes) -> None:
        self._size = len(content)
        self._bytes = np.frombuffer(content.ljust(-(-len(content) // _WIDEST) * _WIDEST, b"\0"), np.uint8)

    def view(self, dtype: np.dtype[Any]) -> Array:
        return self._bytes.view(dtype)

    def locate(self, addresses: Array, size: int) -> Array:
        _require_aligned(addresses, size, "parameter load")
        inside = addresses <= np.uint64(max(self._size - size, 0))
        _require(inside & (size <= self._size), f"out-of-bounds parameter load of {size} bytes", addresses)
        found: Array = addresses.astype(np.intp)
        return found


def _require_aligned(addresses: Array, size: int, action: str) -> None:
    _require((addresses & np.uint64(size - 1)) == 0, f"misaligned {action} of {size} bytes", addresses)


def _require(good: Any, problem: str, addresses: Array) -> None:
    if not good.all():
        first = int(good.argmin())
        raise Trap(f"{problem} at {int(addresses[first]):#x}", first)
