"""Instructions that compute a register from operands of the same thread: name to types and function."""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ptx import floats
from ptx.faults import Trap
from ptx.kinds import DTYPES, Array
from ptx.parse import Instruction
from ptx.values import Scope, Step

Function = Callable[..., Any]
# The type of the result, those of the operands, and the function.
Operation = tuple[str, tuple[str, ...], Function]

_INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")
_BITS = ("b16", "b32", "b64")


def _divide(a: Array, b: Array) -> Array:
    """Towards zero."""
    _require_divisor(b)
    return (a - np.fmod(a, b)) // b


def _require_divisor(b: Array) -> None:
    zero = np.atleast_1d(b == 0)
    if zero.any():
        raise Trap("integer division by zero", int(zero.argmax()))


def _left(a: Array, amount: Array) -> Array:
    bits = a.dtype.itemsize * 8
    shifted: Array = np.where(amount < bits, a << np.minimum(amount, bits - 1).astype(a.dtype), 0).astype(a.dtype)
    return shifted


def _right(a: Array, amount: Array) -> Array:
    """With copies of the sign where the type has one; by more bits than there are, nothing else is left."""
    bits = a.dtype.itemsize * 8
    shifted: Array = a >> np.minimum(amount, bits - 1).astype(a.dtype)
    if a.dtype.kind == "u":
        shifted = np.where(amount < bits, shifted, 0).astype(a.dtype)
    return shifted


def _wide(name: str) -> Function:
    dtype = DTYPES[name]
    return lambda a, b: np.multiply(a, b, dtype=dtype)


def _ordered(compare: Function) -> Function:
    return lambda a, b: compare(a, b) & ~_unordered(a, b)


def _or_unordered(compare: Function) -> Function:
    return lambda a, b: compare(a, b) | _unordered(a, b)


def _unordered(a: Array, b: Array) -> Array:
    unordered: Array = np.isnan(a) | np.isnan(b)
    return unordered


COMPARISONS: dict[str, Function] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def _integer_operations() -> dict[str, Operation]:
    table: dict[str, Operation] = {}
    for kind in _INTEGERS:
        pair = (kind, kind)
        table[f"add.{kind}"] = (kind, pair, operator.add)
        table[f"sub.{kind}"] = (kind, pair, operator.sub)
        table[f"mul.lo.{kind}"] = (kind, pair, operator.mul)
        table[f"mad.lo.{kind}"] = (kind, (kind,) * 3, lambda a, b, c: a * b + c)
        table[f"div.{kind}"] = (kind, pair, _divide)
        table[f"min.{kind}"] = (kind, pair, np.minimum)
        table[f"max.{kind}"] = (kind, pair, np.maximum)
        table[f"shr.{kind}"] = (kind, (kind, "u32"), _right)
        table |= {f"setp.{name}.{kind}": ("pred", pair, compare) for name, compare in COMPARISONS.items()}
        if kind[1:] != "64":
            wide = f"{kind[0]}{2 * int(kind[1:])}"
            table[f"mul.wide.{kind}"] = (wide, pair, _wide(wide))
    return table


def _bit_operations() -> dict[str, Operation]:
    table: dict[str, Operation] = {}
    for kind in (*_BITS, "pred"):
        table[f"and.{kind}"] = (kind, (kind, kind), operator.and_)
        table[f"or.{kind}"] = (kind, (kind, kind), operator.or_)
        table[f"xor.{kind}"] = (kind, (kind, kind), operator.xor)
        table[f"not.{kind}"] = (kind, (kind,), operator.invert)
    for kind in _BITS:
        table[f"shl.{kind}"] = (kind, (kind, "u32"), _left)
        table[f"shr.{kind}"] = (kind, (kind, "u32"), _right)
        table |= {f"setp.{name}.{kind}": ("pred", (kind, kind), COMPARISONS[name]) for name in ("eq", "ne")}
    for kind in (*_INTEGERS, *_BITS, "f32", "f64"):
        table[f"selp.{kind}"] = (kind, (kind, kind, "pred"), lambda a, b, p: np.where(p, a, b))
    return table


def _float_operations() -> dict[str, Operation]:
    """Only with the rounding written: an add or mul without it may be fused into one operation later."""
    table: dict[str, Operation] = {}
    for kind, fma in (("f32", floats.fma32), ("f64", floats.fma64)):
        pair = (kind, kind)
        table[f"add.rn.{kind}"] = (kind, pair, operator.add)
        table[f"sub.rn.{kind}"] = (kind, pair, operator.sub)
        table[f"mul.rn.{kind}"] = (kind, pair, operator.mul)
        table[f"div.rn.{kind}"] = (kind, pair, operator.truediv)
        table[f"fma.rn.{kind}"] = (kind, (kind,) * 3, fma)
        table[f"sqrt.rn.{kind}"] = (kind, (kind,), np.sqrt)
        table[f"rcp.rn.{kind}"] = (kind, (kind,), lambda a: a.dtype.type(1) / a)
        table[f"neg.{kind}"] = (kind, (kind,), operator.neg)
        table[f"max.{kind}"] = (kind, pair, floats.maximum)
        for name, compare in COMPARISONS.items():
            table[f"setp.{name}.{kind}"] = ("pred", pair, _ordered(compare))
            table[f"setp.{name}u.{kind}"] = ("pred", pair, _or_unordered(compare))
        table[f"setp.nan.{kind}"] = ("pred", pair, _unordered)
        table[f"setp.num.{kind}"] = ("pred", pair, lambda a, b: ~_unordered(a, b))
    return table


OPERATIONS: dict[str, Operation] = _integer_operations() | _bit_operations() | _float_operations()


def operation(scope: Scope, instruction: Instruction) -> Step:
    """The step of one instruction of the table."""
    found = OPERATIONS.get(instruction.name)
    if found is None or len(instruction.operands) != 1 + len(found[1]):
        raise instruction.refused("unknown instruction")
    result, kinds, function = found
    write = scope.writer(instruction, instruction.operands[0], result)
    readers = [
        scope.reader(instruction, operand, kind) for operand, kind in zip(instruction.operands[1:], kinds, strict=True)
    ]
    return lambda state, lanes: write(state, lanes, function(*[read(state, lanes) for read in readers]))
