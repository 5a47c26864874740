"""Random schedules for hypothesis: every family, and trees of them."""

from hypothesis import strategies as st

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
    Piecewise,
    Polynomial,
    Power,
    Schedule,
    Step,
    Table,
    Tanh,
    Warmup,
    WithMomentum,
    maximum,
    minimum,
)

values = st.floats(-1e3, 1e3)
positive = st.floats(1e-3, 1e3)
factors = st.floats(1e-3, 1.0, exclude_min=True)
powers = st.floats(0.1, 9.0)
lengths = st.one_of(st.integers(1, 9), st.integers(1, 10**6))

finite = st.one_of(
    st.builds(Constant, values, lengths),
    st.builds(Linear, values, values, lengths),
    st.builds(Cosine, values, values, lengths, st.sampled_from([1.0, 0.5, 2.5])),
    st.builds(Polynomial, values, values, lengths, powers),
    st.builds(Power, values, values, lengths, powers),
    st.builds(Tanh, values, values, lengths),
    st.builds(Geometric, positive, positive, lengths),
    st.builds(Logarithmic, values, values, lengths),
    st.builds(NormalizedExponential, values, values, lengths, st.floats(1e-3, 0.9)),
    st.builds(Table, st.lists(values, min_size=1, max_size=9)),
    st.builds(CosineRestarts, values, values, lengths, st.sampled_from([1.0, 1.5, 2.0]), factors, st.integers(1, 4)),
    st.builds(Warmup, st.floats(0.0, 1e3), lengths),
    st.builds(
        OneCycle,
        values,
        lengths,
        pct_start=st.floats(0.0, 0.5),
        anneal_strategy=st.sampled_from(["cos", "linear"]),
        three_phase=st.booleans(),
    ),
    st.builds(OneCycle, values, lengths).map(lambda s: s.momentum),
)
endless = st.one_of(
    st.builds(Constant, values),
    st.builds(Exponential, values, factors, st.floats(1.0, 1e4)),
    st.builds(Step, values, lengths, factors),
    st.builds(MultiStep, values, st.lists(lengths, max_size=4).map(sorted), factors),
    st.builds(Piecewise, st.just((3, 90)), st.tuples(values, values, values)),
    st.builds(InverseSqrt, values, positive),
    st.builds(InverseTime, values, positive),
    st.builds(Line, values, values, lengths),
    st.builds(CosineRestarts, values, values, lengths, st.sampled_from([1.0, 2.0]), factors),
    st.builds(CosineCycles, values, values, st.fractions(1, 1000, max_denominator=60).map(float), st.booleans()),
    st.builds(Cyclic, values, values, lengths, lengths, st.sampled_from(["triangular", "triangular2"])),
    st.builds(Cyclic, values, values, lengths, mode=st.just("exp_range"), gamma=factors),
)
single = st.one_of(finite, endless)


def combined(parts: st.SearchStrategy[Schedule]) -> st.SearchStrategy[Schedule]:
    return st.one_of(
        st.tuples(finite, parts).map(lambda pair: pair[0] >> pair[1]),
        st.tuples(parts, parts).map(lambda pair: pair[0] * pair[1]),
        st.tuples(parts, parts).map(lambda pair: pair[0] + pair[1]),
        st.tuples(parts, parts).map(lambda pair: minimum(*pair)),
        st.tuples(parts, parts).map(lambda pair: maximum(*pair)),
        st.tuples(parts, parts).map(lambda pair: WithMomentum(*pair)),
        st.tuples(parts, positive).map(lambda pair: pair[0] / pair[1]),
        st.tuples(values, parts).map(lambda pair: pair[0] * pair[1]),
        st.tuples(parts, values).map(lambda pair: pair[0] - pair[1]),
        st.tuples(parts, st.integers(0, 10**6)).map(lambda pair: pair[0].shift(pair[1])),
        st.tuples(parts, lengths).map(lambda pair: pair[0].hold(pair[1])),
        st.tuples(parts, st.integers(1, 200)).map(lambda pair: pair[0].per_epoch(pair[1])),
        st.tuples(parts, lengths).map(lambda pair: pair[0].floor(pair[1])),
        st.tuples(finite, st.integers(1, 5), factors).map(lambda three: three[0].repeat(three[1], decay=three[2])),
    )


schedules = st.recursive(single, combined, max_leaves=5)
