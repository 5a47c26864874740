"""csrc/cuda/state.h, instruction.h and the rules' structs in ctypes, and a compiled schedule as the kernels see it."""

import ctypes
import re
from collections.abc import Iterable
from ctypes import c_bool, c_double, c_float, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ptx import Kernel, Memory

from fastlr.schedules import Schedule

HEADER = Path(__file__).resolve().parents[1] / "csrc" / "cuda" / "state.h"
CONSTANTS = {name: int(value) for name, value in re.findall(r"constexpr int32_t (\w+) = (\d+);", HEADER.read_text())}
BYTES = CONSTANTS["kLongArguments"], CONSTANTS["kShortArguments"]
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


# HyperBytes and kMaxScheduled of csrc/rule/bytes.h.
HYPER_BYTES = 96
MAX_SCHEDULED = 5


class Recipe(ctypes.Structure):
    _fields_ = (
        *[(name, c_double) for name in ("ema_decay", "max_grad_norm", "max_grad_value", "rounding_seed")],
        *[(name, c_bool) for name in ("norm_per_group", "error_if_nonfinite", "master_weights")],
        *[(name, c_bool) for name in ("stochastic_rounding", "zero_grad_in_step")],
    )


@dataclass(frozen=True)
class Rule:
    """A header of csrc/rules/: the members of its Hyper and of its Scalars, and its state."""

    name: str
    numbers: tuple[str, ...]
    flags: tuple[str, ...]
    scalars: tuple[str, ...]
    scheduled: tuple[str, ...]
    states: tuple[str, ...]
    writes_first: bool = False  # the first update writes the state without reading it

    def tensors(self, bytes: int) -> int:
        """In one launch: as many as fit, in whole multiples of 8."""
        each = ctypes.sizeof(c_void_p) * (2 + len(self.states)) + sum(ctypes.sizeof(kind) for _, kind in _PER_TENSOR)
        head = ctypes.sizeof(c_void_p) + 4 * ctypes.sizeof(c_int32)
        return (bytes - head) // each // 8 * 8


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "sgd",
            numbers=("lr", "momentum", "dampening", "weight_decay"),
            flags=("nesterov", "maximize", "decoupled"),
            scalars=("step_size", "momentum", "gradient_weight", "weight_decay", "kept", "direction"),
            scheduled=("lr", "momentum", "weight_decay"),
            states=("momentum_buffer",),
            writes_first=True,
        ),
        Rule(
            "adam",
            numbers=("lr", "beta1", "beta2", "eps", "weight_decay"),
            flags=("amsgrad", "maximize", "decoupled"),
            scalars=(
                *("direction", "weight_decay", "kept", "from_grad", "average_weight"),
                *("beta2", "square_weight", "correction", "eps", "step_size"),
            ),
            scheduled=("lr", "beta1", "beta2", "weight_decay"),
            states=("exp_avg", "exp_avg_sq", "max_exp_avg_sq"),
        ),
        Rule(
            "lion",
            numbers=("lr", "beta1", "beta2", "weight_decay"),
            flags=("maximize",),
            scalars=("direction", "kept", "step_size", "beta1", "mixed_weight", "beta2", "average_weight"),
            scheduled=("lr", "beta1", "beta2", "weight_decay"),
            states=("exp_avg",),
        ),
    )
}


@cache
def hyper(rule: Rule) -> type[ctypes.Structure]:
    class Hyper(ctypes.Structure):
        _fields_ = (*[(name, c_double) for name in rule.numbers], *[(name, c_bool) for name in rule.flags])

    return Hyper


@cache
def scalars(rule: Rule, kind: type[c_float] | type[c_double]) -> type[ctypes.Structure]:
    class Scalars(ctypes.Structure):
        _fields_ = tuple((name, kind) for name in rule.scalars)

    return Scalars


@cache
def step_values(rule: Rule) -> type[ctypes.Structure]:
    class StepValues(ctypes.Structure):
        _fields_ = (
            ("hyper", hyper(rule)),
            ("single", scalars(rule, c_float)),
            ("exact", scalars(rule, c_double)),
            ("recipe", Recipe),
            ("updates", c_int64),
            ("form", c_int32),
            ("traffic", c_int32 * 2),
        )

    return StepValues


class Followed(ctypes.Structure):
    _fields_ = (("program", ProgramView), ("scale", c_double), ("offset", c_int64))


class GroupState(ctypes.Structure):
    _fields_ = (
        ("follows", Followed * MAX_SCHEDULED),
        ("hyper", c_uint64 * (HYPER_BYTES // 8)),
        ("recipe", Recipe),
        *[(name, c_int64) for name in ("held", "clock", "updates", "count")],
    )


class Clip(ctypes.Structure):
    _fields_ = (("norm", c_double), ("factor", c_double))


class StepState(ctypes.Structure):
    _fields_ = (
        *[(name, c_void_p) for name in ("groups", "values", "updates", "clips")],
        ("count", c_int64),
        *[(name, c_int32) for name in ("group_count", "half")],
        ("missing", c_int32 * 2),
        ("ticket", c_uint32),
        ("nonfinite", c_int32),
    )


_PER_TENSOR = (("size", c_int64), ("first_chunk", c_int32), ("place", c_int32), ("group", c_uint16), ("dtype", c_uint8))


@cache
def step_arguments(rule: Rule, bytes: int) -> type[ctypes.Structure]:
    """For a launch that takes so many bytes."""
    tensors = rule.tensors(bytes)

    class StepArguments(ctypes.Structure):
        _fields_ = (
            ("state", c_void_p),
            *[(name, c_int32) for name in ("tensors", "tiles", "last", "unused")],
            *[(name, c_void_p * tensors) for name in ("param", "grad")],
            ("buffer", (c_void_p * tensors) * len(rule.states)),
            *[(name, kind * tensors) for name, kind in _PER_TENSOR],
        )

    return StepArguments


@cache
def recipe_arguments(rule: Rule, bytes: int) -> type[ctypes.Structure]:
    states = len(rule.states)
    each = ctypes.sizeof(c_void_p) * (7 + states) + 2 * ctypes.sizeof(c_int32) + ctypes.sizeof(c_uint16) + 1 + states
    tensors = (bytes - 40) // each // 8 * 8

    class RecipeArguments(ctypes.Structure):
        _fields_ = (
            *[(name, c_void_p) for name in ("state", "grad_scale", "found_inf")],
            *[(name, c_int32) for name in ("tensors", "tiles", "last", "clipped")],
            *[(name, c_void_p * tensors) for name in ("param", "grad")],
            ("buffer", (c_void_p * tensors) * states),
            *[(name, c_void_p * tensors) for name in ("master", "average")],
            *[(name, c_int64 * tensors) for name in ("size", "rows", "columns")],
            *[(name, kind * tensors) for name, kind in _PER_TENSOR if name != "size"],
            ("state_dtype", (c_uint8 * tensors) * states),
        )

    return RecipeArguments


@cache
def norm_arguments(bytes: int) -> type[ctypes.Structure]:
    tensors = (bytes - 64) // 23 // 8 * 8

    class NormArguments(ctypes.Structure):
        _fields_ = (
            *[(name, c_void_p) for name in ("state", "sums", "groups", "ranges", "grad_scale", "found_inf")],
            *[(name, c_int32) for name in ("tensors", "before", "chunks", "last")],
            ("grad", c_void_p * tensors),
            *[(name, kind * tensors) for name, kind in _PER_TENSOR if name != "place"],
        )

    return NormArguments


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


def arguments_of(kernel: Kernel, structs: Iterable[type[ctypes.Structure]]) -> type[ctypes.Structure]:
    """The one of these that the kernel takes."""
    (only,) = [struct for struct in structs if ctypes.sizeof(struct) == kernel.parameter_bytes]
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
