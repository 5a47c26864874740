"""Peak and smallest value against every single step, also where a schedule is cut, moved, repeated or sampled."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastlr.schedules import (
    Constant,
    Cosine,
    CosineCycles,
    CosineRestarts,
    Cyclic,
    Exponential,
    Geometric,
    InverseTime,
    Linear,
    MultiStep,
    NormalizedExponential,
    OneCycle,
    Piecewise,
    Polynomial,
    Power,
    Schedule,
    Step,
    Table,
    Tanh,
    Warmup,
)

LONGEST = 50_000  # that is looked at step by step

values = st.floats(-1.0, 1.0, width=16)
lengths = st.sampled_from([1, 2, 3, 5, 17, 100])
gammas = st.sampled_from([0.5, 0.9, 0.99, 1.0, 1.01])

single = st.one_of(
    st.builds(Linear, values, values, lengths),
    st.builds(Cosine, values, values, lengths, st.sampled_from([0.3, 1.0, 3.0])),
    st.builds(Polynomial, values, values, lengths, st.sampled_from([0.3, 2.0]), st.sampled_from([1.0, 3.0])),
    st.builds(Power, values, values, lengths, st.sampled_from([0.5, 3.0])),
    st.builds(Tanh, values, values, lengths),
    st.builds(NormalizedExponential, values, values, lengths, st.sampled_from([1e-3, 0.5, 3.0])),
    st.builds(Warmup, st.floats(0.0, 1.0), lengths),
    st.builds(Table, st.lists(values, min_size=1, max_size=20)),
    st.builds(OneCycle, values, lengths),
    st.builds(OneCycle, values, lengths).map(lambda s: s.momentum),
    st.builds(CosineRestarts, values, values, lengths, st.sampled_from([1.0, 1.5, 2.0]), gammas, st.integers(1, 4)),
    st.builds(CosineCycles, values, values, st.fractions(1, 20).map(float), st.booleans()).map(lambda s: s.hold(40)),
    st.builds(Cyclic, values, values, lengths, lengths, st.sampled_from(["triangular", "triangular2"])).flatmap(
        lambda s: lengths.map(lambda n: s.hold(3 * n))
    ),
    st.builds(
        Cyclic,
        values,
        values,
        lengths,
        lengths,
        st.just("exp_range"),
        gammas,
        st.sampled_from([None, "cycle"]),
    ).flatmap(lambda s: lengths.map(lambda n: s.hold(3 * n))),
    st.builds(Step, values, lengths, gammas).map(lambda s: s.hold(300)),
    st.builds(Piecewise, st.just((3, 40)), st.tuples(values, values, values)).map(lambda s: s.hold(50)),
)


def shifted(s: Schedule, steps: int) -> Schedule:
    return s.shift(max(steps, 1 - (s.length or 1)))  # one step is left


def moved(parts: st.SearchStrategy[Schedule]) -> st.SearchStrategy[Schedule]:
    """The schedules in another time, in sequence, and scaled."""
    return st.one_of(
        st.tuples(parts, lengths).map(lambda pair: pair[0].floor(pair[1])),
        st.tuples(parts, st.sampled_from([1, 2, 7])).map(lambda pair: pair[0].per_epoch(pair[1])),
        st.tuples(parts, lengths).map(lambda pair: pair[0].hold(pair[1])),
        st.tuples(parts, st.integers(-200, 30)).map(lambda pair: shifted(*pair)),
        st.tuples(parts, st.sampled_from([1, 2, 5]), gammas).map(lambda three: three[0].repeat(three[1], three[2])),
        st.tuples(parts, parts).map(lambda pair: pair[0] >> pair[1]),
        st.tuples(parts, values).map(lambda pair: 2.0 * pair[0] - pair[1]),
        parts.map(lambda s: s.clip(-0.3, 0.4)),
    )


def assert_extremes(s: Schedule) -> None:
    assert s.length is not None
    seen = s(np.arange(s.length + 1))
    slack = 4e-15 * float(np.abs(seen).max())
    assert s.peak == pytest.approx(seen.max(), rel=0, abs=slack)
    assert s.minimum_value == pytest.approx(seen.min(), rel=0, abs=slack)


@settings(max_examples=200)
@given(st.recursive(single, moved, max_leaves=4))
def test_every_step(s: Schedule) -> None:
    assume(s.length is not None and s.length <= LONGEST)
    assert_extremes(s)


CUT: list[Callable[[], Schedule]] = [
    # Cycles that are cut off at the front, at the end, or met by stairs at other places each time.
    lambda: (2.0 * Linear(-0.8, 0.4, 2) - 0.3).repeat(times=5, decay=0.97).shift(-3),
    lambda: Cosine(-1.0, 1.0, 10).repeat(decay=1.01).hold(10_007),
    lambda: Cosine(-1.0, 1.0, 10).repeat(decay=0.999).shift(-10_003).hold(17),
    lambda: (Cyclic(-0.7, -0.9, 17, 17).hold(1200) >> Constant(0.6, 100)).floor(5),
    lambda: Linear(0.0, 1.0, 1000).repeat(times=7).floor(77).per_epoch(3),
    lambda: (Linear(0.0, 1.0, 7) >> Cosine(1.0, -1.0, 9)).repeat(times=3, growth=1.5).shift(-20),
    lambda: (Linear(0.0, 1.0, 7) >> Constant(5.0)).hold(7),  # the last step is the first of a piece
    lambda: Constant(9.0, 1) >> Linear(0.0, 1.0, 7),
    lambda: CosineCycles(0.5, -0.5, 100 / 3).shift(-1_000_020).hold(25),
    # A factor for each step outweighs the triangle's lines.
    lambda: Cyclic(0.0, 1.0, 2000, mode="exp_range", gamma=0.99).hold(9000),
    lambda: Cyclic(0.6, 0.7, 17, 2, mode="exp_range", gamma=1.0034559443916282).hold(1200),
    lambda: Cyclic(-0.65, 0.36, 17, 100, mode="exp_range", gamma=1.008).hold(1200) >> Tanh(-0.5, -0.1, 100),
    lambda: Cyclic(-0.8, 0.2, 2, 100, mode="exp_range", gamma=1.0018551988612203, scale_mode="cycle").hold(300),
]


@pytest.mark.parametrize("case", range(len(CUT)))
def test_cut_cycles(case: int) -> None:
    assert_extremes(CUT[case]())


def test_endless_ones_are_looked_at_for_ever() -> None:
    assert CosineRestarts(0.5, 0.1, 7).minimum_value == CosineRestarts(0.5, 0.1, 7)(6)
    assert Cyclic(0.1, 0.5, 7, mode="triangular2").peak == 0.5
    assert Cyclic(0.1, 0.5, 7, mode="exp_range", gamma=1.001).peak == math.inf
    assert Linear(0.25, 1.0, 4).repeat(decay=0.5).minimum_value == 0.0
    assert Geometric(1.0, 4.0, 2).past_end("extrapolate").peak == math.inf


def test_a_quotient_that_turns_until_the_last_step() -> None:
    """Its samples reach beyond what int64 holds once they are rounded to floats."""
    s = CosineCycles(0.1, 0.0, 60) / (Cyclic(0.5, 1.0, 7) + InverseTime(1.0, 0.5))
    assert s.peak >= max(s(t) for t in range(500))


def test_a_long_table_is_its_own_list_of_turns() -> None:
    numbers = np.random.default_rng(1).uniform(-1.0, 1.0, 100_000).tolist()
    s = Table(numbers) >> MultiStep(0.5, (3,), 0.1)
    assert (s.peak, s.minimum_value) == (max(numbers), min(numbers))


def test_a_denominator_is_looked_at_everywhere_it_turns() -> None:
    for one in (
        Linear(1.0, -1.0, 2).repeat(3),
        (Constant(1.0, 90) >> Linear(0.5, -0.5, 10)).shift(-50),
        Linear(2.0, 1.0, 4).past_end("extrapolate"),
        Table([1.0, 2.0, 0.0, 1.0]),
    ):
        with pytest.raises(ValueError, match=r"denominator is 0 or changes its sign: .*Divide by"):
            1.0 / one
    assert (1.0 / Exponential(2.0, 0.5))(3) == 4.0  # it only tends to 0
