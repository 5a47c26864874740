"""What single PTX instructions give, from whole numbers and exact fractions. Shares no code with tests/ptx."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath

# Precision and the exponent of the smallest subnormal number.
FLOATS = {"f16": (11, -24), "bf16": (8, -133), "f32": (24, -149), "f64": (53, -1074)}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a < b or a > b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def nearest(exact: Fraction, kind: str) -> float:
    """A number rounded to nearest, ties to even."""
    precision, smallest = FLOATS[kind]
    if exact == 0:
        return 0.0
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    if abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** max(exponent - precision + 1, smallest)
    rounded = round(exact / unit) * unit
    limit = Fraction(2) ** (3 - smallest - precision)
    if abs(rounded) >= limit:
        return math.inf if rounded > 0 else -math.inf
    return float(rounded)


def wrapped(value: int, kind: str) -> int:
    """The bits that fit the type."""
    bits = int(kind[1:])
    value %= 1 << bits
    return value - (1 << bits) if kind[0] == "s" and value >> bits - 1 else value


def expected(name: str, arguments: list[Any]) -> Any:
    """The result of one instruction: an int, float or bool."""
    opcode, *modifiers = name.split(".")
    kind = modifiers[-1]
    if opcode == "selp":
        return arguments[0] if arguments[2] else arguments[1]
    if opcode == "setp":
        return _compared(modifiers[0], kind, *arguments)
    if opcode == "cvt":
        return _converted(modifiers, arguments[0])
    if kind == "pred":
        return bool(_INTEGERS[opcode](*map(int, arguments)) % 2)
    if kind in FLOATS:
        return _float(opcode, kind, [Fraction(argument) for argument in arguments])
    if opcode in ("shl", "shr"):
        value, amount = arguments[0], min(arguments[1], 64)
        return wrapped(value << amount if opcode == "shl" else value >> amount, kind)
    result = f"{kind[0]}{2 * int(kind[1:])}" if "wide" in modifiers else kind
    return wrapped(_INTEGERS[opcode](*arguments), result)


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


_INTEGERS: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "mad": lambda a, b, c: a * b + c,
    "div": _quotient,
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "not": lambda a: ~a,
}


def _compared(comparison: str, kind: str, a: Any, b: Any) -> bool:
    unordered = kind in FLOATS and (math.isnan(a) or math.isnan(b))
    if comparison in ("nan", "num"):
        return unordered == (comparison == "nan")
    if kind in FLOATS and comparison not in COMPARE:
        return unordered or COMPARE[comparison[:-1]](a, b)
    return COMPARE[comparison](a, b)


def _float(opcode: str, kind: str, x: list[Fraction]) -> float:
    if opcode == "sqrt":
        with mpmath.workprec(400):
            return nearest(_fraction(mpmath.sqrt(mpmath.mpf(x[0].numerator) / x[0].denominator)), kind)
    exact: dict[str, Callable[..., Fraction]] = {
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: a / b,
        "rcp": lambda a: 1 / a,
        "fma": lambda a, b, c: a * b + c,
        "neg": lambda a: -a,
        "max": max,
    }
    return nearest(exact[opcode](*x), kind)


def _fraction(value: Any) -> Fraction:
    """A mpmath number that is not negative."""
    _, mantissa, exponent, _ = value._mpf_
    fraction: Fraction = int(mantissa) * Fraction(2) ** exponent
    return fraction


def _converted(modifiers: list[str], value: Any) -> Any:
    target = modifiers[-2]
    if "rzi" in modifiers:
        return min(max(int(value), 0), 2 ** int(target[1:]) - 1)
    return nearest(Fraction(value), target) if target in FLOATS else wrapped(int(value), target)
