"""Data races in watched global memory: which accesses are ordered, by barriers and by atomics behind a fence."""

from collections.abc import Sequence

import numpy as np

from ptx.faults import Trap
from ptx.kinds import Array

_WORD = 4
_NOBODY, _SEVERAL = 0, -1


class Races:
    """Watches words of 4 bytes during one launch.

    A block's epochs are what lies between its barriers. An atomic of a thread that has a fence behind its last access
    hands on what it knows to be over: the earlier epochs of its block, its own accesses, and what it was handed itself.
    The next thread with an atomic at that address takes it over, and at the next barrier its whole block does.
    """

    def __init__(self, ranges: Sequence[tuple[int, int]], blocks: int, threads: int) -> None:
        """ranges: (address, bytes) of what is watched. threads: of all blocks together."""
        blocks = blocks if ranges else 0
        self._begins = np.array([begin for begin, _ in ranges], np.uint64)
        self._ends = np.array([begin + size for begin, size in ranges], np.uint64)
        counts = [-(-size // _WORD) for _, size in ranges]
        self._first = np.cumsum([0, *counts])
        words = int(self._first[-1])
        self._over = np.eye(blocks, dtype=np.int32)  # [b, c]: epochs of c below this are over for all of b
        self._taken = np.zeros((blocks, blocks), np.int32)  # what one thread of b took over since its last barrier
        self._taker = np.full(blocks, -1)
        self._giver = np.full(blocks, -1)  # the thread that handed on last
        self._handed: dict[int, Array] = {}
        self._fenced = np.zeros(threads, bool)
        # Threads are counted from 1 here. Readers for each block, as every one of them comes before a store.
        self._writer, self._written = np.zeros(words, np.int32), np.zeros(words, np.int32)
        self._atomic = np.zeros(words, bool)
        self._reader, self._read = (np.zeros((words, blocks), np.int32) for _ in range(2))

    def barrier(self, block: int) -> None:
        """All of the block's threads have come to a barrier."""
        if len(self._over) == 0:
            return
        self._over[block] = np.maximum(self._over[block], self._taken[block])
        self._over[block, block] += 1
        self._taken[block], self._taker[block] = 0, -1

    def fence(self, threads: Array) -> None:
        self._fenced[threads] = True

    def hand_on(self, address: int, thread: int, block: int) -> None:
        """One thread's atomic."""
        if len(self._over) == 0:
            return
        handed = self._handed.get(address, self._taken[block] * 0)
        if handed.any():
            self._taken[block], self._taker[block] = np.maximum(self._taken[block], handed), thread
        if self._fenced[thread]:
            known = np.maximum(self._over[block], self._taken[block] * (self._taker[block] == thread))
            self._handed[address] = np.maximum(handed, known)
            self._giver[block] = thread

    def check(self, addresses: Array, size: int, threads: Array, blocks: Array, *, store: bool, atomic: bool) -> None:
        """Refuse accesses that others to the same words may overlap with."""
        if len(self._over) == 0:
            return
        if not atomic:
            self._fenced[threads] = False
        which = np.searchsorted(self._begins, addresses, side="right") - 1
        watched = np.flatnonzero((which >= 0) & (addresses < np.append(self._ends, np.uint64(0))[which]))
        if watched.size == 0:
            return
        which, span = which[watched], np.arange(-(-size // _WORD))
        first = self._first[which] + (addresses[watched] - self._begins[which]).astype(np.intp) // _WORD
        words = (first[:, None] + span).ravel()
        lanes, thread, block = (np.repeat(each, span.size) for each in (watched, threads[watched], blocks[watched]))
        good = self._after_writers(words, thread, block, atomic)
        if store:
            good &= self._after_readers(words, thread, block)
            good &= self._note_store(words, thread, block, atomic)
        else:
            self._note_load(words, thread, block)
        if not good.all():
            action = "atomic" if atomic else "store" if store else "load"
            lane = int(lanes[int(good.argmin())])
            raise Trap(f"data race in a global {action} of {size} bytes at {int(addresses[lane]):#x}", lane)

    def _ordered(self, thread: Array, block: Array, other: Array, where: Array, epoch: Array) -> Array:
        """Whether an access of thread `other`, counted from 1, in an epoch of block `where` is over."""
        over = np.maximum(self._over[block, where], self._taken[block, where] * (self._taker[block] == thread))
        given = (epoch == over) & (where != block) & (other - 1 == self._giver[where])
        return np.asarray((other == _NOBODY) | (other - 1 == thread) | (epoch < over) | given)

    def _after_writers(self, words: Array, thread: Array, block: Array, atomic: bool) -> Array:
        writer = self._writer[words]
        where = np.maximum(writer - 1, 0) // (self._fenced.size // len(self._over))
        ordered = self._ordered(thread, block, writer, where, self._written[words])
        return np.asarray(ordered | (self._atomic[words] & atomic))

    def _after_readers(self, words: Array, thread: Array, block: Array) -> Array:
        where = np.arange(len(self._over))
        ordered = self._ordered(thread[:, None], block[:, None], self._reader[words], where, self._read[words])
        return np.asarray(ordered.all(axis=1))

    def _note_store(self, words: Array, thread: Array, block: Array, atomic: bool) -> Array:
        """Whether no two of the threads store to one word, unless by atomics."""
        self._writer[words], self._written[words] = thread + 1, self._over[block, block]
        self._atomic[words] = atomic
        self._reader[words] = _NOBODY
        return np.asarray((self._writer[words] == thread + 1) | atomic)

    def _note_load(self, words: Array, thread: Array, block: Array) -> None:
        epoch = self._over[block, block]
        same = (self._read[words, block] == epoch) & (self._reader[words, block] != _NOBODY)
        reader = np.where(same & (self._reader[words, block] != thread + 1), _SEVERAL, thread + 1)
        self._reader[words, block], self._read[words, block] = reader, epoch
        lost = self._reader[words, block] != reader
        self._reader[words[lost], block[lost]] = _SEVERAL
