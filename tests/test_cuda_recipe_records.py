"""What the driver is told in a step with a recipe: one launch, two with a norm, and nothing that waits."""

from typing import Any

import pytest
import torch
from cuda_places import StandinPlace, normal, steady
from cuda_tensors import on_device
from recipe_cases import CLASSES, DTYPES, FALLING, RATES, RISING
from sgd_cases import gradient_like
from standin_driver import Standin
from test_cuda_graphs import Operators
from test_cuda_records import STEADY, calls, model

CLIPPED = STEADY + STEADY[-3:]
WITHOUT: dict[str, dict[str, Any]] = {
    "max_grad_value": {"max_grad_value": 0.1},
    "ema_decay": {"ema_decay": RISING},
    "master_weights": {"master_weights": True},
    "stochastic_rounding": {"stochastic_rounding": True},
    "state_dtype": {"state_dtype": "float32"},
    "zero_grad_in_step": {"zero_grad_in_step": True},
}
WITH = {name: {**options, "max_grad_norm": 1.0} for name, options in WITHOUT.items()}
each_rule = pytest.mark.parametrize("rule", CLASSES)


def optimizer(rule: str, standin: Standin, *dtypes: torch.dtype, **options: Any) -> Any:
    return CLASSES[rule](model(standin, *dtypes), **{**RATES[rule][0], "lr": FALLING, **options})


def stay(optimizer: Any, standin: Standin, expected: list[str], names: list[str]) -> None:
    """Every step after the first makes these calls, launches these kernels and asks torch for no value."""
    optimizer.step()
    before = standin.allocations()
    for _ in range(3):
        with Operators() as operators:
            events = steady(standin, optimizer.step)
        assert calls(events) == expected
        assert [event["kernel"].split("_")[-1] for event in events if event["call"] == "cuLaunchKernel"] == names
        assert operators.waits == []
    assert standin.allocations() == before


@each_rule
@pytest.mark.parametrize("options", WITHOUT.values(), ids=WITHOUT)
def test_a_step_without_clipping_is_one_launch(options: dict[str, Any], rule: str, standin: Standin) -> None:
    stay(optimizer(rule, standin, *DTYPES[:3], **options), standin, STEADY, ["recipe"])


@each_rule
@pytest.mark.parametrize("options", WITH.values(), ids=WITH)
def test_a_step_with_clipping_is_two_launches(options: dict[str, Any], rule: str, standin: Standin) -> None:
    stay(optimizer(rule, standin, *DTYPES[:3], **options), standin, CLIPPED, ["norm", "recipe"])


@each_rule
def test_options_that_change_nothing_keep_the_rule_s_own_kernel(rule: str, standin: Standin) -> None:
    idle = {"norm_per_group": True, "error_if_nonfinite": True, "rounding_seed": 7}
    stay(optimizer(rule, standin, **idle), standin, STEADY, ["float32"])


@each_rule
@pytest.mark.parametrize("limit", [None, 1.0])
def test_a_scaler_s_numbers_on_the_device_are_not_waited_for(limit: float | None, rule: str, standin: Standin) -> None:
    own = optimizer(rule, standin, max_grad_norm=limit)
    own.grad_scale, own.found_inf = (on_device(torch.tensor(value)) for value in (4.0, 0.0))
    clipped = limit is not None
    stay(own, standin, CLIPPED if clipped else STEADY, ["norm", "recipe"] if clipped else ["recipe"])
    own.found_inf.fill_(1.0)
    stay(own, standin, CLIPPED if clipped else STEADY, ["norm", "recipe"] if clipped else ["recipe"])


def test_a_norm_that_skips_is_not_waited_for(standin: Standin) -> None:
    own = optimizer("Adam", standin, max_grad_norm=1.0)
    own.param_groups[0]["params"][0].grad.fill_(torch.inf)
    stay(own, standin, CLIPPED, ["norm", "recipe"])
    assert own.step_count == 0


def test_what_waits_is_the_reading_and_the_raising(standin: Standin) -> None:
    own = optimizer("SGD", standin, max_grad_norm=1.0)
    own.step()
    waits = {"cuCtxSynchronize", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize"}
    assert waits & {*calls(steady(standin, lambda: own.grad_norm))}
    own.param_groups[0]["error_if_nonfinite"] = True
    assert waits & {*calls(steady(standin, own.step))}


@pytest.mark.parametrize(("rule", "capacity"), [("SGD", 424), ("Lion", 424), ("Adam", 344)])
def test_more_tensors_than_one_launch_takes(rule: str, capacity: int, standin: Standin) -> None:
    place = StandinPlace(standin)
    for count in (capacity, capacity + 1):
        params = [place.put(normal(1, seed=i)) for i in range(count)]
        for i, param in enumerate(params):
            param.grad = place.put(gradient_like(param, i))
        own = CLASSES[rule](params, lr=0.1, max_grad_norm=1.0, amsgrad=True) if rule == "Adam" else None
        own = own or CLASSES[rule](params, lr=0.1, max_grad_norm=1.0)
        own.step()
        launches = [event for event in steady(standin, own.step) if event["call"] == "cuLaunchKernel"]
        assert len(launches) == (2 if count == capacity else 3)
        assert all(event["bytes"] <= 32764 for event in launches)
