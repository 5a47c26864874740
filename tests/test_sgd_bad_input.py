"""Bad input: refused with a message that names the value and what to do, before any tensor or count is changed."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgd_cases import NATIVE, assert_unchanged, filled, gradient_like, snapshot
from torch import Tensor

import fastlr
from fastlr import schedules

NAN, INF = math.nan, math.inf
BELOW_ZERO = schedules.Linear(0.1, -0.1, 5)
BAD_NUMBERS: list[tuple[str, Any, str]] = [
    ("lr", -0.5, "-0.5"),
    ("lr", NAN, "nan"),
    ("lr", INF, "inf"),
    ("lr", torch.tensor(-0.5), "-0.5"),
    ("lr", torch.tensor(NAN), "nan"),
    ("lr", BELOW_ZERO, "-0.1"),
    ("momentum", -0.5, "-0.5"),
    ("momentum", NAN, "nan"),
    ("momentum", INF, "inf"),
    ("momentum", BELOW_ZERO, "-0.1"),
    ("weight_decay", -0.5, "-0.5"),
    ("weight_decay", NAN, "nan"),
    ("weight_decay", INF, "inf"),
    ("weight_decay", torch.tensor(-0.5), "-0.5"),
    ("weight_decay", BELOW_ZERO, "-0.1"),
    ("dampening", NAN, "nan"),
    ("dampening", -INF, "-inf"),
]
BAD_SCALES: list[tuple[str, Any, str]] = [
    ("lr_scale", -1.0, "-1.0"),
    ("lr_scale", NAN, "nan"),
    ("lr_scale", INF, "inf"),
]
BAD_TYPES: list[tuple[str, Any]] = [
    ("lr", "0.1"),
    ("lr", None),
    ("lr", [0.1]),
    ("momentum", "0.9"),
    ("weight_decay", None),
    ("dampening", schedules.Constant(0.1)),
    ("dampening", "0"),
]


def row(case: tuple[Any, ...]) -> str:
    return f"{case[0]}={case[1]}"


def trained(**options: Any) -> fastlr.SGD:
    """Two groups and one update, so that counts and buffers have something to lose."""
    params = [filled("31", torch.float32, 0), filled("matrix", torch.float64, 1), filled("1", torch.bfloat16, 2)]
    groups: list[dict[str, Any]] = [{"params": params[:2]}, {"params": params[2:], "lr": 0.3}]
    optimizer = fastlr.SGD(groups, **{"lr": fastlr.warmup_cosine(0.1, 20, warmup=5), "momentum": 0.9, **options})
    give_gradients(optimizer, 0)
    optimizer.step()
    give_gradients(optimizer, 1)
    return optimizer


def give_gradients(optimizer: fastlr.SGD, step: int) -> None:
    for group in optimizer.param_groups:
        for index, param in enumerate(group["params"]):
            param.grad = gradient_like(param, 10 * index + step)


@pytest.mark.parametrize("case", BAD_NUMBERS, ids=row)
def test_constructor_numbers(case: tuple[str, Any, str]) -> None:
    name, value, shown = case
    with pytest.raises(ValueError, match=f"(?s)Invalid.*{shown}"):
        fastlr.SGD([torch.zeros(1)], **{name: value})


@pytest.mark.parametrize("case", BAD_NUMBERS + BAD_SCALES, ids=row)
def test_group_numbers(case: tuple[str, Any, str]) -> None:
    name, value, shown = case
    with pytest.raises(ValueError, match=f"(?s)Invalid.*{shown}"):
        fastlr.SGD([{"params": [torch.zeros(1)], name: value}])
    optimizer = trained()
    before = snapshot(optimizer)
    with pytest.raises(ValueError, match=f"(?s)Invalid.*{shown}"):
        optimizer.add_param_group({"params": [torch.zeros(1)], name: value})
    assert len(optimizer.param_groups) == 2
    assert_unchanged(optimizer, before)


@pytest.mark.parametrize("case", BAD_TYPES, ids=row)
def test_wrong_types(case: tuple[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        fastlr.SGD([torch.zeros(1)], **{case[0]: case[1]})
    with pytest.raises((TypeError, ValueError)):
        fastlr.SGD([{"params": [torch.zeros(1)], case[0]: case[1]}])


NESTEROV: list[dict[str, Any]] = [
    {},
    {"momentum": 0.0},
    {"momentum": 0.9, "dampening": 0.1},
    {"momentum": schedules.Constant(0.0)},
]


@pytest.mark.parametrize("options", NESTEROV, ids=str)
def test_nesterov_needs_momentum_and_no_dampening(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum and zero dampening"):
        fastlr.SGD([torch.zeros(1)], nesterov=True, **options)
    with pytest.raises(ValueError, match="Nesterov momentum requires a momentum and zero dampening"):
        fastlr.SGD([{"params": [torch.zeros(1)], "nesterov": True, **options}])


@pytest.mark.parametrize("params", [[], torch.zeros(3), 3, [1.0], {1.0}], ids=str)
def test_parameters_that_are_none(params: Any) -> None:
    errors: list[type[BaseException]] = []
    for make in (fastlr.SGD, torch.optim.SGD):
        with pytest.raises((TypeError, ValueError)) as caught:
            make(params, lr=0.1)
        errors.append(caught.type)
    assert errors[0] is errors[1]


def test_a_tensor_that_is_not_a_leaf() -> None:
    with pytest.raises(ValueError, match="non-leaf"):
        fastlr.SGD([torch.zeros(1, requires_grad=True) * 2], lr=0.1)


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "dampening"])
@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("value", [NAN, "text", None], ids=repr)
def test_a_written_value_that_is_no_number(name: str, group: int, value: Any) -> None:
    """In the first group or the last: no group has been updated when step() raises."""
    optimizer = trained()
    good = optimizer.param_groups[group][name]
    before = snapshot(optimizer)
    optimizer.param_groups[group][name] = value
    with pytest.raises((TypeError, ValueError)):
        optimizer.step()
    optimizer.param_groups[group][name] = good
    assert_unchanged(optimizer, before)
    optimizer.step()
    assert optimizer.step_count == 2


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [("lr", schedules.Constant(0.5), "set_schedule"), ("lr_schedule", "text", "set_schedule"), ("lr", "a", "number")],
    ids=["schedule", "no schedule", "no number"],
)
def test_a_written_value_of_another_type_names_the_remedy(name: str, value: Any, remedy: str) -> None:
    optimizer = trained()
    before = snapshot(optimizer)
    optimizer.param_groups[0][name] = value
    with pytest.raises(TypeError, match=remedy):
        optimizer.step()
    assert_unchanged(optimizer, before, groups=False)


def another_dtype(param: Tensor) -> None:
    param.data = param.data.to(torch.float16)


def another_shape(param: Tensor) -> None:
    param.data = torch.zeros(2, 3, dtype=param.dtype)


def another_number_of_dimensions(param: Tensor) -> None:
    param.data = param.data.reshape(1, *param.shape)


MISMATCHES: list[Callable[[Tensor], None]] = [another_dtype, another_shape, another_number_of_dimensions]


@pytest.mark.skipif(not NATIVE, reason="needs a CPU with fused multiply-add: torch's operators do not check")
@pytest.mark.parametrize("spoil", MISMATCHES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("last", [False, True])
def test_a_gradient_that_does_not_fit_its_parameter(spoil: Callable[[Tensor], None], last: bool) -> None:
    optimizer = trained()
    params = [p for group in optimizer.param_groups for p in group["params"]]
    spoil(params[-1 if last else 0])
    before = snapshot(optimizer)
    with pytest.raises(RuntimeError, match=r"gradient has another (dtype|shape)"):
        optimizer.step()
    assert_unchanged(optimizer, before)


def other_number_of_groups(state: dict[str, Any]) -> None:
    state["param_groups"].append({**state["param_groups"][0], "params": []})


def other_group_size(state: dict[str, Any]) -> None:
    state["param_groups"][0]["params"].append(17)


def other_buffer_shape(state: dict[str, Any]) -> None:
    state["state"][0]["momentum_buffer"] = torch.zeros(30)


def unreadable_schedule(state: dict[str, Any]) -> None:
    state["param_groups"][1]["lr_schedule"] = '{"kind": "Unknown"}'


def no_json(state: dict[str, Any]) -> None:
    state["param_groups"][1]["lr_schedule"] = "Cosine("


def schedule_below_zero(state: dict[str, Any]) -> None:
    state["param_groups"][1]["lr_schedule"] = BELOW_ZERO.to_json()


def negative_count(state: dict[str, Any]) -> None:
    state["param_groups"][1]["step_count"] = -3


def huge_count(state: dict[str, Any]) -> None:
    state["param_groups"][0]["step_count"] = 2**70


def not_a_count(state: dict[str, Any]) -> None:
    state["param_groups"][0]["step_count"] = "three"


def more_held_than_done(state: dict[str, Any]) -> None:
    state["param_groups"][0]["held_steps"] = 5


def negative_rate(state: dict[str, Any]) -> None:
    state["param_groups"][1]["lr"] = -0.5


def nan_momentum(state: dict[str, Any]) -> None:
    state["param_groups"][1]["momentum"] = NAN


def bad_scale(state: dict[str, Any]) -> None:
    state["param_groups"][0]["lr_scale"] = -1.0


BAD_STATES: list[Callable[[dict[str, Any]], None]] = [
    other_number_of_groups,
    other_group_size,
    other_buffer_shape,
    unreadable_schedule,
    no_json,
    schedule_below_zero,
    negative_count,
    huge_count,
    not_a_count,
    more_held_than_done,
    negative_rate,
    nan_momentum,
    bad_scale,
]


@pytest.mark.parametrize("spoil", BAD_STATES, ids=lambda f: f.__name__)
def test_a_state_that_does_not_fit(spoil: Callable[[dict[str, Any]], None]) -> None:
    state = trained().state_dict()
    state["state"] = {key: dict(entry) for key, entry in state["state"].items()}
    spoil(state)
    optimizer = trained()
    before = snapshot(optimizer)
    with pytest.raises((TypeError, ValueError)):
        optimizer.load_state_dict(state)
    assert_unchanged(optimizer, before)
    optimizer.step()
    assert optimizer.step_count == 2
