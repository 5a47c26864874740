"""The text and the data of every schedule give the schedule again."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schedule_strategies import finite, schedules

from fastlr.schedules import Schedule, from_json, parse
from fastlr.schedules.serialize import KINDS

numbers = st.one_of(st.sampled_from([0.5, 1.0, 2.0]), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
whole = st.one_of(st.integers(1, 9), st.integers(1, 10**6))
words = st.sampled_from(
    ["cos", "linear", "triangular", "triangular2", "exp_range", "cycle", "error", "extrapolate", "min", "max", "rel"]
)
FIELDS: dict[str, st.SearchStrategy[object]] = {
    "float": numbers,
    "float | None": st.none() | numbers,
    "int": whole,
    "int | None": st.none() | st.integers(1, 9),
    "bool": st.booleans(),
    "str": words,
    "str | None": st.none() | words,
    "tuple[int, ...]": st.lists(whole, min_size=1, max_size=3, unique=True).map(sorted),
    "tuple[float, ...]": st.lists(numbers, min_size=1, max_size=4),
    "Schedule": st.one_of(finite, schedules),
    "tuple[Schedule, ...]": st.lists(st.one_of(finite, schedules), min_size=2, max_size=3),
}


@st.composite
def of_class(draw: st.DrawFn, cls: type[Schedule]) -> Schedule | None:
    """A schedule of a class, or None where the fields drawn do not fit one another."""
    fields = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        has_default = field.default is not dataclasses.MISSING
        if not has_default or draw(st.booleans()):
            fields[field.name] = draw(FIELDS[str(field.type)])
    try:
        return cls(**fields)
    except ValueError:
        return None


@settings(max_examples=500)
@given(schedules)
def test_text_and_data_give_the_schedule_again(s: Schedule) -> None:
    assert parse(repr(s)) == s
    assert from_json(s.to_json()) == s


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_comes_back_from_its_text(kind: str) -> None:
    accepted = 0

    @settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
    @given(of_class(KINDS[kind]))
    def check(s: Schedule | None) -> None:
        nonlocal accepted
        if s is not None:
            accepted += 1
            assert parse(repr(s)) == s

    check()
    assert accepted > 0
