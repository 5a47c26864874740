"""Schedules: a value for every step, as plain immutable descriptions evaluated natively."""

from fastlr.schedules.arithmetic import Maximum, Minimum, PowerOf, Quotient, maximum, minimum
from fastlr.schedules.base import Schedule
from fastlr.schedules.batch import evaluate
from fastlr.schedules.combine import Product, Sequence, Sum
from fastlr.schedules.curves import Geometric, Logarithmic, NormalizedExponential, Power, Tanh
from fastlr.schedules.cyclic import Cyclic
from fastlr.schedules.decay import Exponential, MultiStep, Step
from fastlr.schedules.endless import InverseSqrt, InverseTime
from fastlr.schedules.ends import PastEnd, WithMomentum
from fastlr.schedules.expression import parse
from fastlr.schedules.onecycle import OneCycle, OneCycleMomentum
from fastlr.schedules.recipes import inverse_sqrt, noam, range_test, warmup_cosine, warmup_stable_decay
from fastlr.schedules.repeat import Repeat
from fastlr.schedules.restarts import CosineRestarts
from fastlr.schedules.serialize import from_dict, from_json
from fastlr.schedules.shapes import Constant, Cosine, Line, Linear, Polynomial, Warmup
from fastlr.schedules.tables import Piecewise, Table
from fastlr.schedules.timing import Hold, PerEpoch, Shift, Staircase

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cyclic",
    "Exponential",
    "Geometric",
    "Hold",
    "InverseSqrt",
    "InverseTime",
    "Line",
    "Linear",
    "Logarithmic",
    "Maximum",
    "Minimum",
    "MultiStep",
    "NormalizedExponential",
    "OneCycle",
    "OneCycleMomentum",
    "PastEnd",
    "PerEpoch",
    "Piecewise",
    "Polynomial",
    "Power",
    "PowerOf",
    "Product",
    "Quotient",
    "Repeat",
    "Schedule",
    "Sequence",
    "Shift",
    "Staircase",
    "Step",
    "Sum",
    "Table",
    "Tanh",
    "Warmup",
    "WithMomentum",
    "evaluate",
    "from_dict",
    "from_json",
    "inverse_sqrt",
    "maximum",
    "minimum",
    "noam",
    "parse",
    "range_test",
    "warmup_cosine",
    "warmup_stable_decay",
]
