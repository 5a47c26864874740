"""Schedules: a value for every step, as plain immutable descriptions evaluated natively."""

from typing import TYPE_CHECKING

from fastlr import _lazy
from fastlr.schedules.base import Schedule
from fastlr.schedules.batch import evaluate

if TYPE_CHECKING:
    from fastlr.schedules.arithmetic import Maximum, Minimum, PowerOf, Quotient, maximum, minimum
    from fastlr.schedules.combine import Product, Sequence, Sum
    from fastlr.schedules.curves import Geometric, Logarithmic, NormalizedExponential, Power, Tanh
    from fastlr.schedules.cyclic import Cyclic
    from fastlr.schedules.decay import Exponential, MultiStep, Step
    from fastlr.schedules.endless import InverseSqrt, InverseTime
    from fastlr.schedules.ends import PastEnd, WithMomentum
    from fastlr.schedules.expression import parse
    from fastlr.schedules.onecycle import OneCycle, OneCycleMomentum
    from fastlr.schedules.plateau import ReduceOnPlateau
    from fastlr.schedules.recipes import inverse_sqrt, noam, range_test, warmup_cosine, warmup_stable_decay
    from fastlr.schedules.repeat import Repeat
    from fastlr.schedules.restarts import CosineRestarts
    from fastlr.schedules.serialize import from_dict, from_json
    from fastlr.schedules.shapes import Constant, Cosine, Line, Linear, Polynomial, Warmup
    from fastlr.schedules.tables import Piecewise, Table
    from fastlr.schedules.timing import Hold, PerEpoch, Shift, Staircase
    from fastlr.schedules.waves import CosineCycles

__getattr__ = _lazy.attach(
    __name__,
    {
        "arithmetic": "Maximum Minimum PowerOf Quotient maximum minimum",
        "combine": "Product Sequence Sum",
        "curves": "Geometric Logarithmic NormalizedExponential Power Tanh",
        "cyclic": "Cyclic",
        "decay": "Exponential MultiStep Step",
        "endless": "InverseSqrt InverseTime",
        "ends": "PastEnd WithMomentum",
        "expression": "parse",
        "onecycle": "OneCycle OneCycleMomentum",
        "plateau": "ReduceOnPlateau",
        "recipes": "inverse_sqrt noam range_test warmup_cosine warmup_stable_decay",
        "repeat": "Repeat",
        "restarts": "CosineRestarts",
        "serialize": "from_dict from_json",
        "shapes": "Constant Cosine Line Linear Polynomial Warmup",
        "tables": "Piecewise Table",
        "timing": "Hold PerEpoch Shift Staircase",
        "waves": "CosineCycles",
    },
)

__all__ = [
    "Constant",
    "Cosine",
    "CosineCycles",
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
    "ReduceOnPlateau",
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
