"""Bad input to Adam, AdamW and Lion: refused with a message that names the value, before anything is changed."""

import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import torch
from adam_cases import PAIRS, RULES, Optimizer, few, give_all, needs_fma, params_of, refused, train
from test_sgd_bad_input import (
    BAD_SCALES,
    MISMATCHES,
    negative_count,
    negative_rate,
    no_json,
    other_group_size,
    row,
    schedule_below_zero,
    unreadable_schedule,
)
from torch import Tensor

import fastlr
from fastlr import schedules

NAN, INF = math.nan, math.inf
TO_ONE = schedules.Linear(0.9, 1.0, 5)
BELOW_ZERO = schedules.Linear(0.1, -0.1, 5)
BAD_NUMBERS: list[tuple[str, Any, str]] = [
    *[("lr", value, shown) for value, shown in ((-0.5, "-0.5"), (NAN, "nan"), (INF, "inf"), (BELOW_ZERO, "-0.1"))],
    ("lr", torch.tensor(-0.5), "-0.5"),
    *[("betas", (value, 0.9), f"index 0: {value}") for value in (1.0, -0.1, NAN, 2.0, INF)],
    *[("betas", (0.9, value), f"index 1: {value}") for value in (1.0, -0.1, NAN)],
    ("betas", (TO_ONE, 0.9), "goes from 0.9 to 1.0"),
    ("betas", (0.9, BELOW_ZERO), "goes from -0.1"),
    ("weight_decay", -0.5, "-0.5"),
    ("weight_decay", NAN, "nan"),
    ("weight_decay", BELOW_ZERO, "-0.1"),
]
BAD_EPSILONS: list[tuple[str, Any, str]] = [("eps", -0.5, "-0.5"), ("eps", NAN, "nan"), ("eps", INF, "inf")]
BAD_TYPES: list[tuple[str, Any]] = [
    ("lr", "0.1"),
    ("lr", None),
    ("lr", [0.1]),
    ("betas", 0.9),
    ("betas", None),
    ("betas", (0.9,)),
    ("betas", (0.9, 0.99, 0.999)),
    ("betas", ("0.9", "0.99")),
    ("weight_decay", None),
]
EPSILON_TYPES: list[tuple[str, Any]] = [("eps", "0"), ("eps", None), ("eps", schedules.Constant(1e-8))]


def each(cases: list[Any], of_adam: list[Any]) -> list[Any]:
    """The cases of every rule, and those of Adam's, which has more arguments."""
    return [(name, *case) for name in RULES for case in cases + (of_adam if name != "Lion" else [])]


def named(case: tuple[Any, ...]) -> str:
    return f"{case[0]}-{row(case[1:])}"


def trained(name: str) -> Optimizer:
    """Two groups and one update, so that counts and averages have something to lose."""
    params = few()
    groups: list[dict[str, Any]] = [{"params": params[:3]}, {"params": params[3:], "lr": 0.3, "betas": (0.5, 0.9)}]
    optimizer = RULES[name][0](groups, lr=fastlr.warmup_cosine(0.1, 20, warmup=5), weight_decay=0.1)
    train(optimizer, range(1), give_all)
    give_all(params_of(optimizer), 1)
    return optimizer


@pytest.mark.parametrize("case", each(BAD_NUMBERS, BAD_EPSILONS), ids=named)
def test_constructor_numbers(case: tuple[str, str, Any, str]) -> None:
    name, key, value, shown = case
    with pytest.raises(ValueError, match=f"(?s)Invalid.*{shown}"):
        RULES[name][0]([torch.zeros(1)], **{key: value})


@pytest.mark.parametrize("case", each(BAD_NUMBERS + BAD_SCALES, BAD_EPSILONS), ids=named)
def test_group_numbers(case: tuple[str, str, Any, str]) -> None:
    name, key, value, shown = case
    with pytest.raises(ValueError, match=f"(?s)Invalid.*{shown}"):
        RULES[name][0]([{"params": [torch.zeros(1)], key: value}])
    optimizer = trained(name)
    with refused(optimizer, ValueError, match=f"(?s)Invalid.*{shown}"):
        optimizer.add_param_group({"params": [torch.zeros(1)], key: value})


@pytest.mark.parametrize("case", each(BAD_TYPES, EPSILON_TYPES), ids=named)
def test_wrong_types(case: tuple[str, str, Any]) -> None:
    name, key, value = case
    with pytest.raises((TypeError, ValueError)):
        RULES[name][0]([torch.zeros(1)], **{key: value})
    with pytest.raises((TypeError, ValueError)):
        RULES[name][0]([{"params": [torch.zeros(1)], key: value}])


TENSORS: list[dict[str, Any]] = [
    {"lr": torch.zeros(2)},
    {"lr": torch.tensor(0.1), "foreach": True},
    {"betas": (torch.tensor(0.9), torch.tensor(0.99)), "foreach": True},
    {"betas": (torch.tensor(0.9), 0.99)},
    {"betas": (0.9, torch.tensor(0.99))},
    {"betas": (torch.tensor([0.9, 0.8]), torch.tensor(0.99))},
    {"betas": (torch.tensor(0.9), torch.tensor([0.99, 0.9]))},
    {"betas": (0, 0.99)},
]


@pytest.mark.parametrize("options", TENSORS, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_tensors_that_torch_refuses(name: str, options: dict[str, Any]) -> None:
    messages = []
    for make in PAIRS[name]:
        params = [torch.zeros(1)]
        own = {**options, "foreach": options.get("foreach")}
        with pytest.raises((RuntimeError, ValueError)) as caught:
            make(params, **own)
        messages.append(str(caught.value))
    same = messages[1] in messages[0] or "ambiguous" in messages[1]  # torch compares before it looks at the size
    assert same, messages


EXCLUSIVE: list[dict[str, Any]] = [{"fused": True, "differentiable": True}, {"fused": True, "foreach": True}]


@pytest.mark.parametrize("options", EXCLUSIVE, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_implementations_that_exclude_each_other_as_in_torch(name: str, options: dict[str, Any]) -> None:
    for make in PAIRS[name]:
        with pytest.raises(RuntimeError, match="`fused`"):
            make([torch.ones(3)], lr=0.1, **options)


WRITTEN: list[tuple[str, Any]] = [
    ("lr", NAN),
    ("lr", "text"),
    ("lr", schedules.Constant(0.5)),
    ("betas", (NAN, 0.9)),
    ("betas", (0.9, "text")),
    ("betas", (0.9,)),
    ("betas", None),
    ("weight_decay", None),
    ("weight_decay", NAN),
]


@needs_fma
@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("case", each(WRITTEN, [("eps", NAN), ("eps", None)]), ids=named)
def test_a_written_value_that_is_no_number(case: tuple[str, str, Any], group: int) -> None:
    """In the first group or the last: no group has been updated when step() raises."""
    name, key, value = case
    optimizer = trained(name)
    written = mock.patch.dict(optimizer.param_groups[group], {key: value})
    with refused(optimizer, TypeError, ValueError), written:
        optimizer.step()
    optimizer.step()
    assert optimizer.step_count == 2


@needs_fma
@pytest.mark.parametrize("spoil", MISMATCHES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("index", [0, 3])
@pytest.mark.parametrize("name", RULES)
def test_a_gradient_that_does_not_fit_its_parameter(name: str, index: int, spoil: Callable[[Tensor], None]) -> None:
    optimizer = trained(name)
    spoil(params_of(optimizer)[index])
    with refused(optimizer, RuntimeError, match=r"gradient has another (dtype|shape)"):
        optimizer.step()


def other_average_shape(state: dict[str, Any]) -> None:
    state["state"][0]["exp_avg"] = torch.zeros(30)


def beta_of_one(state: dict[str, Any]) -> None:
    state["param_groups"][1]["betas"] = (0.9, 1.0)


def one_beta(state: dict[str, Any]) -> None:
    state["param_groups"][1]["betas"] = (0.9,)


def no_betas(state: dict[str, Any]) -> None:
    del state["param_groups"][0]["betas"]


def beta_schedule_to_one(state: dict[str, Any]) -> None:
    state["param_groups"][0]["beta2_schedule"] = TO_ONE.to_json()


BAD_STATES: list[Callable[[dict[str, Any]], None]] = [
    other_average_shape,
    beta_of_one,
    one_beta,
    no_betas,
    beta_schedule_to_one,
    negative_count,
    negative_rate,
    no_json,
    other_group_size,
    schedule_below_zero,
    unreadable_schedule,
]


@pytest.mark.parametrize("spoil", BAD_STATES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", RULES)
def test_a_state_that_does_not_fit(name: str, spoil: Callable[[dict[str, Any]], None]) -> None:
    state = trained(name).state_dict()
    state["state"] = {key: dict(entry) for key, entry in state["state"].items()}
    spoil(state)
    optimizer = trained(name)
    with refused(optimizer, TypeError, ValueError):
        optimizer.load_state_dict(state)
    optimizer.step()
    assert optimizer.step_count == 2
