"""The dialects against recorded values of the libraries, which need not be installed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastlr import compat
from fastlr.schedules import Schedule

DATA = Path(__file__).parent / "data"
GIVEN: list[dict[str, Any]] = json.loads((DATA / "library_vectors.json").read_text())["cases"]
RECORDED: dict[str, list[dict[str, Any]]] = json.loads((DATA / "compat_vectors.json").read_text())
CASES = [{**case, "library": case["source"].split()[0], "name": case["scheduler"]} for case in GIVEN]
CASES += RECORDED["cases"]
AVERAGES = RECORDED["averages"]


def made(case: dict[str, Any]) -> Schedule:
    function = getattr(getattr(compat, case["library"]), case["name"])
    without_base = case.get("base_lr") is None or case["name"] in ("CyclicLR", "OneCycleLR")
    result: Schedule = function(**case["kwargs"]) if without_base else function(case["base_lr"], **case["kwargs"])
    return result


def base_of(case: dict[str, Any]) -> float:
    kwargs = case["kwargs"]
    values = (
        case.get("base_lr"),
        kwargs.get("peak_value"),
        kwargs.get("init_value"),
        kwargs.get("lr0"),
        max(case["lr"]),
    )
    return float(next(value for value in values if value))


@pytest.mark.parametrize("index", range(len(CASES)))
def test_values(index: int) -> None:
    case = CASES[index]
    s, steps = made(case), np.arange(len(case["lr"]))
    np.testing.assert_allclose(s(steps), case["lr"], rtol=1e-12, atol=1e-15 * base_of(case))
    if "momentum" in case:
        np.testing.assert_allclose(s.momentum(steps), case["momentum"], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("index", range(len(AVERAGES)))
def test_the_decays_of_averages(index: int) -> None:
    decays = AVERAGES[index]["decay"]
    np.testing.assert_allclose(made(AVERAGES[index])(np.arange(len(decays))), decays, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("index", range(len(CASES)))
def test_plain_data_brings_it_back(index: int) -> None:
    s = made(CASES[index])
    assert Schedule.from_json(s.to_json()) == s


def test_every_function_has_a_recorded_case() -> None:
    for library in ("optax", "timm", "ultralytics"):
        covered = {case["name"] for case in CASES + AVERAGES if case["library"] == library}
        left = set(getattr(compat, library).__all__) - covered
        assert left <= {"MultiStepLRScheduler", "PlateauLRScheduler", "join_schedules"}, left
