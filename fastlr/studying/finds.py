"""Range tests as records."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlr.finder.curve import Curve
from fastlr.finder.result import RangeTest
from fastlr.studying.work import Ended, curve_of

POINTS = 10  # losses for Optuna's curve of a run


def record_of(test: RangeTest) -> dict[str, Any]:
    """A range test as data, every float by its bits."""
    curves = [
        {"losses": one.losses, "start": one.start, "stopped": one.stopped, "smoothing": one.smoothing}
        for one in test.curves
    ]
    return {"rates": test.rates, "curves": curves, "restarts": test.restarts, "group_ratios": test.group_ratios}


def range_test_of(record: dict[str, Any]) -> RangeTest:
    """The range test that `record_of` was given."""
    rates = record["rates"]
    curves = tuple(Curve(rates[: len(one["losses"])], **one) for one in record["curves"])
    return RangeTest(rates, curves, tuple(record["restarts"]), tuple(record["group_ratios"]))


def end_of(test: RangeTest) -> Ended:
    """Its losses are of many rates, so there is no score."""
    places = np.unique(np.linspace(0, test.rates.size - 1, POINTS).round().astype(int))
    outcome = {"lr": test.lr, "reason": test.reason, "start": test.curves[0].start}
    return Ended(None, curve_of((places + 1).tolist(), test.losses[places].tolist()), outcome)
