"""Runs a kernel's threads. Those that stand at the same instruction execute it together, over arrays."""

from collections.abc import Iterator

import numpy as np

from ptx.code import Code, Kind
from ptx.faults import Fault, Trap
from ptx.kinds import Array, Lanes
from ptx.state import State

ORDERS = ("forward", "reversed", "together", "random")
# Instructions, each counted once for all threads that execute it together, after which a launch counts as endless.
LIMIT = 1_000_000


def run(name: str, program: list[Code], state: State, order: str, seed: int) -> int:
    """Every thread from the first instruction to its exit; returns how many instructions the threads executed."""
    if order not in ORDERS:
        raise ValueError(f"unknown order: {order}. Use one of {', '.join(ORDERS)}.")
    instructions = 0
    with np.errstate(all="ignore"):
        for threads in _batches(state, order):
            kind = _Random if order == "random" else _Ordered
            scheduler = kind(name, program, state, threads, seed)
            scheduler.run()
            instructions += scheduler.instructions
    return instructions


def _batches(state: State, order: str) -> Iterator[Array]:
    """The threads that may interleave, one set after another."""
    if order in ("together", "random"):
        yield state.thread
        return
    blocks = state.thread.reshape(state.blocks, state.threads_per_block)
    yield from blocks if order == "forward" else blocks[::-1]


def _lanes(threads: Array) -> Lanes:
    """A slice where the threads follow each other: a view instead of a copy."""
    first, last = int(threads[0]), int(threads[-1])
    return slice(first, last + 1) if last - first + 1 == threads.size else threads


class _Ordered:
    """The threads at the lowest instruction go first, so that branches meet again as soon as they can."""

    def __init__(self, name: str, program: list[Code], state: State, threads: Array, seed: int) -> None:
        self.name, self.program, self.state = name, program, state
        self.instructions = 0
        self._random = np.random.default_rng(seed)
        self._turns = 0
        self._at: dict[int, Array] = {0: threads} if threads.size else {}
        self._waiting: dict[int, Array] = {}
        counts = np.bincount(state.block[threads], minlength=state.blocks)
        self._threads, self._left = counts, np.zeros_like(counts)

    def run(self) -> None:
        while self._at:
            place, threads = self.choose(self._at)
            self.advance(place, threads)
            if not self._at and self._waiting:
                self._stuck()

    def choose(self, at: dict[int, Array]) -> tuple[int, Array]:
        place = min(at)
        return place, at.pop(place)

    def pauses(self, code: Code, following: int) -> bool:
        """Whether others may have a turn after this instruction."""
        return following in self._at

    def advance(self, place: int, threads: Array) -> None:
        """The threads run until they part, wait, leave or pause."""
        lanes, program = _lanes(threads), self.program
        while True:
            if place == len(program):
                self._leave(threads)
                return
            code = program[place]
            self.instructions += threads.size
            self._turns += 1
            if self._turns > LIMIT:
                raise self._fault("the launch does not end", code, threads[0])
            if code.kind in (Kind.private, Kind.visible):
                self._execute(code, threads, lanes)
                place += 1
                if self.pauses(code, place):
                    self._arrive(place, threads)
                    return
            else:
                self._control(code, place, threads, lanes)
                return

    def _execute(self, code: Code, threads: Array, lanes: Lanes) -> None:
        if code.step is None:
            return
        if code.guard is not None:
            threads = threads[self._allowed(code, threads, lanes)]
            if threads.size == 0:
                return
            lanes = _lanes(threads)
        try:
            code.step(self.state, lanes)
        except Trap as trap:
            raise self._fault(trap.problem, code, threads[trap.position]) from None

    def _allowed(self, code: Code, threads: Array, lanes: Lanes) -> Array:
        assert code.guard is not None
        try:
            return self.state.register(code.guard).read(lanes, np.dtype("?")) ^ code.negated
        except Trap as trap:
            raise self._fault(trap.problem, code, threads[trap.position]) from None

    def _control(self, code: Code, place: int, threads: Array, lanes: Lanes) -> None:
        taken, rest = threads, threads[:0]
        if code.guard is not None:
            allowed = self._allowed(code, threads, lanes)
            taken, rest = threads[allowed], threads[~allowed]
        self._arrive(place + 1, rest)
        if taken.size == 0:
            return
        if code.kind is Kind.branch:
            self._arrive(code.target, taken)
        elif code.kind is Kind.leave:
            self._leave(taken)
        else:
            self._wait(place, taken)

    def _arrive(self, place: int, threads: Array) -> None:
        if threads.size == 0:
            return
        there = self._at.get(place)
        self._at[place] = threads if there is None else np.sort(np.concatenate([there, threads]))

    def _leave(self, threads: Array) -> None:
        self._left += np.bincount(self.state.block[threads], minlength=self.state.blocks)

    def _wait(self, place: int, threads: Array) -> None:
        """At a barrier, until all of a block's threads are there."""
        there = self._waiting.pop(place, threads[:0])
        here = np.sort(np.concatenate([there, threads]))
        complete = np.bincount(self.state.block[here], minlength=self.state.blocks) == self._threads
        released = complete[self.state.block[here]]
        for block in np.unique(self.state.block[here[released]]):
            self.state.shared.barrier(int(block))
            self.state.races.barrier(int(block))
        self._arrive(place + 1, here[released])
        if not released.all():
            self._waiting[place] = here[~released]

    def _stuck(self) -> None:
        """Threads wait at barriers that nobody else will reach."""
        place, threads = min(self._waiting.items())
        block = self.state.block[threads[0]]
        waiting = sum(int((self.state.block[each] == block).sum()) for each in self._waiting.values())
        apart = any((self.state.block[each] == block).any() for at, each in self._waiting.items() if at != place)
        problem = f"barrier never completed, {self._left[block]} threads of the block have left and {waiting} wait"
        if apart:
            problem = "divergent barrier, threads of one block wait at different ones"
        raise self._fault(problem, self.program[place], threads[0])

    def _fault(self, problem: str, code: Code, thread: int) -> Fault:
        block, within = divmod(int(thread), self.state.threads_per_block)
        return Fault(problem, kernel=self.name, text=code.text, block=block, thread=within)


class _Random(_Ordered):
    """A random subset of the warps at a random instruction goes first, up to and with its next access to memory."""

    def __init__(self, name: str, program: list[Code], state: State, threads: Array, seed: int) -> None:
        super().__init__(name, program, state, threads, seed)
        self._warps = int(state.warp[-1]) + 1 if threads.size else 0
        state.sequence = self._random.permutation

    def choose(self, at: dict[int, Array]) -> tuple[int, Array]:
        place = list(at)[int(self._random.integers(len(at)))]
        threads = at.pop(place)
        share = self._random.choice([0.1, 0.5, 0.9, 1.0])
        chosen = (self._random.random(self._warps) < share)[self.state.warp[threads]]
        if chosen.any():
            self._arrive(place, threads[~chosen])
            threads = threads[chosen]
        return place, threads

    def pauses(self, code: Code, following: int) -> bool:
        return code.kind is Kind.visible
