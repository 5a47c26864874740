"""The oracle itself: its fused multiply-add against exact rationals, its update against torch."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sgd_cases import OPTIONS, describe, same_bits, torch_sgd
from sgd_reference import Hyper, fma32, fma64, update

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**60), max_value=2.0**60)

DOUBLES = st.floats(allow_nan=False, min_value=-(2.0**400), max_value=2.0**400)


def nearest_float32(value: Fraction) -> np.float32:
    """The float32 closest to an exact value, ties to even, found by comparing neighbours."""
    guess = np.float32(float(value))
    near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    distances = [abs(Fraction(float(x)) - value) for x in near]
    best = [x for x, d in zip(near, distances, strict=True) if d == min(distances)]
    return best[0] if len(best) == 1 else next(x for x in best if not x.view(np.int32) & 1)


@given(FLOATS, FLOATS, FLOATS)
def test_fma32_rounds_once(a: float, b: float, c: float) -> None:
    arrays = [np.array([x], dtype=np.float32) for x in (a, b, c)]
    assert fma32(*arrays)[0] == nearest_float32(Fraction(a) * Fraction(b) + Fraction(c))


@pytest.mark.parametrize(
    ("a", "b", "c", "expected"),
    [
        (1 + 2**-12, 1 + 2**-12, -(1 + 2**-11), 2**-24),  # the product's last bit survives
        (1 + 2**-23, 1 + 2**-23, 2**-60, 1 + 2**-22),  # far below half an ulp
        (1.0, 1 + 2**-23, 2**-24, 1 + 2**-22),  # a tie goes to even
        (2**-12 * (1 + 2**-23), 2**-12 * (1 - 2**-23), 1 + 2**-23, 1 + 2**-23),  # below a tie by less than float64 sees
    ],
)
def test_fma32_on_ties(a: float, b: float, c: float, expected: float) -> None:
    assert fma32(*[np.array([x], dtype=np.float32) for x in (a, b, c)])[0] == np.float32(expected)


@given(st.lists(st.tuples(DOUBLES, DOUBLES, DOUBLES), min_size=1, max_size=30), st.booleans())
def test_fma64_rounds_once(rows: list[tuple[float, float, float]], cancels: bool) -> None:
    a, b, c = np.array(rows).T
    c = -a * b if cancels else c
    expected = [float(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in zip(a, b, c, strict=True)]
    assert fma64(a, b, c).tolist() == expected


def test_fma64_on_ties() -> None:
    """As in float32: the last bit of a product, halves of a last bit, and what lies beside such a half."""
    last = 2.0**-52
    cases = [
        (1 + 2.0**-27, 1 + 2.0**-27, -(1 + 2.0**-26), 2.0**-54),
        (1 + last, 1 + last, 2.0**-120, 1 + 2 * last),
        (1.0, 1 + last, last / 2, 1 + 2 * last),
        (2.0**-27 * (1 + last), 2.0**-26 * (1 - last), 1 + last, 1 + last),
        (2.0**-27 * (1 + last), 2.0**-26 * (1 + last), 1 + 2 * last, 1 + 3 * last),
        (-1.0, 0.0, -0.0, -0.0),
    ]
    a, b, c, expected = np.array(cases).T
    assert fma64(a, b, c).view(np.int64).tolist() == expected.view(np.int64).tolist()


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_update_is_torch_s(options: dict[str, Any], dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(7)
    param = torch.randn(37, generator=generator, dtype=dtype)
    optimizer = torch_sgd([param], lr=0.1, **options)
    expected, buffer = param.numpy().copy(), None
    for _ in range(6):
        param.grad = torch.randn(37, generator=generator, dtype=dtype)
        expected, buffer = update(Hyper(lr=0.1, **options), expected, param.grad.numpy(), buffer)
        optimizer.step()
        assert same_bits(param, torch.from_numpy(expected))
