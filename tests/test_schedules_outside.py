"""Schedules that come as data or lack a value: nothing but ValueError and TypeError, and never a wrong number."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from schedule_strategies import finite

from fastlr.schedules import (
    Constant,
    Cosine,
    Linear,
    Minimum,
    Piecewise,
    Schedule,
    Table,
    evaluate,
    from_dict,
    from_json,
    maximum,
    minimum,
)
from fastlr.schedules.serialize import KINDS, MAX_NESTING

GOOD = {"kind": "Constant", "value": 0.5}


def inside(kind: str, levels: int) -> dict[str, Any]:
    """A schedule that many levels deep."""
    data: dict[str, Any] = GOOD
    for _ in range(levels):
        data = {"kind": kind, "schedule": data, "power": 1.0} if kind == "PowerOf" else {"kind": kind, "terms": [data]}
    return data


BAD_DATA: list[tuple[Any, str]] = [
    (None, "schedule data is not a dict: None. Pass"),
    ([GOOD], "schedule data is not a dict"),
    ({}, "schedule kind is unknown: None. Use one of Constant"),
    ({"kind": ["Constant"]}, "schedule kind is unknown"),
    ({"kind": "Ramp", "start": 0.0, "end": 1.0, "length": 3}, "schedule kind is unknown: 'Ramp'"),
    ({"kind": "Schedule"}, "schedule kind is unknown"),
    ({"kind": "Constant"}, "Constant lacks a key: 'value'. Give"),
    ({**GOOD, "values": 1}, "Constant has no such key: 'values'. Use value, length."),
    ({**GOOD, 7: 1}, "Constant has no such key: 7. Use"),
    ({**GOOD, "value": GOOD}, "Constant value is not a number"),
    ({**GOOD, "value": [0.5]}, "Constant value is not a number"),
    ({**GOOD, "value": 10**400}, "Constant value is not finite"),
    ({**GOOD, "length": 2.0}, "Constant length is not an integer: 2.0"),
    ({**GOOD, "length": 2**53 + 1}, "Constant length is out of range"),
    ({"kind": "Table", "values": 0.5}, "Table values are no sequence: 0.5. Pass"),
    ({"kind": "Table", "values": "0.5"}, "Table values are no sequence"),
    ({"kind": "Table", "values": []}, "Table values are too few: 0. Pass"),
    ({"kind": "Table", "values": [0.5, True]}, "Table values is not a number: True"),
    ({"kind": "Table", "values": [0.5, [0.5]]}, "Table values is not a number"),
    ({"kind": "Table", "values": [0.5, math.nan]}, "Table values are not finite: nan at 1"),
    ({"kind": "Sum", "terms": [GOOD]}, "Sum terms are too few: 1"),
    ({"kind": "Sum", "terms": [GOOD, 0.5]}, "Sum terms hold something else than schedules: 0.5"),
    ({"kind": "Sum", "terms": GOOD}, "Sum terms are no tuple"),
    ({"kind": "Shift", "schedule": 0.5, "steps": 1}, "Shift schedule is no schedule: 0.5"),
    ({"kind": "PastEnd", "schedule": GOOD}, "The schedule has no end"),
    (inside("PowerOf", MAX_NESTING + 1), "nests too deeply: over 64 levels. Write"),
    (inside("Sum", 100_000), "nests too deeply: over 64 levels. Write"),
    ({"kind": "Table", "values": [[[]] * 3] * 3}, "Table values is not a number"),
]


@pytest.mark.parametrize("case", range(len(BAD_DATA)))
def test_bad_data(case: int) -> None:
    data, message = BAD_DATA[case]
    with pytest.raises((ValueError, TypeError)) as raised:
        from_dict(data)
    assert message in str(raised.value)


BAD_TEXT: list[tuple[Any, str]] = [
    ("", "schedule text is no JSON"),
    (b"\xff\xfe\xfd", "schedule text is no JSON"),
    (b"\x80", "schedule text is no JSON"),
    (GOOD, "schedule text is no text"),
    ("7", "schedule data is not a dict: 7"),
    ("[" * 200_000, "schedule text nests too deeply"),
    ('{"kind": "Constant", "value": 1e999}', "Constant value is not finite: inf"),
    ('{"kind": "Constant", "value": -Infinity}', "Constant value is not finite: -inf"),
    ('{"kind": "Constant", "value": ' + "7" * 5000 + "}", "has a number of 5000 digits: 777777777... Use"),
    ('{"kind": "Constant", "value": 1, "value": 2}', "has a key twice: ['kind', 'value', 'value']. Write"),
    ('{"kind": "Sum", "terms": [{"kind": "Constant", "kind": "Constant"}]}', "has a key twice"),
]


@pytest.mark.parametrize("case", range(len(BAD_TEXT)))
def test_bad_text(case: int) -> None:
    text, message = BAD_TEXT[case]
    with pytest.raises((ValueError, TypeError)) as raised:
        from_json(text)
    assert message in str(raised.value)


def test_what_is_just_allowed() -> None:
    assert from_dict(inside("PowerOf", MAX_NESTING)).start_value == 0.5
    assert from_json('{"kind": "Constant", "value": 1' + "0" * 308 + "}") == Constant(1e308)
    assert from_json(json.dumps(GOOD).encode()) == from_json(json.dumps(GOOD)) == Constant(0.5)


def test_every_public_class_can_be_stored() -> None:
    import fastlr.schedules as package

    public = {getattr(package, name) for name in package.__all__}
    concrete = {one for one in public if isinstance(one, type) and issubclass(one, Schedule)} - {Schedule}
    assert concrete == set(KINDS.values())


SAME_TABLE: list[Any] = [
    [0.5, 1.0, 2.0],
    (0.5, 1, 2),
    np.array([0.5, 1.0, 2.0]),
    np.array([0.5, 1.0, 2.0], dtype=np.float32),
    np.array([0.5, 9.0, 1.0, 9.0, 2.0, 9.0])[::2],
]


@pytest.mark.parametrize("case", range(len(SAME_TABLE)))
def test_sequences_and_arrays_make_tables(case: int) -> None:
    s = Table(SAME_TABLE[case])
    assert s.values == (0.5, 1.0, 2.0)
    assert {type(one) for one in s.values} == {float}
    assert Piecewise((1, 2), SAME_TABLE[case]).values == s.values


@pytest.mark.parametrize("values", [{0.5: 1.0}, {0.5}, iter([0.5]), np.ones((2, 2)), np.float64(0.5), torch.ones(2)])
def test_other_kinds_make_no_table(values: Any) -> None:
    with pytest.raises(TypeError, match=r"(?s)Table values are no sequence: .*\. Pass a list or array of numbers\."):
        Table(values)


ENDED = Linear(1.0, 0.0, 10).past_end("error")
AROUND: list[Callable[[Schedule], Schedule]] = [
    lambda s: s * 2.0,
    lambda s: 1.0 - s,
    lambda s: s + Cosine(1.0, 0.0, 50),
    lambda s: minimum(s, 0.5),
    lambda s: minimum(0.5, s),
    lambda s: maximum(s, 0.5),
    lambda s: maximum(0.5, s),
    lambda s: s.clip(0.2, 0.6),
    lambda s: s**2,
    lambda s: s / 3.0,
    lambda s: s.hold(1000),
    lambda s: s.past_end("error"),
    lambda s: Minimum((Constant(0.5), Constant(0.7), s)),
]


@pytest.mark.parametrize("case", range(len(AROUND)))
def test_no_operation_hides_a_missing_value(case: int) -> None:
    s = AROUND[case](ENDED)
    assert math.isfinite(s(10))
    for look in (lambda: s(11), lambda: s(np.array([3, 11])), lambda: evaluate([Constant(1.0), s], [0, 11])):
        with pytest.raises(ValueError, match=r"no value: step 11\."):
            look()
    assert math.isfinite(s.peak)
    assert math.isfinite(s.minimum_value)


@given(finite)
def test_an_end_with_an_error_moves_with_time(s: Schedule) -> None:
    assert s.length is not None
    for moved in (s.past_end("error").shift(5), s.shift(5).past_end("error")):
        assert moved.length == s.length + 5
        assert moved(moved.length) == s.end_value
        with pytest.raises(ValueError, match=f"no value: step {moved.length + 1}"):
            moved(moved.length + 1)
    assert (s.past_end("error") >> Constant(0.25))(s.length) == 0.25
