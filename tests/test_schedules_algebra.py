"""Laws of the algebra beyond ``>>``, ``*`` and ``+``: quotients, extremes, time, ends, stretching."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from schedule_strategies import endless, factors, finite, lengths, positive, schedules, single, values

import fastlr
from fastlr.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Exponential,
    Linear,
    OneCycle,
    Polynomial,
    Schedule,
    Table,
    Warmup,
    WithMomentum,
    maximum,
    minimum,
    noam,
)

STEPS = np.array([0, 1, 2, 3, 4, 5, 7, 11, 100, 1000, 65537, 10**6, 3 * 10**6 + 1, 2**40])


def same(a: Schedule, b: Schedule) -> bool:
    return bool(a(STEPS).tobytes() == b(STEPS).tobytes())


@given(single, positive, positive)
def test_quotients_and_differences_act_step_by_step(a: Schedule, x: float, y: float) -> None:
    b = Linear(x, y, 1000)
    assert (a / b)(STEPS).tolist() == (a(STEPS) / b(STEPS)).tolist()
    assert (a / x)(STEPS).tolist() == (a(STEPS) / x).tolist()
    assert (x / b)(STEPS).tolist() == (x / b(STEPS)).tolist()
    assert (a - b)(STEPS).tolist() == (a(STEPS) - b(STEPS)).tolist()
    assert (x - a)(STEPS).tolist() == (x - a(STEPS)).tolist()
    assert (-a)(STEPS).tolist() == (-a(STEPS)).tolist()


@given(single, single, single, values)
def test_minimum_and_maximum_form_a_lattice(a: Schedule, b: Schedule, c: Schedule, x: float) -> None:
    assert minimum(a, b)(STEPS).tolist() == np.minimum(a(STEPS), b(STEPS)).tolist()
    assert maximum(a, b)(STEPS).tolist() == np.maximum(a(STEPS), b(STEPS)).tolist()
    assert minimum(minimum(a, b), c) == minimum(a, minimum(b, c)) == minimum(a, b, c)
    assert np.array_equal(minimum(a, maximum(a, b))(STEPS), a(STEPS))
    assert np.array_equal(maximum(a, minimum(a, x))(STEPS), a(STEPS))
    assert np.array_equal(minimum(a, b)(STEPS) + maximum(a, b)(STEPS), a(STEPS) + b(STEPS))


@given(single, values, values)
def test_clip(s: Schedule, x: float, y: float) -> None:
    low, high = min(x, y), max(x, y)
    assert s.clip(low, high) == minimum(maximum(s, low), high)
    assert s.clip(low, high)(STEPS).tolist() == np.clip(s(STEPS), low, high).tolist()
    assert s.clip() is s


@given(schedules, lengths, lengths)
def test_epochs(s: Schedule, n: int, m: int) -> None:
    assume(s.length is None or s.length * n * m <= 2**53)
    assert s.per_epoch(n)(STEPS).tolist() == s(STEPS // n).tolist()
    assert same(s.per_epoch(n).per_epoch(m), s.per_epoch(n * m))
    assert s.floor(n)(STEPS).tolist() == s(STEPS // n * n).tolist()
    assert same(s.floor(n).floor(n), s.floor(n))
    assert same(s.floor(1), s)
    assert same(s.per_epoch(1), s)


@given(schedules, lengths, lengths)
def test_hold(s: Schedule, n: int, m: int) -> None:
    assert s.hold(n)(STEPS).tolist() == s(np.minimum(STEPS, n)).tolist()
    assert same(s.hold(n).hold(m), s.hold(min(n, m)))
    assert s.hold(n).length == n


@given(finite, st.integers(1, 6), factors)
def test_repeat(s: Schedule, times: int, decay: float) -> None:
    assert s.length is not None
    cycle = STEPS // s.length
    assert s.repeat()(STEPS).tolist() == s(STEPS % s.length).tolist()
    assert same(s.repeat(1), s)
    last = np.minimum(cycle, times - 1)
    assert s.repeat(times)(STEPS).tolist() == s(STEPS - last * s.length).tolist()
    assert s.repeat(times).length == times * s.length
    powers = np.array([math.pow(decay, int(n)) for n in last])
    np.testing.assert_allclose(s.repeat(times, decay=decay)(STEPS), s(STEPS - last * s.length) * powers, rtol=1e-12)
    assert s.repeat(2).repeat(3).length == s.repeat(6).length
    assert same(s.repeat(2).repeat(), s.repeat())
    assert same(s.repeat().shift(-s.length), s.repeat())


@given(st.integers(1, 1000), st.integers(1, 8))
def test_growing_cycles_double(period: int, cycles: int) -> None:
    s = Linear(1.0, 0.0, period).repeat(cycles, decay=0.5, growth=2)
    start = 0
    for i in range(cycles):
        assert s(start) == 0.5**i
        assert s(start + period * 2**i // 2) == pytest.approx(0.5 * 0.5**i, abs=1 / period)
        start += period * 2**i
    assert s.length == start
    assert s(start) == 0.0


@given(finite, st.fractions(min_value=1, max_value=50))
def test_stretch(s: Schedule, factor: Fraction) -> None:
    assert s.stretch(1) == s
    assume(not isinstance(s, (Table, CosineRestarts)))
    longer = s.stretch(float(factor))
    assert s.length is not None
    assert longer.length == round(Fraction(float(factor)) * s.length)
    assert longer(longer.length) == s(s.length)


@given(finite, finite, st.integers(0, 10**6))
def test_over_is_exact(a: Schedule, b: Schedule, more: int) -> None:
    assume(not any(isinstance(one, (Table, CosineRestarts)) for one in (a, b)))
    s = a >> b
    assert s.length is not None
    total = s.length * 10 + more
    assert s.over(total).length == total
    assert s.over(total).over(s.length) == s


WHOLE: list[Callable[[int], Schedule]] = [
    lambda n: Cosine(0.3, 0.01, 10 * n),
    lambda n: Linear(0.1, 0.9, 10 * n) * Exponential(1.0, 0.5, 3.0 * n),
    lambda n: (Linear(0.0, 1.0, 3 * n) >> Polynomial(1.0, 0.0, 7 * n, 2.0)).repeat(),
    lambda n: minimum(Linear(0.1, 0.9, 10 * n).shift(2 * n), 0.7),
]


@pytest.mark.parametrize("make", WHOLE)
@pytest.mark.parametrize("factor", [2, 3, 100])
def test_a_stretched_schedule_has_the_same_values_at_stretched_steps(
    make: Callable[[int], Schedule], factor: int
) -> None:
    steps = np.arange(40)
    np.testing.assert_allclose(make(1).stretch(factor)(steps * factor), make(1)(steps), rtol=1e-13)
    assert make(1).stretch(factor) == make(factor)


@given(endless)
def test_endless_schedules_go_on_whatever_the_mode(s: Schedule) -> None:
    for mode in ("hold", "extrapolate", "error"):
        assert s.past_end(mode) is s


@given(finite)
def test_past_the_end(s: Schedule) -> None:
    assert s.length is not None
    assert s.past_end("hold") is s
    strict = s.past_end("error")
    inside = STEPS[s.length >= STEPS]
    assert strict(inside).tobytes() == s(inside).tobytes()
    for t in (s.length + 1, 2**63 - 1):
        with pytest.raises(ValueError, match=f"no value: step {t}"):
            strict(t)
        with pytest.raises(ValueError, match="no value"):
            strict(np.array([0, t]))
    assert (strict.peak, strict.minimum_value) == (s.peak, s.minimum_value)
    assert same(strict.shift(3).hold(3), s.shift(3).hold(3))


def test_extrapolation() -> None:
    line = (Warmup(1.0, 4) >> Linear(1.0, 0.5, 10)).past_end("extrapolate")
    assert [line(t) for t in (0, 4, 14, 24)] == [0.25, 1.0, 0.5, 0.0]
    wave = Cosine(1.0, 0.1, 10).past_end("extrapolate")
    assert [wave(t) for t in (0, 10, 20, 30)] == [1.0, 0.1, 1.0, 0.1]
    steps = np.arange(100)
    np.testing.assert_allclose(wave(steps), 0.1 + 0.45 * (1 + np.cos(np.pi * steps / 10)), rtol=1e-13)
    with pytest.raises(ValueError, match="does not go on"):
        Polynomial(1.0, 0.0, 4, 2.0).past_end("extrapolate")
    with pytest.raises(ValueError, match="past_end mode is unknown"):
        line.past_end("stop")


# torch's and timm's cycle index is int(log(...)), which is off by one at exact powers.
@pytest.mark.parametrize(("period", "growth"), [(5, 3), (1, 2), (7, 10), (10, 2)])
def test_restarts_at_exact_powers(period: int, growth: int) -> None:
    s = CosineRestarts(1.0, 0.0, period, growth=growth)
    start = 0
    for i in range(12):
        assert s(start) == 1.0
        if period * growth**i > 1:
            assert s(start + period * growth**i // 2) < 0.8
        start += period * growth**i


def test_noam_peaks_where_its_two_parts_meet() -> None:
    s = noam(512, 4000)
    assert s.peak == pytest.approx(512**-0.5 * 4000**-0.5, rel=1e-12)
    assert int(np.argmax(s(np.arange(20_000)))) == 3999


def test_momentum_goes_with_a_schedule() -> None:
    s = WithMomentum(OneCycle(0.1, 100), OneCycle(0.1, 100).momentum)
    assert s(30) == OneCycle(0.1, 100)(30)
    assert s.stretch(2).momentum(60) == OneCycle(0.1, 200).momentum(60)  # type: ignore[attr-defined]


REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("changes its sign", lambda: 1.0 / Linear(-1.0, 1.0, 4)),
    ("denominator is 0", lambda: Constant(1.0) / Cosine(1.0, 0.0, 4)),
    ("goes below 0", lambda: Linear(1.0, -1.0, 4) ** 2),
    ("power is not positive", lambda: Linear(1.0, 0.0, 4) ** 0),
    ("endless schedule has no cycles", lambda: Constant(1.0).repeat()),
    ("times is out of range", lambda: Linear(1.0, 0.0, 4).repeat(0)),
    ("decay is not positive", lambda: Linear(1.0, 0.0, 4).repeat(decay=0.0)),
    ("Growing cycles are too many", lambda: Linear(1.0, 0.0, 4).repeat(growth=1.0001)),
    ("Growing cycles are too many", lambda: CosineRestarts(1.0, 0.0, 4, growth=1.0001)),
    ("Give the number of cycles", lambda: CosineRestarts(1.0, 0.0, 4, growth=0.5)),
    ("cycle has no step", lambda: CosineRestarts(1.0, 0.0, 4, growth=0.5, cycles=9)),
    ("stretch factor is not positive", lambda: Linear(1.0, 0.0, 4).stretch(0)),
    ("endless schedule has no shares", lambda: Constant(1.0).over(10)),
    ("leaves a piece no step", lambda: (Linear(1.0, 0.0, 4) >> Linear(1.0, 0.0, 4)).over(1)),
    ("whole factors only", lambda: Table([1.0, 2.0]).stretch(1.5)),
]


@pytest.mark.parametrize(("message", "build"), REFUSED)
def test_refused(message: str, build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_only_schedules_and_numbers() -> None:
    for build in (lambda: minimum(Constant(1.0), "1"), lambda: Constant(1.0) / "1", lambda: Constant(1.0).clip("a")):
        with pytest.raises(TypeError):
            build()


def test_an_optimizer_refuses_a_step_past_the_end_before_it_changes_anything() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = fastlr.SGD([weight], lr=Linear(0.5, 0.25, 2).past_end("error"))
    for _ in range(3):
        weight.grad = torch.ones(3)
        optimizer.step()
    before = weight.detach().clone()
    with pytest.raises(ValueError, match=r"Invalid lr in a parameter group: nan\..*where it has ended"):
        optimizer.step()
    with pytest.raises(ValueError, match="no value: step 9"):
        optimizer.step_count = 9
    assert optimizer.step_count == 3
    assert torch.equal(weight, before)
    optimizer.set_schedule(lr=0.1)
    optimizer.step()
    assert torch.equal(weight, before - 0.1)
