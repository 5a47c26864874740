"""State dicts of Adam, AdamW and Lion: to and from torch's, through files read with weights_only=True."""

import json
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import (
    PAIRS,
    RULES,
    Optimizer,
    assert_same_state,
    describe,
    few,
    give_all,
    needs_fma,
    params_of,
    states,
    train,
)
from files import through_a_file
from sgd_cases import assert_same_bits
from test_sgd_checkpoint import copy_parameters, plain
from torch import Tensor

import fastlr
from fastlr import schedules

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)
RISING = schedules.Linear(0.5, 0.95, 9)
SCHEDULED: dict[str, Any] = {
    "lr": WARM,
    "betas": (RISING, schedules.Constant(0.99)),
    "weight_decay": schedules.Exponential(0.1, 0.9),
}
CONSTANT: dict[str, Any] = {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.02}


def groups() -> list[dict[str, Any]]:
    params = few()
    return [{"params": params[:2]}, {"params": params[2:], "lr_scale": 0.5}]


def give_late(params: Any, step: int) -> None:
    """The last parameter has its first gradient at step 4."""
    give_all(params, step)
    if step < 4:
        params[-1].grad = None


def resumed(source: Optimizer, target: Any) -> Any:
    """The target, with the source's parameters, and its state through a file."""
    copy_parameters(source, target)
    target.load_state_dict(through_a_file(source.state_dict()))
    return target


@pytest.mark.parametrize("options", [CONSTANT, SCHEDULED], ids=["constants", "schedules"])
@pytest.mark.parametrize("at", range(0, 11, 2))
@pytest.mark.parametrize("name", RULES)
def test_resuming_gives_the_bits_of_an_uninterrupted_run(name: str, options: dict[str, Any], at: int) -> None:
    own = {} if name == "Lion" else {"amsgrad": at > 5}
    whole, first, second = (RULES[name][0](groups(), **options, **own) for _ in range(3))
    train(whole, range(10), give_late)
    train(first, range(at), give_late)
    assert plain({**first.state_dict(), "param_groups": without_tuples(first)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resumed(first, second)
    train(second, range(at, 10), give_late)
    assert_same_state(second, whole)
    assert second.state_dict()["param_groups"] == whole.state_dict()["param_groups"]


def without_tuples(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The groups of the state dict, with torch's tuple of betas as a list."""
    return [{**group, "betas": list(group["betas"])} for group in optimizer.state_dict()["param_groups"]]


@needs_fma
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("lr", [0.1, WARM], ids=["float", "schedule"])
@pytest.mark.parametrize("name", PAIRS)
def test_torch_s_state_goes_on_here_and_back(name: str, lr: Any, amsgrad: bool) -> None:
    make, standard = PAIRS[name]
    source = standard(few(), **CONSTANT, amsgrad=amsgrad)
    train(source, range(5), give_late)
    ours = resumed(source, make(few(), lr=lr, amsgrad=amsgrad))
    assert ours.step_count == 0, "torch's state does not carry a count"
    for step in range(5, 9):
        source.param_groups[0]["lr"] = ours.param_groups[0]["lr"]
        for optimizer in (source, ours):
            train(optimizer, range(step, step + 1), give_late)
    assert_same_state(ours, source)
    assert [group["betas"] for group in ours.param_groups] == [CONSTANT["betas"]]
    back = resumed(ours, standard(few(), lr=0.9, amsgrad=not amsgrad))
    for optimizer in (source, back):
        optimizer.param_groups[0]["lr"] = 0.05
        train(optimizer, range(9, 12), give_late)
    assert_same_state(back, source)


@needs_fma
@pytest.mark.parametrize("kind", [int, float, lambda count: torch.tensor(int(count))], ids=["int", "float", "integers"])
@pytest.mark.parametrize("name", PAIRS)
def test_old_checkpoints(name: str, kind: Callable[[Any], Any]) -> None:
    """Their groups lack later arguments and count in plain numbers."""
    source = PAIRS[name][1](few(), lr=0.1)
    train(source, range(5), give_all)
    state = through_a_file(source.state_dict())
    state["state"] = {key: {**entry, "step": kind(entry["step"])} for key, entry in state["state"].items()}
    kept = ("params", "lr", "betas", "eps", "weight_decay")
    state["param_groups"] = [{key: group[key] for key in kept} for group in state["param_groups"]]
    ours = PAIRS[name][0](few(), lr=0.1)
    copy_parameters(source, ours)
    ours.load_state_dict(state)
    if kind in (int, float):
        assert all(isinstance(entry["step"], Tensor) for entry in states(ours))
    for optimizer in (source, ours):
        train(optimizer, range(5, 8), give_all)
    assert_same_bits(params_of(ours), params_of(source))
    assert [float(entry["step"]) for entry in states(ours)] == [8.0] * 4


def test_groups_through_json() -> None:
    """It has no tuples."""
    first = fastlr.AdamW(groups(), **SCHEDULED)
    train(first, range(3), give_all)
    state = through_a_file(first.state_dict())
    state["param_groups"] = json.loads(json.dumps(state["param_groups"]))
    second = fastlr.AdamW(groups(), **SCHEDULED)
    copy_parameters(first, second)
    second.load_state_dict(state)
    assert [group["betas"] for group in second.param_groups] == [(RISING(3), 0.99)] * 2
    for optimizer in (first, second):
        train(optimizer, range(3, 6), give_all)
    assert_same_state(first, second)


CROSSED = [(a, b, amsgrad) for a, b in (("Adam", "AdamW"), ("AdamW", "Adam")) for amsgrad in (False, True)]


@needs_fma
@pytest.mark.parametrize(("source", "target", "amsgrad"), CROSSED)
def test_adam_s_state_in_adamw_and_back_decays_as_torch_s(source: str, target: str, amsgrad: bool) -> None:
    sides = []
    for side in (0, 1):
        first = PAIRS[source][side](few(), lr=0.1, amsgrad=amsgrad, weight_decay=0.5)
        train(first, range(2), give_all)
        sides.append(resumed(first, PAIRS[target][side](few(), lr=0.1)))
        train(sides[-1], range(2, 4), give_all)
    assert [side.param_groups[0]["decoupled_weight_decay"] for side in sides] == [True, True]
    assert_same_state(*sides)


@pytest.mark.parametrize("name", RULES)
def test_a_checkpoint_s_beta_schedule_wins_with_a_warning(name: str) -> None:
    other = schedules.Linear(0.1, 0.2, 5)
    first = RULES[name][0](few(), lr=WARM, betas=(RISING, 0.99))
    train(first, range(3), give_all)
    second, third = (RULES[name][0](few(), lr=WARM, betas=(other, 0.99)) for _ in range(2))
    with pytest.warns(UserWarning, match="keep_schedule") as caught:
        second.load_state_dict(first.state_dict())
    assert all(text in str(caught[0].message) for text in (repr(RISING), repr(other), "beta1"))
    assert second.param_groups[0]["betas"] == (RISING(3), 0.99)
    third.load_state_dict(first.state_dict(), keep_schedule=True)  # type: ignore[call-arg]
    assert third.param_groups[0]["betas"] == (other(3), 0.99)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_averages_keep_the_wider_type_and_the_count_its_own(name: str, dtype: torch.dtype) -> None:
    first = RULES[name][0](few(torch.float32), lr=0.1)
    train(first, range(300), give_all)
    second = RULES[name][0](few(dtype), lr=0.1)
    second.load_state_dict(through_a_file(first.state_dict()))
    for old, new in zip(states(first), states(second), strict=True):
        kept = torch.promote_types(dtype, torch.float32)
        assert_same_bits(
            [t for key, t in new.items() if key != "step"], [t.to(kept) for key, t in old.items() if key != "step"]
        )
        if name != "Lion":
            assert (float(new["step"]), new["step"].dtype) == (300.0, torch.float32)
    train(second, range(300, 302), give_all)


EMPTY: list[dict[str, Any]] = [{"amsgrad": True}, {"capturable": True}, {"fused": True}, {"foreach": True}]


@pytest.mark.parametrize("options", EMPTY, ids=describe)
@pytest.mark.parametrize("name", PAIRS)
def test_loading_before_the_first_update(name: str, options: dict[str, Any]) -> None:
    first, second = (PAIRS[name][0](few(), lr=0.1, **options) for _ in range(2))
    second.load_state_dict(through_a_file(first.state_dict()))
    for optimizer in (first, second):
        train(optimizer, range(3), give_all)
    assert_same_state(first, second)
    assert all(second.param_groups[0][key] == value for key, value in options.items())
