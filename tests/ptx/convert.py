"""cvt: from one type to another."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ptx.kinds import DTYPES, Array
from ptx.parse import Instruction
from ptx.values import Scope, Step

Conversion = Callable[[Array], Array]


def _to(name: str) -> Conversion:
    dtype = DTYPES[name]
    return lambda values: values.astype(dtype)


def _half_from_float(values: Array) -> Array:
    """NaN becomes the one that the device has."""
    halves = np.asarray(values.astype(np.float16)).view(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FFF), halves).view(np.float16)


def _float_from_half(values: Array) -> Array:
    return values.astype(np.float32)


def _bfloat_from_float(values: Array) -> Array:
    """float32's high 16 bits, rounded to nearest even. NaN becomes the one that the device has."""
    bits = np.asarray(values).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    return np.where(np.isnan(values), np.uint64(0x7FFF), rounded).astype(np.uint16)


def _whole_u64(values: Array) -> Array:
    """Towards zero; below 0 and above all of them the nearest one, NaN the one in the middle."""
    inside = np.trunc(np.where((values > 0) & (values < 2.0**64), values, 0.0)).astype(np.uint64)
    above = np.where(values >= 2.0**64, np.uint64(2**64 - 1), inside)
    return np.where(np.isnan(values), np.uint64(1 << 63), above)


def _integers() -> dict[str, tuple[str, str, Conversion]]:
    """Integers to integers: cut off, or extended by the sign of the type that they come from."""
    names = [f"{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64)]
    return {f"cvt.{to}.{of}": (to, of, _to(to)) for to in names for of in names}


# By name: the types of result and operand, and the function.
CONVERSIONS: dict[str, tuple[str, str, Any]] = _integers() | {
    "cvt.rzi.u64.f64": ("u64", "f64", _whole_u64),
    "cvt.rn.f32.f64": ("f32", "f64", _to("f32")),
    "cvt.f64.f32": ("f64", "f32", _to("f64")),
    "cvt.f32.f16": ("f32", "f16", _float_from_half),
    "cvt.rn.f16.f32": ("f16", "f32", _half_from_float),
    "cvt.rn.bf16.f32": ("bf16", "f32", _bfloat_from_float),
}


def conversion(scope: Scope, instruction: Instruction) -> Step:
    """The step of one cvt."""
    found = CONVERSIONS.get(instruction.name)
    if found is None or len(instruction.operands) != 2:
        raise instruction.refused("unknown instruction")
    to, of, function = found
    read = scope.reader(instruction, instruction.operands[1], of)
    write = scope.writer(instruction, instruction.operands[0], to)
    return lambda state, lanes: write(state, lanes, function(read(state, lanes)))
