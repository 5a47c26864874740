"""Stretching: exact lengths, shared-out steps, the same curve, and what cannot be had."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mpmath import mpf
from schedule_reference import reference
from schedule_strategies import finite

from fastlr.schedules import (
    Constant,
    Cosine,
    CosineRestarts,
    Cyclic,
    Exponential,
    InverseSqrt,
    InverseTime,
    Linear,
    OneCycle,
    Polynomial,
    Repeat,
    Schedule,
    Sequence,
    Table,
    Warmup,
)


@given(
    st.one_of(
        finite,
        st.tuples(finite, st.integers(2, 5)).map(lambda pair: pair[0].repeat(pair[1])),
        st.tuples(finite, st.integers(1, 99)).map(lambda pair: pair[0].shift(pair[1])),
        st.tuples(finite, finite).map(lambda pair: pair[0] >> pair[1].repeat(3, decay=0.5)),
        st.tuples(finite, finite).map(lambda pair: pair[0] * pair[1]),
    ),
    st.integers(0, 10**6),
)
def test_every_longer_total_can_be_had(s: Schedule, more: int) -> None:
    assume("Table" not in repr(s))
    assert s.length is not None
    total = 10 * s.length + more
    longer = s.over(total)
    assert longer.length == total
    assert longer.end_value == pytest.approx(s.end_value, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("total", [31, 100, 101, 39_999])
@pytest.mark.parametrize(
    "s",
    [
        Linear(1.0, 0.25, 10).repeat(3),
        Linear(1.0, 0.25, 10).repeat(3, decay=0.5),
        Linear(1.0, 0.25, 10).repeat(3, decay=0.5, growth=2),
        CosineRestarts(1.0, 0.1, 10, cycles=3),
        CosineRestarts(1.0, 0.1, 10, decay=0.5, cycles=3),
        CosineRestarts(1.0, 0.1, 10, growth=1.5, cycles=3),
        Warmup(1.0, 3) >> Cosine(1.0, 0.1, 9).repeat(7),
        Linear(1.0, 0.1, 5).shift(3),
        Linear(1.0, 0.1, 5).shift(-3),
        (Linear(1.0, 0.5, 3) >> Linear(0.5, 0.1, 4)).repeat(2).repeat(2),
        Exponential(1.0, 0.9).hold(7),
        OneCycle(0.5, 13),
    ],
)
def test_cycles_share_out_every_total(s: Schedule, total: int) -> None:
    longer = s.over(total)
    assert longer.length == total
    assert longer.end_value == pytest.approx(s.end_value, rel=1e-14)


def test_shared_out_cycles_differ_by_one_step() -> None:
    s = Linear(1.0, 0.0, 10).repeat(3, decay=0.5).over(31)
    assert isinstance(s, Sequence)
    assert [piece.length for piece in s.pieces] == [10, 11, 10]
    assert [s(t) for t in (0, 10, 21, 31)] == [1.0, 0.5, 0.25, 0.0]
    assert Linear(1.0, 0.0, 10).repeat(3).over(60) == Linear(1.0, 0.0, 20).repeat(3)
    restarts = CosineRestarts(1.0, 0.1, 10, decay=0.5, cycles=3).over(31)
    assert restarts == Cosine(1.0, 0.1, 10) >> Cosine(0.5, 0.1, 11) >> Cosine(0.25, 0.1, 10)
    assert CosineRestarts(1.0, 0.1, 10, cycles=3).over(60) == CosineRestarts(1.0, 0.1, 20, cycles=3)


CURVES: dict[str, Schedule] = {
    "exp_range": Cyclic(0.1, 0.5, 10, 15, mode="exp_range", gamma=0.97),
    "exp_range_cycle": Cyclic(0.1, 0.5, 10, 15, mode="exp_range", gamma=0.97, scale_mode="cycle"),
    "triangular2": Cyclic(0.1, 0.5, 10, 15, mode="triangular2"),
    "restarts": CosineRestarts(0.5, 0.1, 10, growth=2, decay=0.7),
    "inverse_sqrt": InverseSqrt(0.5, 7.0, 3.0),
    "inverse_time": InverseTime(0.5, 0.3),
    "exponential": Exponential(0.5, 0.9, 2.5),
    "nested": (Polynomial(0.5, 0.1, 6, 0.7) >> Linear(0.1, 0.3, 4)).repeat(decay=0.8) * Exponential(1.0, 0.99),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("factor", [2, 5])
def test_the_curve_stays_the_same(name: str, factor: int) -> None:
    s = CURVES[name]
    steps = np.arange(120)
    np.testing.assert_allclose(s.stretch(factor)(steps * factor), s(steps), rtol=1e-12)


@pytest.mark.parametrize("growth", [2, 1.5, 3, 1.07])
@pytest.mark.parametrize("times", [1, 4, 8])
def test_growing_cycles(growth: float, times: int) -> None:
    s = Cosine(0.5, 0.1, 13).repeat(times, decay=0.7, growth=growth)
    assert s.length is not None
    for t in {*range(40), *range(0, s.length, 1 + s.length // 300), *range(max(0, s.length - 40), s.length + 3)}:
        assert abs(s(t) - reference(s, t)) <= mpf(1e-14)


REFUSED: list[tuple[str, Callable[[], object]]] = [
    ("cannot be exactly 107 steps long: .* comes to 110. Use", lambda: Linear(1.0, 0.0, 10).per_epoch(10).over(107)),
    ("cannot be exactly 1003 steps long: .* 1100", lambda: Linear(1.0, 0.0, 100).floor(10).over(1003)),
    ("cannot be exactly 23 steps long", lambda: Warmup(1.0, 5).per_epoch(2).repeat(5, growth=1.5)),
    ("cannot be exactly", lambda: (Constant(1.0, 3) >> Linear(1.0, 0.0, 3).per_epoch(5)).over(100)),
    ("cycle has no step: cycle 1, from 2 to 2", lambda: Linear(1.0, 0.0, 2).repeat(5, growth=0.25)),
    ("nest too deeply: over 2 levels", lambda: grown(3)),
    ("nest too deeply: over 2 levels", lambda: (grown(2) >> Constant(0.5, 4)).repeat(2, growth=2)),
    ("too many parts: over 65536", lambda: Linear(1.0, 0.0, 9).repeat(4096).repeat(4096).over(9 * 4096**2 + 2048)),
    ("not positive: 0.0", lambda: Cyclic(0.0, 1.0, 9, mode="exp_range", gamma=0.5).stretch(1e-300)),
    ("is not finite", lambda: Cyclic(0.0, 1.0, 9, mode="exp_range", gamma=1.5).stretch(1e-300)),
    ("values are no sequence: {", lambda: Table({0.5, 1.0})),  # type: ignore[arg-type]
]


def grown(levels: int) -> Schedule:
    s: Schedule = Linear(1.0, 0.0, 1000)
    for _ in range(levels):
        s = s.repeat(4, growth=1.1)
    return s


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case: int) -> None:
    message, build = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def test_two_levels_of_growing_cycles_are_exact() -> None:
    s = grown(2)
    assert isinstance(s, Repeat)
    assert s.length is not None
    seen = s(np.arange(s.length + 1))
    assert int((np.diff(seen) > 0).sum()) == 4 * 4 - 1  # it rises between cycles only
    assert s(s.length) == 0.0
