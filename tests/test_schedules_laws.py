"""Laws that hold for every schedule: of the operators, of text and data, of one step against many."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_strategies import endless, finite, schedules, single, values

import fastlr.schedules as everything
from fastlr.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    OneCycle,
    Polynomial,
    Product,
    Schedule,
    Sequence,
    Shift,
    Sum,
    Warmup,
    evaluate,
)

STEPS = np.array([0, 1, 2, 3, 4, 5, 7, 11, 100, 1000, 65537, 10**6, 3 * 10**6 + 1, 2**40])


def namespace() -> dict[str, object]:
    return {name: getattr(everything, name) for name in everything.__all__}


@given(finite, finite, schedules)
def test_sequence_is_associative(a: Schedule, b: Schedule, c: Schedule) -> None:
    assert (a >> b) >> c == a >> (b >> c) == Sequence((a, b, c))


@given(finite, schedules)
def test_sequence_counts_from_each_start(a: Schedule, b: Schedule) -> None:
    s = a >> b
    assert a.length is not None
    inside = np.minimum(STEPS, a.length - 1)
    assert s(inside).tolist() == a(inside).tolist()
    assert s(STEPS + a.length).tolist() == b(STEPS).tolist()
    assert s.length == (None if b.length is None else a.length + b.length)


@given(single, single, values)
def test_operators_act_step_by_step(a: Schedule, b: Schedule, x: float) -> None:
    assert (x * a)(STEPS).tolist() == (x * a(STEPS)).tolist() == (a * x)(STEPS).tolist()
    assert (x + a)(STEPS).tolist() == (x + a(STEPS)).tolist() == (a + x)(STEPS).tolist()
    assert (a * b)(STEPS).tolist() == (a(STEPS) * b(STEPS)).tolist()
    assert (a + b)(STEPS).tolist() == (a(STEPS) + b(STEPS)).tolist()


@given(schedules, schedules, schedules)
def test_products_and_sums_are_flat(a: Schedule, b: Schedule, c: Schedule) -> None:
    assert (a * b) * c == a * (b * c) == Product((a, b, c))
    assert (a + b) + c == a + (b + c) == Sum((a, b, c))


@given(finite, endless, values)
def test_constants_distribute(a: Schedule, b: Schedule, x: float) -> None:
    scale = abs(x) * np.abs([a(STEPS), b(STEPS)]).max()
    np.testing.assert_allclose((x * (a + b))(STEPS), (x * a + x * b)(STEPS), rtol=0, atol=1e-15 * scale + 1e-300)
    assert (x * (a >> b))(STEPS).tolist() == ((x * a) >> (x * b))(STEPS).tolist()


@given(single, single, st.integers(0, 2**40))
def test_shift_of_a_sum(a: Schedule, b: Schedule, k: int) -> None:
    assert (a + b).shift(k)(STEPS).tolist() == (a.shift(k) + b.shift(k))(STEPS).tolist()


@given(schedules, st.integers(1, 2**40))
def test_shift_moves_time(s: Schedule, k: int) -> None:
    later = s.shift(k)
    assert later(STEPS).tolist() == s(np.maximum(STEPS - k, 0)).tolist()
    assert later.shift(-k)(STEPS).tolist() == s(STEPS).tolist()
    if s.length is None or k < s.length:
        assert s.shift(-k)(STEPS).tolist() == s(STEPS + k).tolist()
        assert s.shift(-k).length == (None if s.length is None else s.length - k)


@given(schedules)
def test_text_evaluates_back(s: Schedule) -> None:
    assert eval(repr(s), namespace()) == s


@given(schedules)
def test_data_and_copies_come_back(s: Schedule) -> None:
    s(0)  # a compiled program is no part of the value
    for back in (
        Schedule.from_dict(s.to_dict()),
        Schedule.from_json(s.to_json()),
        pickle.loads(pickle.dumps(s)),
        copy.copy(s),
        copy.deepcopy(s),
    ):
        assert type(back) is type(s)
        assert back == s
        assert hash(back) == hash(s)
        assert repr(back) == repr(s)
        assert back(STEPS).tobytes() == s(STEPS).tobytes()


@given(schedules)
def test_data_is_plain(s: Schedule) -> None:
    def check(value: object) -> None:
        assert type(value) in (dict, list, str, int, float, bool, type(None))
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(one)

    check(s.to_dict())


@given(schedules, st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=20))
def test_one_step_and_many_have_the_same_bits(s: Schedule, steps: list[int]) -> None:
    one_by_one = np.array([s(t) for t in steps])
    array = np.array(steps)
    assert s(array).tobytes() == one_by_one.tobytes()
    assert s(torch.tensor(steps)).numpy().tobytes() == one_by_one.tobytes()
    assert (
        evaluate([s, Constant(1.0), s], steps).tobytes()
        == np.stack([one_by_one, np.ones(len(steps)), one_by_one]).tobytes()
    )


@given(schedules)
def test_length_and_ends(s: Schedule) -> None:
    assert s.start_value == s(0)
    if isinstance(s, (Constant, Linear, Cosine, Polynomial, Warmup, OneCycle)) and s.length is not None:
        assert s.end_value == s(s.length) == s(2**63 - 1)


@settings(max_examples=50)
@given(st.one_of(single, st.tuples(finite, single).map(lambda pair: pair[0] >> pair[1])))
def test_extremes_bound_every_step(s: Schedule) -> None:
    seen = s(np.arange(3000))
    slack = 4e-16 * np.abs(seen).max()  # the weights of a ramp are rounded one by one
    assert s.minimum_value - slack <= seen.min() <= seen.max() <= s.peak + slack
    if s.length is not None and s.length < 3000:
        assert (seen.max(), seen.min()) == pytest.approx((s.peak, s.minimum_value), rel=1e-15, abs=slack)


@pytest.mark.parametrize(
    ("s", "peak", "lowest"),
    [
        (Cosine(0.1, 0.0, 10) >> Constant(0.05), 0.1, Cosine(0.1, 0.0, 10)(9)),  # the end itself is never used
        (Linear(0.0, 1.0, 7).shift(-3), 1.0, 3 / 7),
        (Linear(1.0, 0.0, 7).shift(-3) * 2.0, 2 * 4 / 7, 0.0),
        (OneCycle(1.0, 31), OneCycle(1.0, 31)(9), 1 / 25 / 1e4),  # the rise ends at 8.3, between two steps
        (Linear(0.0, 1.0, 100) * Linear(1.0, 0.0, 100), 0.25, 0.0),
        (Linear(0.0, 1.0, 100) * Exponential(1.0, 0.99), None, 0.0),
        (Constant(0.5) + Exponential(1.0, 0.5), 1.5, 0.5),
        (Exponential(1.0, 0.5).shift(5), 1.0, 0.0),
        (Constant(9.0, 1) >> Exponential(1.0, 0.5) * Constant(2.0, 3) >> Constant(7.0), 9.0, 0.5),
    ],
)
def test_extremes(s: Schedule, peak: float | None, lowest: float) -> None:
    if peak is None:
        peak = float(s(np.arange(1000)).max())
    assert (s.peak, s.minimum_value) == pytest.approx((peak, lowest), rel=1e-12)


def test_extremes_far_beyond_every_turn() -> None:
    s = Exponential(1.0, 0.99) + Exponential(1e-3, 1.001)
    assert s.peak == np.inf
    assert s.minimum_value == pytest.approx(s(np.arange(5000)).min(), rel=1e-4)


def test_shift_by_nothing_and_in_one_direction() -> None:
    s = Linear(1.0, 0.0, 10)
    assert s.shift(0) is s
    assert s.shift(2).shift(3) == s.shift(5) == Shift(s, 5)
    assert s.shift(2).shift(-3) != s.shift(-1)
