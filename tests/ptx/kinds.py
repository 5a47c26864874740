"""PTX types as NumPy has them, and constants."""

import re
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
# The threads that execute an instruction, in ascending order: numbers, or a slice where they follow each other.
Lanes: TypeAlias = Array | slice

BITS = {"pred": 8} | {f"{kind}{bits}": bits for kind in "bus" for bits in (8, 16, 32, 64)} | {"f32": 32, "f64": 64}
DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype("?" if name == "pred" else {"b": "u", "u": "u", "s": "i", "f": "f"}[name[0]] + str(bits // 8))
    for name, bits in BITS.items()
}
# 16-bit floats only occur as operands of cvt, in registers of 16 bits.
OPERAND_DTYPES = DTYPES | {"f16": np.dtype("f2"), "bf16": np.dtype("u2")}

_INTEGER = re.compile(r"(-?(?:0[xX][0-9a-fA-F]+|\d+))U?")
_FLOAT = {"0f": ("f32", "u4"), "0d": ("f64", "u8")}


def literal(text: str, kind: str) -> Any:
    """A constant as a scalar of that type; None: the text is no constant of it."""
    dtype = DTYPES[kind]
    if text[:2].lower() in _FLOAT and len(text) == 2 + dtype.itemsize * 2:
        name, bits = _FLOAT[text[:2].lower()]
        value = np.array(int(text[2:], 16), bits)
        return value.view(dtype)[()] if name == kind or kind == f"b{value.itemsize * 8}" else None
    integer = _INTEGER.fullmatch(text)
    if integer is None or dtype.kind == "f":
        return None
    if kind == "pred":
        return np.bool_(int(integer[1], 0) != 0)
    return np.array(int(integer[1], 0) % (1 << dtype.itemsize * 8), f"u{dtype.itemsize}").view(dtype)[()]
