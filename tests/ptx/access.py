"""Instructions that move values: mov, ld, st and atom."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ptx.faults import Trap
from ptx.kinds import DTYPES, Array, Lanes
from ptx.parse import Address, Instruction, Operand
from ptx.state import State
from ptx.values import Reader, Scope, Step

_SPACES = ("param", "shared", "global")
# Where generic addresses of shared memory begin, far above those of this process's memory.
_WINDOW = np.uint64(1 << 60)
# A space's memory, and the byte positions in it of the accesses.
Located = tuple[Callable[[np.dtype[Any]], Array], Array]
Locator = Callable[[State, Lanes], Located]


def move(scope: Scope, instruction: Instruction) -> Step:
    """mov of a value, of a variable's address, and between one register and several that make it up."""
    if len(instruction.modifiers) != 1 or instruction.modifiers[0] not in DTYPES or len(instruction.operands) != 2:
        raise instruction.refused("unknown instruction")
    kind, (target, source) = instruction.modifiers[0], instruction.operands
    if isinstance(target, tuple):
        return _unpack(scope, instruction, target, source, kind)
    write = scope.writer(instruction, target, kind)
    if isinstance(source, tuple):
        part = _part(instruction, kind, len(source))
        readers = [scope.reader(instruction, each, part) for each in source]
        whole = DTYPES[kind]

        def pack(state: State, lanes: Lanes) -> None:
            columns = np.stack(np.broadcast_arrays(*[read(state, lanes) for read in readers]), axis=-1)
            write(state, lanes, columns.view(whole)[..., 0])

        return pack
    address = scope.address_of(source) if isinstance(source, str) else None
    if address is not None:
        constant = np.array(address, DTYPES[kind])[()]
        return lambda state, lanes: write(state, lanes, constant)
    read = scope.reader(instruction, source, kind)
    return lambda state, lanes: write(state, lanes, read(state, lanes))


def _unpack(scope: Scope, instruction: Instruction, targets: tuple[str, ...], source: Operand, kind: str) -> Step:
    part = _part(instruction, kind, len(targets))
    read = scope.reader(instruction, source, kind)
    writers = [(i, scope.writer(instruction, each, part)) for i, each in enumerate(targets) if each != "_"]

    def unpack(state: State, lanes: Lanes) -> None:
        columns = np.ascontiguousarray(read(state, lanes))[..., None].view(DTYPES[part])
        for i, write in writers:
            write(state, lanes, columns[..., i])

    return unpack


def _part(instruction: Instruction, kind: str, count: int) -> str:
    """The type of one of `count` registers that make up a value."""
    part = f"b{DTYPES[kind].itemsize * 8 // count}"
    if part not in DTYPES or part == "b8":
        raise instruction.refused("unknown instruction")
    return part


def convert_address(scope: Scope, instruction: Instruction) -> Step:
    """Generic addresses of global memory are those of global memory; those of shared memory lie in a window."""
    starts = {"cvta.to.global.u64": np.uint64(0), "cvta.shared.u64": _WINDOW}
    if instruction.name not in starts or len(instruction.operands) != 2:
        raise instruction.refused("unknown instruction")
    start = starts[instruction.name]
    write = scope.writer(instruction, instruction.operands[0], "u64")
    read = scope.reader(instruction, instruction.operands[1], "u64")
    return lambda state, lanes: write(state, lanes, read(state, lanes) + start)


def access(scope: Scope, instruction: Instruction) -> Step:
    """ld and st, of one value or of two or four beside each other."""
    modifiers = list(instruction.modifiers)
    space = modifiers.pop(0) if modifiers and modifiers[0] in _SPACES else "generic"
    count = int(modifiers.pop(0)[1:]) if modifiers and modifiers[0] in ("v2", "v4") else 1
    if len(modifiers) != 1 or modifiers[0] not in DTYPES or len(instruction.operands) != 2:
        raise instruction.refused("unknown instruction")
    store = instruction.opcode == "st"
    place, registers = instruction.operands if store else instruction.operands[::-1]
    names = registers if isinstance(registers, tuple) else (registers,)
    if len(names) != count or count * DTYPES[modifiers[0]].itemsize > 16 or modifiers[0] == "pred":
        raise instruction.refused("unknown instruction")
    if store and space == "param":
        raise instruction.refused("a kernel's parameters are never written")
    address, kind = _address(scope, instruction, place, space), modifiers[0]

    def step_in(space: str, address: Reader) -> Step:
        locate = _locator(address, space, count * DTYPES[kind].itemsize, store=store)
        return (_store if store else _load)(scope, instruction, names, locate, kind)

    if space != "generic":
        return step_in(space, address)
    in_window = step_in("shared", lambda state, lanes: address(state, lanes) - _WINDOW)
    return _by_window(address, in_window, step_in("global", address))


def _by_window(address: Reader, in_window: Step, outside: Step) -> Step:
    """Each thread's access goes to the memory that its generic address belongs to."""

    def step(state: State, lanes: Lanes) -> None:
        shared = address(state, lanes) >= _WINDOW
        if not shared.any():
            return outside(state, lanes)
        threads = state.thread[lanes]
        for chosen, part in ((shared, in_window), (~shared, outside)):
            try:
                if chosen.any():
                    part(state, threads[chosen])
            except Trap as trap:
                raise Trap(trap.problem, int(np.flatnonzero(chosen)[trap.position])) from None
        return None

    return step


def _load(scope: Scope, instruction: Instruction, names: tuple[Operand, ...], locate: Locator, kind: str) -> Step:
    dtype = DTYPES[kind]
    writers = [(i, scope.writer(instruction, name, kind)) for i, name in enumerate(names) if name != "_"]

    def load(state: State, lanes: Lanes) -> None:
        view, places = locate(state, lanes)
        memory, first = view(dtype), places // dtype.itemsize
        for i, write in writers:
            write(state, lanes, memory[first + i])

    return load


def _store(scope: Scope, instruction: Instruction, names: tuple[Operand, ...], locate: Locator, kind: str) -> Step:
    dtype = DTYPES[kind]
    readers = [scope.reader(instruction, name, kind) for name in names]

    def store(state: State, lanes: Lanes) -> None:
        values = [read(state, lanes) for read in readers]
        view, places = locate(state, lanes)
        memory, first = view(dtype), places // dtype.itemsize
        for i, value in enumerate(values):
            memory[first + i] = value

    return store


def _locator(address: Reader, space: str, size: int, *, store: bool, atomic: bool = False) -> Locator:
    """Where the threads' accesses of `size` bytes go."""

    def in_global(state: State, lanes: Lanes) -> Located:
        at, threads = address(state, lanes), state.thread[lanes]
        places = state.memory.locate(at, size, store=store)
        state.races.check(at, size, threads, state.block[lanes], store=store, atomic=atomic)
        return state.memory.view, places

    def in_shared(state: State, lanes: Lanes) -> Located:
        places = state.shared.locate(
            address(state, lanes), size, store=store, blocks=state.block[lanes], threads=state.thread[lanes]
        )
        return state.shared.view, places

    def in_parameters(state: State, lanes: Lanes) -> Located:
        return state.parameters.view, state.parameters.locate(address(state, lanes), size)

    return {"param": in_parameters, "shared": in_shared}.get(space, in_global)


def _address(scope: Scope, instruction: Instruction, place: Operand, space: str) -> Reader:
    """The addresses of [base + offset], as uint64."""
    if not isinstance(place, Address):
        raise instruction.refused("an operand is no address")
    variables = {"param": scope.parameters, "shared": scope.shared}.get(space, {})
    offset = np.array(place.offset, np.int64).view(np.uint64)[()]
    if place.base in variables:
        constant = np.array(variables[place.base], np.uint64) + offset
        return lambda state, lanes: np.broadcast_to(constant, state.thread[lanes].shape)
    if scope.types.get(place.base) not in ("b64", "u64", "s64", "b32", "u32", "s32"):
        raise instruction.refused("unknown address")
    kind = scope.types[place.base]
    read = scope.reader(instruction, place.base, f"u{kind[1:]}")
    return lambda state, lanes: read(state, lanes).astype(np.uint64) + offset


def atomic(scope: Scope, instruction: Instruction) -> Step:
    """atom.global.add: threads one after another, in an order of its own for each run."""
    if instruction.name not in ("atom.global.add.u32", "atom.add.u32") or len(instruction.operands) != 3:
        raise instruction.refused("unknown instruction")
    target, place, amount = instruction.operands
    write = scope.writer(instruction, target, "u32")
    read = scope.reader(instruction, amount, "u32")
    address = _address(scope, instruction, place, "global")
    locate = _locator(address, "global", 4, store=True, atomic=True)

    def add(state: State, lanes: Lanes) -> None:
        view, places = locate(state, lanes)
        memory, first = view(DTYPES["u32"]), places // 4
        at, threads, blocks = address(state, lanes), state.thread[lanes], state.block[lanes]
        added = np.broadcast_to(read(state, lanes), first.shape)
        old = np.empty(first.shape, np.uint32)
        for i in state.sequence(first.size):
            old[i] = memory[first[i]]
            memory[first[i]] = old[i] + added[i]
            state.races.hand_on(int(at[i]), int(threads[i]), int(blocks[i]))
        write(state, lanes, old)

    return add


def fence(scope: Scope, instruction: Instruction) -> Step:
    """membar.gl. Every run is sequentially consistent, so that only the search for races takes notice."""
    if instruction.name != "membar.gl" or instruction.operands:
        raise instruction.refused("unknown instruction")
    return lambda state, lanes: state.races.fence(state.thread[lanes])
