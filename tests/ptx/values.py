"""Operands: where an instruction's values come from and where its result goes."""

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from ptx.kinds import DTYPES, OPERAND_DTYPES, Array, Lanes, literal
from ptx.parse import Instruction, Operand, Source
from ptx.state import State

Reader: TypeAlias = Callable[[State, Lanes], Array]
Writer: TypeAlias = Callable[[State, Lanes, Array], None]
Step: TypeAlias = Callable[[State, Lanes], None]


class Scope:
    """The names that a kernel's instructions may use."""

    def __init__(self, source: Source) -> None:
        self.types = source.registers
        self.slots = {name: slot for slot, name in enumerate(source.registers)}
        self.shared = {variable.name: variable.offset for variable in source.shared}
        self.parameters = {variable.name: variable.offset for variable in source.parameters}

    def reader(self, instruction: Instruction, operand: Operand, kind: str) -> Reader:
        """The values of an operand of that type. A register may be wider than an integer type: its low bits."""
        if not isinstance(operand, str):
            raise instruction.refused("an operand is no scalar")
        dtype = OPERAND_DTYPES[kind]
        if operand in self.types:
            return self._register_reader(instruction, operand, dtype)
        if operand.startswith("%"):
            return self._special_reader(instruction, operand, dtype)
        constant = literal(operand, kind) if kind in DTYPES else None
        if constant is None:
            raise instruction.refused(f"unknown operand {operand}")
        return lambda state, lanes: constant

    def _register_reader(self, instruction: Instruction, name: str, dtype: np.dtype[Any]) -> Reader:
        slot, own = self.slots[name], DTYPES[self.types[name]]
        if (own.kind == "b") != (dtype.kind == "b") or own.itemsize < dtype.itemsize:
            raise instruction.refused(f"register {name} does not fit the type")
        if own.itemsize == dtype.itemsize:
            return lambda state, lanes: state.register(slot).read(lanes, dtype)
        if own.kind == "f" or dtype.kind == "f":
            raise instruction.refused(f"register {name} does not fit the type")
        return lambda state, lanes: state.register(slot).read(lanes, own).astype(dtype)

    def _special_reader(self, instruction: Instruction, name: str, dtype: np.dtype[Any]) -> Reader:
        if not re.fullmatch(r"%(tid|ctaid|ntid|nctaid)\.[xyz]", name) or dtype != np.dtype("u4"):
            raise instruction.refused(f"unknown operand {name}")
        return lambda state, lanes: state.special[name][lanes]

    def writer(self, instruction: Instruction, operand: Operand, kind: str) -> Writer:
        """A result of that type into a register. An integer is extended to a wider register, by its sign if any."""
        if not isinstance(operand, str) or operand not in self.types:
            raise instruction.refused("the result is no register")
        slot, own, dtype = self.slots[operand], DTYPES[self.types[operand]], OPERAND_DTYPES[kind]
        if (own.kind == "b") != (dtype.kind == "b") or own.itemsize < dtype.itemsize:
            raise instruction.refused(f"register {operand} does not fit the type")
        if own.itemsize == dtype.itemsize:
            return lambda state, lanes, values: state.target(slot).write(lanes, values, dtype)
        if own.kind == "f" or dtype.kind == "f":
            raise instruction.refused(f"register {operand} does not fit the type")
        wide = np.dtype(f"{dtype.kind}{own.itemsize}")
        return lambda state, lanes, values: state.target(slot).write(lanes, values.astype(wide), wide)

    def address_of(self, name: str) -> int | None:
        """The address of a shared variable or parameter in its space; None: no variable of the kernel."""
        return self.shared.get(name, self.parameters.get(name))
