"""Schedules as plain data and JSON, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from fastlr.schedules.arithmetic import Maximum, Minimum, PowerOf, Quotient
from fastlr.schedules.base import Schedule
from fastlr.schedules.combine import Product, Sequence, Sum
from fastlr.schedules.curves import Geometric, Logarithmic, NormalizedExponential, Power, Tanh
from fastlr.schedules.cyclic import Cyclic
from fastlr.schedules.decay import Exponential, MultiStep, Step
from fastlr.schedules.endless import InverseSqrt, InverseTime
from fastlr.schedules.ends import PastEnd, WithMomentum
from fastlr.schedules.onecycle import OneCycle, OneCycleMomentum
from fastlr.schedules.plateau import ReduceOnPlateau
from fastlr.schedules.repeat import Repeat
from fastlr.schedules.restarts import CosineRestarts
from fastlr.schedules.shapes import Constant, Cosine, Line, Linear, Polynomial, Warmup
from fastlr.schedules.tables import Piecewise, Table
from fastlr.schedules.timing import Hold, PerEpoch, Shift, Staircase
from fastlr.schedules.waves import CosineCycles

MAX_DIGITS = 310  # of a whole number
MAX_NESTING = 64  # of schedules in schedules, in data from outside

CLASSES: tuple[type[Schedule], ...] = (
    Constant,
    Linear,
    Line,
    Cosine,
    Polynomial,
    Power,
    Tanh,
    Geometric,
    Logarithmic,
    NormalizedExponential,
    Warmup,
    Exponential,
    Step,
    MultiStep,
    InverseSqrt,
    InverseTime,
    Piecewise,
    Table,
    CosineRestarts,
    CosineCycles,
    Cyclic,
    OneCycle,
    OneCycleMomentum,
    Sequence,
    Product,
    Sum,
    Quotient,
    Minimum,
    Maximum,
    PowerOf,
    Shift,
    Hold,
    PerEpoch,
    Staircase,
    Repeat,
    PastEnd,
    WithMomentum,
    ReduceOnPlateau,
)
KINDS: dict[str, type[Schedule]] = {one.__name__: one for one in CLASSES}


def encode(value: object) -> object:
    """One field's value as plain data."""
    if isinstance(value, Schedule):
        return to_dict(value)
    return [encode(one) for one in value] if isinstance(value, tuple) else value


def decode(value: object, depth: int) -> object:
    """One field's value from plain data."""
    if isinstance(value, Mapping):
        return built(value, depth + 1)
    if isinstance(value, list):
        if depth > MAX_NESTING:
            raise ValueError(f"schedule data nests too deeply: over {MAX_NESTING} levels. Write it flatter.")
        return tuple(decode(one, depth + 1) for one in value)
    return value


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
    return built(data, 0)


def built(data: object, depth: int) -> Schedule:
    """The schedule of a dict that stands `depth` levels inside the data."""
    if not isinstance(data, Mapping):
        raise TypeError(f"schedule data is not a dict: {data!r}. Pass what to_dict() returned.")
    if depth > MAX_NESTING:
        raise ValueError(f"schedule data nests too deeply: over {MAX_NESTING} levels. Write it flatter.")
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
    return cls(**{name: decode(data[name], depth) for name in names if name in data})


def to_json(schedule: Schedule) -> str:
    """`to_dict` as a JSON string; floats are written so that they come back with the same bits."""
    return json.dumps(to_dict(schedule), allow_nan=False)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no key stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"schedule text has a key twice: {[key for key, _ in pairs]}. Write each once.")
    return found


def whole(digits: str) -> int:
    """A JSON integer, of no more digits than a float can have."""
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"schedule text has a number of {len(digits)} digits: {digits[:9]}... Use a float.")
    return int(digits)


def from_json(text: str | bytes) -> Schedule:
    """The schedule that `to_json` described, from text or UTF-8 bytes.

    Raises ValueError for text that is no JSON, nests deeper than 64 schedules or has a key twice, and whatever
    `from_dict` raises.

    >>> from_json('{"kind": "Linear", "start": 0.0, "end": 1, "length": 4}')
    Linear(start=0.0, end=1.0, length=4)
    """
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"schedule text is no text: {text!r}. Pass what to_json() returned.")
    try:
        data = json.loads(text, object_pairs_hook=once, parse_int=whole)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"schedule text is no JSON: {error}. Pass what to_json() returned.") from None
    except RecursionError:
        raise ValueError("schedule text nests too deeply: it is no schedule's. Write it flatter.") from None
    return from_dict(data)
