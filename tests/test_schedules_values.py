"""Values against the 50-digit oracle, exact end points, and the traps that other libraries fell into."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf
from schedule_reference import interesting_steps, reference
from schedule_strategies import single

from fastlr.schedules import (
    Constant,
    Cosine,
    CosineCycles,
    CosineRestarts,
    Cyclic,
    Exponential,
    Geometric,
    InverseSqrt,
    InverseTime,
    Line,
    Linear,
    Logarithmic,
    MultiStep,
    NormalizedExponential,
    OneCycle,
    OneCycleMomentum,
    Piecewise,
    Polynomial,
    Power,
    Schedule,
    Step,
    Table,
    Tanh,
    Warmup,
    evaluate,
    maximum,
    minimum,
    noam,
    range_test,
    warmup_cosine,
    warmup_stable_decay,
)

LENGTHS = [1, 2, 3, 31, 257, 1048583, 10**9 + 7]

# The rest of the catalogue, by length.
WIDE: dict[str, Callable[[int], Schedule]] = {
    "line": lambda n: Line(0.1, 0.1 + 1e-9, n),
    "cosine_k": lambda n: Cosine(0.1, 0.01, n, k=1.7),
    "polynomial_k_root": lambda n: Polynomial(0.1, 1e-8, n, 0.1, k=0.1),
    "polynomial_k_late": lambda n: Polynomial(0.1, 0.0, n, 0.3, k=7.0),
    "polynomial_k": lambda n: Polynomial(0.1, 0.01, n, 0.5, k=0.6),
    "power": lambda n: Power(0.1, 0.0, n, 0.5),
    "power_3.3": lambda n: Power(0.001, 0.2, n, 3.3),
    "tanh": lambda n: Tanh(0.1, 0.001, n),
    "tanh_rise": lambda n: Tanh(0.0, 0.1, n, lower=-3.0, upper=2.5),
    "geometric": lambda n: Geometric(0.1, 1e-7, n),
    "geometric_rise": lambda n: Geometric(-1e-8, -3.0, n),
    "logarithmic": lambda n: Logarithmic(0.0, 0.1, n),
    "normalized_exponential": lambda n: NormalizedExponential(0.1, 0.01, n, ratio=0.5),
    "normalized_exponential_steep": lambda n: NormalizedExponential(0.1, 0.0, n, ratio=1e-4),
    "exponential_period": lambda n: Exponential(0.1, 0.37, n / 3),
    "inverse_sqrt": lambda n: InverseSqrt(0.1, n),
    "inverse_sqrt_offset": lambda n: InverseSqrt(0.1, 10.0, 0.5),
    "inverse_time": lambda n: InverseTime(0.1, 3.0 / n),
    "table": lambda n: Table([0.1 * math.sin(i) for i in range(min(n, 1000))]),
    "piecewise": lambda n: Piecewise((n, 2 * n, 2 * n + 1), (0.1, 0.2, -0.3, 0.05)),
    "restarts": lambda n: CosineRestarts(0.1, 0.01, n),
    "restarts_decay": lambda n: CosineRestarts(0.1, 0.01, n, decay=0.5, cycles=3),
    "restarts_double": lambda n: CosineRestarts(0.1, 0.0, n, growth=2, decay=0.9),
    "restarts_fraction": lambda n: CosineRestarts(0.1, 0.02, n + 1, growth=1.5, cycles=5),
    "triangular": lambda n: Cyclic(0.01, 0.1, n),
    "triangular2": lambda n: Cyclic(0.01, 0.1, n, n + 3, mode="triangular2"),
    "exp_range": lambda n: Cyclic(0.01, 0.1, n, mode="exp_range", gamma=1 - 1e-3 / n),
    "exp_range_cycle": lambda n: Cyclic(0.01, 0.1, n, mode="exp_range", gamma=0.9, scale_mode="cycle"),
    "quotient": lambda n: Linear(0.1, 0.4, n) / Linear(1.0, 3.0, n + 5),
    "minimum": lambda n: minimum(Linear(0.0, 1.0, n), InverseSqrt(0.5, n), 0.4),
    "maximum": lambda n: maximum(Cosine(0.1, 0.0, n), 0.01),
    "clip": lambda n: Linear(-1.0, 1.0, n).clip(-0.5, 0.7),
    "power_of": lambda n: Cosine(0.3, 0.0, n) ** 1.5,
    "minus": lambda n: 0.5 - Cosine(0.3, 0.1, n),
    "hold": lambda n: Exponential(0.1, 0.5, n).hold(n),
    "per_epoch": lambda n: Cosine(0.1, 0.0, 30).per_epoch(n),
    "staircase": lambda n: Cosine(0.1, 0.0, 10 * n + 3).floor(n),
    "repeat": lambda n: (Linear(0.0, 0.1, n) >> Cosine(0.1, 0.0, n)).repeat(),
    "repeat_decay": lambda n: Linear(0.1, 0.0, n).repeat(times=4, decay=0.7),
    "noam": lambda n: noam(512, n),
    "range_test": lambda n: range_test(1e-7, 10.0, n),
    "wsd": lambda n: warmup_stable_decay(0.1, n + 20, 5, 10, shape="exponential"),
    "nested": lambda n: ((Linear(0.1, 0.0, n).floor(3) >> Constant(0.1, 5)).repeat(3, decay=0.5) * 2.0).shift(7),
}

SIZED: dict[str, Callable[[int], Schedule]] = {
    "constant": lambda n: Constant(0.1, n),
    "linear": lambda n: Linear(0.1, 0.003, n),
    "linear_up_negative": lambda n: Linear(-0.7, 0.9, n),
    "cosine": lambda n: Cosine(0.1, 0.0, n),
    "cosine_up": lambda n: Cosine(1e-6, 0.3, n),
    "polynomial_half": lambda n: Polynomial(0.1, 0.01, n, 0.5),
    "polynomial_1": lambda n: Polynomial(0.1, 0.0, n, 1.0),
    "polynomial_7.3": lambda n: Polynomial(0.1, -0.2, n, 7.3),
    "exponential": lambda n: Exponential(0.1, 0.5 ** (1 / n)),
    "exponential_slow": lambda n: Exponential(0.1, 1.0 - 1e-3 / n),
    "step": lambda n: Step(0.1, n, 0.3),
    "multistep": lambda n: MultiStep(0.1, (n, n, 2 * n, 3 * n + 1), 0.1),
    "warmup": lambda n: Warmup(0.1, n),
    "one_cycle": lambda n: OneCycle(0.1, n),
    "one_cycle_linear": lambda n: OneCycle(0.1, n, pct_start=0.45, anneal_strategy="linear"),
    "one_cycle_three": lambda n: OneCycle(0.1, n, pct_start=0.37, three_phase=True),
    "one_cycle_all_rise": lambda n: OneCycle(0.1, n, pct_start=1.0),
    "one_cycle_no_rise": lambda n: OneCycle(0.1, n, pct_start=0.0),
    "momentum": lambda n: OneCycleMomentum(n),
    "momentum_three": lambda n: OneCycle(0.1, n, pct_start=0.4, three_phase=True).momentum,
    "sequence": lambda n: Warmup(0.1, n) >> Constant(0.1, n) >> Polynomial(0.1, 0.0, n, 2.0) >> Constant(0.02),
    "product": lambda n: Cosine(1.0, 0.1, n) * Step(0.1, n, 0.5) * 3.0,
    "sum": lambda n: Linear(0.1, 0.0, n) + Exponential(0.2, 0.999) + 0.5,
    "shift_later": lambda n: Cosine(0.1, 0.01, n).shift(17),
    "shift_earlier": lambda n: Cosine(0.1, 0.01, n + 17).shift(-17),
    "sequence_in_product": lambda n: (Linear(0.0, 1.0, n) >> Cosine(1.0, 0.0, n)) * Exponential(0.1, 0.9999).shift(n),
    "warmup_cosine": lambda n: warmup_cosine(0.1, n),
    **WIDE,
}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", SIZED)
def test_oracle(name: str, length: int) -> None:
    s = SIZED[name](length)
    steps = interesting_steps(s.length if s.length is not None else length)
    if isinstance(s, CosineRestarts) and s.growth != 1.0 and s.cycles is None:
        steps = [t for t in steps if t < 2**51]  # cycles that would end after 2**53 are left out
    values = [s(t) for t in steps]
    expected = [reference(s, t) for t in steps]
    allowed = mpf(1e-13) * max(abs(e) for e in expected)
    for t, value, want in zip(steps, values, expected, strict=True):
        assert abs(value - want) <= allowed, (t, value, want)
    assert evaluate([s], np.array(steps)).tolist() == [values]


@settings(max_examples=500)
@given(single, st.lists(st.integers(0, 10**7), min_size=1, max_size=10))
def test_oracle_at_random(s: Schedule, steps: list[int]) -> None:
    largest = max(abs(s.start_value), abs(s.end_value), abs(s.minimum_value))
    largest = max(largest, abs(s.peak)) if math.isfinite(s.peak) else largest
    for t in [*steps, 0, s.length or 0]:
        want = reference(s, t)
        assert abs(s(t) - want) <= mpf(1e-13) * max(mpf(largest), abs(want)), (t, s(t), want)


# (schedule, the steps and exact values of its end points)
END_POINTS = [
    (lambda n: Linear(0.1, 0.3, n), lambda n: {0: 0.1, n: 0.3, n + 1: 0.3}),
    (lambda n: Cosine(0.1, 0.7, n), lambda n: {0: 0.1, n: 0.7, n + 1: 0.7}),
    (lambda n: Polynomial(0.1, 0.7, n, 0.3), lambda n: {0: 0.1, n: 0.7, n + 1: 0.7}),
    (lambda n: Linear(0.1, 0.1, n), lambda n: {0: 0.1, n // 3: 0.1, n: 0.1}),
    (lambda n: Exponential(0.1, 0.3), lambda n: {0: 0.1, 2**63 - 1: 0.0}),
    (lambda n: Step(0.1, n, 0.3), lambda n: {0: 0.1, n - 1: 0.1, n: 0.1 * 0.3}),
    (lambda n: MultiStep(0.1, [n], 0.3), lambda n: {n - 1: 0.1, n: 0.1 * 0.3}),
    (lambda n: Warmup(0.1, n), lambda n: {n - 1: 0.1, n: 0.1, 2**63 - 1: 0.1}),
    (lambda n: Warmup(0.3, n) >> Cosine(0.3, 0.0, n), lambda n: {n - 1: 0.3, n: 0.3, 2 * n: 0.0, 2 * n + 1: 0.0}),
    (lambda n: Power(0.1, 0.7, n, 0.3), lambda n: {0: 0.1, n: 0.7, 2**63 - 1: 0.7}),
    (lambda n: Geometric(0.1, 0.7, n), lambda n: {0: 0.1, n: 0.7, 2**63 - 1: 0.7}),
    (lambda n: Logarithmic(0.1, 0.7, n), lambda n: {0: 0.1, n: 0.7, 2**63 - 1: 0.7}),
    (lambda n: NormalizedExponential(0.1, 0.7, n), lambda n: {n: 0.7, n + 1: 0.7, 2**63 - 1: 0.7}),
    (lambda n: Cosine(0.1, 0.7, n, k=1.7), lambda n: {0: 0.1, n: 0.7, n + 1: 0.7}),
    (lambda n: Polynomial(0.1, 0.7, n, 0.3, k=1.7), lambda n: {0: 0.1, n: 0.7, n + 1: 0.7}),
    (lambda n: Line(0.1, 0.7, n), lambda n: {0: 0.1, n: 0.7}),
    (lambda n: InverseSqrt(0.1, n), lambda n: {0: 0.1, 3 * n: 0.05}),
    (lambda n: InverseTime(0.1, 1.0 / n), lambda n: {0: 0.1, n: 0.05}),
    (lambda n: CosineRestarts(0.1, 0.7, n, cycles=3), lambda n: {0: 0.1, n: 0.1, 2 * n: 0.1, 3 * n: 0.7}),
    (lambda n: CosineRestarts(0.1, 0.0, n, decay=0.5), lambda n: {0: 0.1, n: 0.05, 2 * n: 0.025}),
    (lambda n: CosineRestarts(0.1, 0.7, n, growth=2, cycles=3), lambda n: {n: 0.1, 3 * n: 0.1, 7 * n: 0.7}),
    (lambda n: CosineCycles(0.1, 0.7, n, mirror=True), lambda n: {0: 0.1, n: 0.7, 2 * n: 0.1, 3 * n: 0.7}),
    (lambda n: Cyclic(0.1, 0.7, n, n + 1), lambda n: {0: 0.1, n: 0.7, 2 * n + 1: 0.1, 3 * n + 1: 0.7}),
    (lambda n: OneCycle(0.1, n + 1), lambda n: {n: 0.1 / 25.0 / 1e4, n + 1: 0.1 / 25.0 / 1e4}),
]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("case", range(len(END_POINTS)))
def test_end_points_are_exact(case: int, length: int) -> None:
    make, points = END_POINTS[case]
    s = make(length)
    assert {t: s(t) for t in points(length)} == points(length)


@pytest.mark.parametrize("length", [257, 100_000, 10**9 + 7, 2**53])
def test_tail_of_a_cosine_keeps_its_digits(length: int) -> None:
    s = Cosine(0.1, 0.0, length)
    for left in (1, 2, 7, 100):
        assert abs(s(length - left) / reference(s, length - left) - 1) < 1e-14


@pytest.mark.parametrize("gamma", [0.99999, 0.9999999, 1.0000003, 0.5])
@pytest.mark.parametrize("t", [1000, 10**6, 2**24 + 1, 10**8])
def test_powers_keep_their_digits(gamma: float, t: int) -> None:
    want = mpf(gamma) ** t
    if want > mpf("1e-300"):
        assert abs(Exponential(1.0, gamma)(t) / want - 1) < 1e-15


@pytest.mark.parametrize("t", [2**24 + 1, 2**31 + 1, 2**32 + 1, 2**52 + 1])
def test_counts_beyond_float32_and_int32(t: int) -> None:
    s = Constant(1.0, t) >> Constant(2.0, 1) >> Constant(3.0)
    assert [s(t - 1), s(t), s(t + 1)] == [1.0, 2.0, 3.0]
    assert MultiStep(1.0, (t,), 0.5)(np.array([t - 1, t])).tolist() == [1.0, 0.5]
    assert Step(1.0, t, 0.5)(np.array([t - 1, t])).tolist() == [1.0, 0.5]
    assert Linear(1.0, 0.0, t)(t - 1) == 1.0 / t


def test_last_step_of_a_long_linear_decay_is_not_zero() -> None:
    assert Linear(1.0, 0.0, 20_000_000)(19_999_999) == pytest.approx(5e-8, rel=1e-14)


def test_product_is_a_product() -> None:
    s = Exponential(1.0, 0.9) * Cosine(0.1, 0.0, 5)
    assert s(6) == 0.0
    t = Exponential(1.0, 0.9) * Linear(0.1, 0.05, 5)
    assert t(6) == pytest.approx(0.9**6 * 0.05, rel=1e-14)


def test_piece_starts_from_its_own_values() -> None:
    s = Constant(0.05, 2) >> OneCycle(0.1, 10)
    assert s(0) == 0.05
    assert s(2) == 0.1 / 25.0


def test_one_cycle_rise_that_ends_at_the_first_update_is_left_out() -> None:
    s = OneCycle(1.0, 10, pct_start=0.1)
    assert s(0) == 1.0
    assert s(9) == s(10) == s(11) == 1.0 / 25.0 / 1e4
    assert s.momentum(0) == 0.85
    assert OneCycle(1.0, 1, pct_start=1.0)(0) == 1.0 / 25.0 / 1e4


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_momentum_of_the_third_phase_stands_still(strategy: str) -> None:
    momentum = OneCycle(1.0, 1000, anneal_strategy=strategy, three_phase=True).momentum
    assert set(momentum(np.arange(600, 1000))) == {0.95}


def test_growth_without_end_is_infinite_and_never_nan() -> None:
    s = Exponential(0.1, 1.1)
    assert (s(2**63 - 1), s.peak, s.minimum_value) == (math.inf, math.inf, 0.1)
    assert Exponential(0.0, 1.1)(2**63 - 1) == 0.0
    assert Step(0.0, 1, 1.1).peak == 0.0
