"""Schedules: a value for every step, as plain immutable descriptions evaluated natively."""

from fastlr.schedules.base import Schedule
from fastlr.schedules.batch import evaluate
from fastlr.schedules.combine import Product, Sequence, Shift, Sum
from fastlr.schedules.decay import Exponential, MultiStep, Step
from fastlr.schedules.onecycle import OneCycle, OneCycleMomentum
from fastlr.schedules.recipes import warmup_cosine
from fastlr.schedules.serialize import from_dict, from_json
from fastlr.schedules.shapes import Constant, Cosine, Linear, Polynomial, Warmup

__all__ = [
    "Constant",
    "Cosine",
    "Exponential",
    "Linear",
    "MultiStep",
    "OneCycle",
    "OneCycleMomentum",
    "Polynomial",
    "Product",
    "Schedule",
    "Sequence",
    "Shift",
    "Step",
    "Sum",
    "Warmup",
    "evaluate",
    "from_dict",
    "from_json",
    "warmup_cosine",
]
