"""Schedules as plain data and JSON, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from fastlr.schedules.base import Schedule
from fastlr.schedules.combine import Product, Sequence, Shift, Sum
from fastlr.schedules.decay import Exponential, MultiStep, Step
from fastlr.schedules.onecycle import OneCycle, OneCycleMomentum
from fastlr.schedules.shapes import Constant, Cosine, Linear, Polynomial, Warmup

CLASSES: tuple[type[Schedule], ...] = (
    Constant,
    Linear,
    Cosine,
    Polynomial,
    Warmup,
    Exponential,
    Step,
    MultiStep,
    OneCycle,
    OneCycleMomentum,
    Sequence,
    Product,
    Sum,
    Shift,
)
KINDS: dict[str, type[Schedule]] = {one.__name__: one for one in CLASSES}


def encode(value: object) -> object:
    """One field's value as plain data."""
    if isinstance(value, Schedule):
        return to_dict(value)
    return [encode(one) for one in value] if isinstance(value, tuple) else value


def decode(value: object) -> object:
    """One field's value from plain data."""
    if isinstance(value, Mapping):
        return from_dict(value)
    return tuple(decode(one) for one in value) if isinstance(value, list) else value


def to_dict(schedule: Schedule) -> dict[str, Any]:
    """A schedule as dict, list, str, int, float, bool and None."""
    fields = dataclasses.fields(schedule)  # type: ignore[arg-type]
    return {
        "kind": type(schedule).__name__,
        **{field.name: encode(getattr(schedule, field.name)) for field in fields},
    }


def from_dict(data: Mapping[str, Any]) -> Schedule:
    """The schedule that `to_dict` described.

    Raises TypeError for data that is no dict and ValueError for a kind or key that is unknown or missing; the fields
    are checked as when the schedule is constructed.

    >>> from_dict({"kind": "Constant", "value": 0.1, "length": None})
    Constant(value=0.1)
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"schedule data is not a dict: {data!r}. Pass what to_dict() returned.")
    kind = data.get("kind")
    cls = KINDS.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ValueError(f"schedule kind is unknown: {kind!r}. Use one of {', '.join(KINDS)}.")
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    names = [field.name for field in fields]
    for key in data:
        if key != "kind" and key not in names:
            raise ValueError(f"{kind} has no such key: {key!r}. Use {', '.join(names)}.")
    for field in fields:
        if field.name not in data and field.default is dataclasses.MISSING:
            raise ValueError(f"{kind} lacks a key: {field.name!r}. Give it a value.")
    return cls(**{name: decode(data[name]) for name in names if name in data})


def to_json(schedule: Schedule) -> str:
    """`to_dict` as a JSON string; floats are written so that they come back with the same bits."""
    return json.dumps(to_dict(schedule), allow_nan=False)


def from_json(text: str) -> Schedule:
    """The schedule that `to_json` described.

    Raises ValueError for text that is no JSON and whatever `from_dict` raises.

    >>> from_json('{"kind": "Linear", "start": 0.0, "end": 1, "length": 4}')
    Linear(start=0.0, end=1.0, length=4)
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"schedule text is no JSON: {error}. Pass what to_json() returned.") from None
    return from_dict(data)
