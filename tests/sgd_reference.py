"""A naive SGD update in NumPy, used as the oracle. It shares no code with the library and none with torch's kernels.

Every fused multiply-add is computed exactly and rounded once, so the result is defined by IEEE 754 alone.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Hyper:
    """The scalars of one update, in float64 as the user gives them."""

    lr: float = 0.1
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = False


def fma32(a: Array, b: Array, c: Array) -> Array:
    """a*b + c in float32 with one rounding: the product is exact in float64, the sum is rounded there to odd."""
    product = a.astype(np.float64) * b.astype(np.float64)
    addend = c.astype(np.float64)
    total, lost = two_sum(product, addend)
    rounded: Array = to_odd(total, lost).astype(np.float32)
    return rounded


def to_odd(total: Array, lost: Array) -> Array:
    """A rounded float64 sum rounded to odd instead.

    It keeps the lost part's influence, so that a second rounding, to nearest, is the only one that counts.
    """
    inexact_and_even = (lost != 0) & ((total.view(np.int64) & 1) == 0) & np.isfinite(total)
    away = np.where((lost > 0) == (total > 0), 1, -1)
    return (total.view(np.int64) + np.where(inexact_and_even, away, 0)).view(np.float64)


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and what it lost (Knuth)."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded product and what it lost, by halves of 26 bits (Dekker)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def halves(a: Array) -> tuple[Array, Array]:
    scaled = a * (2.0**27 + 1)
    high = scaled - (scaled - a)
    return high, a - high


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a*b + c in float64 with one rounding (Boldo and Melquiond); very small and large values go through rationals."""
    product, low = two_product(a, b)
    partial, rest = two_sum(c, low)
    high, last = two_sum(product, partial)
    total, lost = two_sum(rest, last)
    result: Array = high + to_odd(total, lost)
    result = np.where(result == 0, product + c, result)  # exact, with its sign
    rare = ~(plain(a) & plain(b) & plain(c))
    exact = (Fraction(x) * Fraction(y) + Fraction(z) for x, y, z in zip(a[rare], b[rare], c[rare], strict=True))
    result[rare] = [float(value) for value in exact]
    return result


def plain(a: Array) -> Array:
    """Where nothing in fma64 underflows or overflows."""
    magnitude = np.abs(a)
    return (a == 0) | ((magnitude > 2.0**-200) & (magnitude < 2.0**200))


@np.errstate(all="ignore")
def fma(a: Array, b: Any, c: Any) -> Array:
    """a*b + c with one rounding in the type of a; b and c are scalars or arrays of that type."""
    b, c = (np.broadcast_to(np.asarray(x, dtype=a.dtype), a.shape) for x in (b, c))
    return fma32(a, b, c) if a.dtype == np.float32 else fma64(a, b, c)


@np.errstate(all="ignore")
def update(hyper: Hyper, param: Array, grad: Array, buffer: Array | None) -> tuple[Array, Array | None]:
    """One update in the arrays' own type (float32 or float64). `buffer` None: the first one."""
    scalar = param.dtype.type
    x = -grad if hyper.maximize else grad
    if hyper.weight_decay != 0:
        x = fma(param, scalar(hyper.weight_decay), x)
    if hyper.momentum != 0:
        momentum = scalar(hyper.momentum)
        buffer = x if buffer is None else fma(x, scalar(1 - hyper.dampening), momentum * buffer)
        x = fma(buffer, momentum, x) if hyper.nesterov else buffer
    return fma(x, scalar(-hyper.lr), param), buffer


def widen(tensor: torch.Tensor) -> Array:
    """A 16-bit tensor's values in float32, without rounding."""
    widened: Array = tensor.detach().to(torch.float32).numpy()
    return widened


def update_16bit(
    hyper: Hyper, param: torch.Tensor, grad: torch.Tensor, buffer: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One update of 16-bit tensors: float32 arithmetic, then each of parameter and buffer is rounded once."""
    old = None if buffer is None else widen(buffer)
    new_param, new_buffer = update(hyper, widen(param), widen(grad), old)

    def narrow(values: Array) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values)).to(param.dtype)

    return narrow(new_param), None if new_buffer is None else narrow(new_buffer)
