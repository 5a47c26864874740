"""csrc/cuda/state.h, instruction.h and hyper.h in ctypes, and a compiled schedule as the kernels see it."""

import ctypes
import re
from collections.abc import Callable
from ctypes import c_bool, c_double, c_float, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path

from ptx import Kernel, Memory

from fastlr.schedules import Schedule

HEADER = Path(__file__).resolve().parents[1] / "csrc" / "cuda" / "state.h"
CONSTANTS = {name: int(value) for name, value in re.findall(r"constexpr int32_t (\w+) = (\d+);", HEADER.read_text())}
TENSORS = CONSTANTS["kLongTensors"], CONSTANTS["kShortTensors"]
PROGRAMS = CONSTANTS["kLongPrograms"], CONSTANTS["kShortPrograms"]
WRITES, WORDS = CONSTANTS["kWrites"], CONSTANTS["kWords"]
THREADS, EVALUATE_THREADS = CONSTANTS["kThreads"], CONSTANTS["kEvaluateThreads"]
VECTOR_BYTES = CONSTANTS["kVectorBytes"]
TILE_BYTES = THREADS * CONSTANTS["kVectors"] * VECTOR_BYTES


class Instruction(ctypes.Structure):
    _fields_ = (
        *[(name, c_int32) for name in ("op", "target", "bounds", "count", "values")],
        *[(name, c_int64) for name in ("offset", "period")],
        *[(name, c_double) for name in ("start", "end", "origin", "finish", "length", "power", "warp")],
        *[(name, c_double) for name in ("lower", "upper", "rate_hi", "rate_lo")],
    )


class ProgramView(ctypes.Structure):
    _fields_ = (("code", c_void_p), ("size", c_int32), ("bounds", c_void_p), ("values", c_void_p), ("partial", c_bool))


class SgdHyper(ctypes.Structure):
    _fields_ = (
        *[(name, c_double) for name in ("lr", "momentum", "dampening", "weight_decay")],
        *[(name, c_bool) for name in ("nesterov", "maximize")],
    )


class SgdScalars(ctypes.Structure):
    _fields_ = tuple(
        (name, c_float) for name in ("step_size", "momentum", "gradient_weight", "weight_decay", "direction")
    )


class StepValues(ctypes.Structure):
    _fields_ = (("hyper", SgdHyper), ("scalars", SgdScalars), ("decay", ctypes.c_int32))


class GroupState(ctypes.Structure):
    _fields_ = (
        *[(name, ProgramView) for name in ("lr", "momentum", "weight_decay")],
        ("hyper", SgdHyper),
        ("lr_scale", c_double),
        ("clock", c_int64),
        ("held", c_int64),
    )


class StepState(ctypes.Structure):
    _fields_ = (
        *[(name, c_void_p) for name in ("groups", "values", "updates")],
        ("count", c_int64),
        *[(name, c_int32) for name in ("group_count", "half")],
        ("missing", c_int32 * 2),
        ("ticket", c_uint32),
        ("unused", c_int32),
    )


@cache
def step_arguments(capacity: int) -> type[ctypes.Structure]:
    class StepArguments(ctypes.Structure):
        _fields_ = (
            ("state", c_void_p),
            *[(name, c_int32) for name in ("tensors", "tiles", "last", "unused")],
            *[(name, c_void_p * capacity) for name in ("param", "grad", "buffer")],
            ("size", c_int64 * capacity),
            ("first_chunk", c_int32 * capacity),
            ("place", c_int32 * capacity),
            ("group", c_uint16 * capacity),
            ("dtype", c_uint8 * capacity),
        )

    return StepArguments


class Write(ctypes.Structure):
    _fields_ = (("to", c_void_p), ("begin", c_int32), ("words", c_int32))


class PrepareArguments(ctypes.Structure):
    _fields_ = (
        ("state", c_void_p),
        ("writes", c_int32),
        ("refresh", c_int32),
        ("write", Write * WRITES),
        ("payload", c_uint64 * WORDS),
    )


@cache
def evaluate_arguments(capacity: int) -> type[ctypes.Structure]:
    class EvaluateArguments(ctypes.Structure):
        _fields_ = (
            ("out", c_void_p),
            ("row_stride", c_int64),
            ("steps", c_void_p),
            *[(name, c_int64) for name in ("first", "stride", "count", "single")],
            ("programs", ProgramView * capacity),
        )

    return EvaluateArguments


def arguments_of(
    kernel: Kernel, struct: Callable[[int], type[ctypes.Structure]], capacities: tuple[int, int]
) -> type[ctypes.Structure]:
    """The arguments that this kernel takes: those of the long images or of the short ones."""
    found = [struct(capacity) for capacity in capacities if ctypes.sizeof(struct(capacity)) == kernel.parameter_bytes]
    (only,) = found
    return only


class _Vector(ctypes.Structure):
    _fields_ = (("begin", c_void_p), ("end", c_void_p), ("capacity", c_void_p))

    @property
    def bytes(self) -> int:
        return (self.end or 0) - (self.begin or 0)


class _Program(ctypes.Structure):
    """The data members of csrc/schedule/program.h's Program."""

    _fields_ = (("code", _Vector), ("bounds", _Vector), ("values", _Vector), ("partial", c_bool))


def program_view(schedule: Schedule, memory: Memory) -> ProgramView:
    """A schedule's program where its native object holds it, registered in `memory` as nothing to write to."""
    program = schedule.program
    # A pybind11 object is a Python object's head and the native object's address.
    native = _Program.from_address(c_void_p.from_address(id(program) + object.__basicsize__).value or 0)
    for vector in (native.code, native.bounds, native.values):
        if vector.bytes and not memory.holds(vector.begin):
            memory.add_range(vector.begin, vector.bytes, program, writable=False)
    size = native.code.bytes // ctypes.sizeof(Instruction)
    return ProgramView(native.code.begin, size, native.bounds.begin, native.values.begin, native.partial)
