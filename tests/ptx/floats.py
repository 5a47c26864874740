"""Floating-point operations with one rounding, as IEEE 754 defines them. NumPy's +, -, *, / and sqrt are."""

import ctypes
import ctypes.util

import numpy as np

from ptx.kinds import Array

_LIBM = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
_LIBM.fma.restype = ctypes.c_double
_LIBM.fma.argtypes = [ctypes.c_double] * 3

# Below this many elements calls of libm are faster than some 45 operations on arrays.
_FEW = 64
_SPLIT = 2.0**27 + 1
# Within these no step of the exact algorithm overflows, and the product's error is no subnormal number.
_SMALL, _LARGE = 2.0**-900, 2.0**980


def _sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b, and what its rounding lost, exactly."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _odd(total: Array, lost: Array) -> Array:
    """total + lost with its last bit set where something was lost: then another rounding does no harm."""
    bits = total.view(np.int64)
    away = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where((lost != 0) & (bits & 1 == 0) & np.isfinite(total), bits + away, bits).view(np.float64)


def fma32(a: Array, b: Array, c: Array) -> Array:
    """a * b + c in float32 with one rounding: the product is exact in float64, and the sum nearly always is enough."""
    product = np.asarray(np.multiply(a, b, dtype=np.float64))
    total = product + c
    rounded = np.asarray(total.astype(np.float32))
    # The second rounding only goes wrong next to a tie, and a tie's low bits are all zero.
    near = np.asarray(total.view(np.int64) & 0xFFFFFFF == 0)
    if near.any():
        addend = np.broadcast_to(c, near.shape)[near].astype(np.float64)
        rounded = np.array(rounded)
        rounded[near] = _odd(*_sum(np.broadcast_to(product, near.shape)[near], addend))
    return rounded


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a * b + c in float64 with one rounding."""
    a, b, c = np.broadcast_arrays(a, b, c)
    out = np.empty(a.shape)
    usual = np.zeros(a.shape, bool) if a.size < _FEW else _usual(a, b, c)
    if usual.any():
        out[usual] = _fma64_usual(a[usual], b[usual], c[usual])
    rest = ~usual
    out[rest] = [_LIBM.fma(*each) for each in zip(a[rest].tolist(), b[rest].tolist(), c[rest].tolist(), strict=True)]
    return out


def _usual(a: Array, b: Array, c: Array) -> Array:
    product = np.abs(a * b)
    fits: Array = (product > _SMALL) & (product < _LARGE) & (np.abs(c) < _LARGE)
    return fits & (np.abs(a) < _LARGE) & (np.abs(b) < _LARGE)


def _fma64_usual(a: Array, b: Array, c: Array) -> Array:
    """The product as an exact sum of two, then the three summed with the smaller parts rounded to odd."""
    a_high = a * _SPLIT - (a * _SPLIT - a)
    b_high = b * _SPLIT - (b * _SPLIT - b)
    a_low, b_low = a - a_high, b - b_high
    product = a * b
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    inner, inner_error = _sum(c, error)
    outer, outer_error = _sum(product, inner)
    return outer + _odd(*_sum(inner_error, outer_error))


def maximum(a: Array, b: Array) -> Array:
    """The number where the other is NaN; -0 is below +0."""
    return np.where(a == b, np.where(np.signbit(b), a, b), np.fmax(a, b))
