"""CosineCycles against its formula in 50 digits, at borders between steps and far from them."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from fastlr.schedules import Cosine, Schedule
from fastlr.schedules.waves import CosineCycles


def reference(start: float, end: float, cycle: Fraction, mirror: bool, t: int) -> mpf:
    with mp.workdps(50):
        x = Fraction(t) / cycle
        x = x % 2 if mirror else x % 1
        return mpf(end) + (mpf(start) - mpf(end)) * (1 + mp.cos(mp.pi * mpf(x.numerator) / x.denominator)) / 2


STEPS = [0, 1, 2, 3, 7, 99, 100, 101, 1000, 12345, 10**6 + 1, 2**31 + 5, 10**12 + 7, 2**53 - 1]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    "cycle",
    [Fraction(5), Fraction(1), Fraction(1, 3), Fraction(7, 2), Fraction(9500, 3), Fraction(1000, 37), Fraction(360, 7)],
)
def test_ratios_go_on_without_end(cycle: Fraction, mirror: bool) -> None:
    s = CosineCycles(start=0.3, end=0.01, cycle=float(cycle), mirror=mirror)
    for t in STEPS:
        assert s(t) == pytest.approx(float(reference(0.3, 0.01, cycle, mirror, t)), abs=3e-16, rel=1e-13)


@given(
    steps=st.integers(1, 10**6),
    turns=st.integers(1, 40),
    t=st.integers(0, 10**7),
    mirror=st.booleans(),
    start=st.floats(0.0, 1.0),
    end=st.floats(0.0, 1.0),
)
def test_shares_of_a_run(steps: int, turns: int, t: int, mirror: bool, start: float, end: float) -> None:
    s = CosineCycles(start, end, steps / turns, mirror)
    assert s(t) == pytest.approx(float(reference(start, end, Fraction(steps, turns), mirror, t)), abs=1e-15)


def test_a_cycle_that_is_no_ratio_is_written_out() -> None:
    cycle = float(np.pi)
    s = CosineCycles(start=1.0, end=0.0, cycle=cycle)
    last = int(4096 * cycle)
    for t in (0, 1, 3, 4, 1000, last - 1):
        assert s(t) == pytest.approx(float(reference(1.0, 0.0, Fraction(cycle), False, t)), abs=1e-15)
    assert s(last + 10) == s(10**9)


def test_whole_cycles_are_cosines() -> None:
    steps = np.arange(60)
    up_and_down = Cosine(0.1, 0.02, 7).past_end("extrapolate")
    assert CosineCycles(0.1, 0.02, 7.0, mirror=True)(steps).tolist() == up_and_down(steps).tolist()
    assert CosineCycles(0.1, 0.02, 7.0)(steps).tolist() == Cosine(0.1, 0.02, 7).repeat()(steps).tolist()


@pytest.mark.parametrize("cycle", [2.5, 33.0, 100 / 3, 0.4])
@pytest.mark.parametrize("mirror", [False, True])
def test_same_bits_everywhere_and_extremes(cycle: float, mirror: bool) -> None:
    s = CosineCycles(start=0.5, end=0.1, cycle=cycle, mirror=mirror)
    steps = np.arange(400)
    values = s(steps)
    assert [s(int(t)) for t in steps] == values.tolist()
    assert (s.minimum_value, s.peak) == (values.min(), values.max())
    assert Schedule.from_json(s.to_json()) == s


def test_stretched() -> None:
    s = CosineCycles(start=1.0, end=0.0, cycle=2.5).stretch(2)
    assert s == CosineCycles(start=1.0, end=0.0, cycle=5.0)
    assert CosineCycles(1.0, 1.0, 2.5)(3) == 1.0


BAD: list[tuple[dict[str, Any], str]] = [
    ({"cycle": 0.0}, "CosineCycles cycle is not positive: 0.0. Use"),
    ({"cycle": float("inf")}, "CosineCycles cycle is not finite: inf. Use"),
    ({"cycle": "5"}, "CosineCycles cycle is not a number: '5'. Pass"),
    ({"start": float("nan")}, "CosineCycles start is not finite: nan. Use"),
    ({"mirror": 1}, "CosineCycles mirror is unknown: 1. Use False or True."),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_arguments(case: int) -> None:
    changes, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        CosineCycles(**{"start": 1.0, "end": 0.0, "cycle": 2.5, **changes})
