"""The recipe's options as arguments, as entries of groups, in checkpoints and in copies: when they take effect."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from adam_cases import PAIRS, assert_same_state, few, give_all, needs_fma, params_of, refused, states, train
from files import through_a_file
from recipe_cases import CLASSES, FALLING, RATES, RISING, Options, assert_follows, both, follow, tensors
from sgd_cases import filled, torch_sgd
from test_sgd_checkpoint import copy_parameters

import fastlr

EVERYTHING: Options = {
    "max_grad_norm": 0.7,
    "norm_per_group": True,
    "max_grad_value": 0.02,
    "ema_decay": RISING,
    "master_weights": True,
    "rounding_seed": 3,
    "state_dtype": torch.float32,
    "zero_grad_in_step": True,
}
every_rule = pytest.mark.parametrize("rule", CLASSES)


@every_rule
def test_defaults_and_values_of_a_group(rule: str) -> None:
    params = few()
    own: Options = {"max_grad_norm": None, "ema_decay": 0.25, "zero_grad_in_step": False}
    groups = [{"params": params[:1]}, {"params": params[1:2], **own}, {"params": params[2:], "ema_decay": FALLING}]
    plain, full = CLASSES[rule]([torch.ones(1)]).param_groups[0], CLASSES[rule](groups, **EVERYTHING).param_groups
    assert {name: plain[name] for name in (*EVERYTHING, "error_if_nonfinite", "stochastic_rounding")} == {
        "max_grad_norm": None,
        "norm_per_group": False,
        "error_if_nonfinite": False,
        "max_grad_value": None,
        "ema_decay": None,
        "master_weights": False,
        "stochastic_rounding": False,
        "rounding_seed": 0,
        "state_dtype": None,
        "zero_grad_in_step": False,
    }
    everything = {**EVERYTHING, "ema_decay": RISING(0), "state_dtype": "float32"}
    for group, expected in zip(
        full, (everything, {**everything, **own}, {**everything, "ema_decay": 0.2}), strict=True
    ):
        assert {name: group[name] for name in expected} == expected
    assert [group["ema_decay_schedule"] for group in full] == [RISING, None, FALLING]


def test_numbers_of_other_types_become_plain_ones() -> None:
    """Which any checkpoint format holds."""
    given: Options = {
        "max_grad_norm": np.float32(0.5),
        "max_grad_value": np.int64(2),
        "ema_decay": np.float64(0.5),
        "rounding_seed": np.uint8(7),
        "state_dtype": torch.bfloat16,
    }
    optimizer = fastlr.SGD([torch.ones(1)], **given)
    optimizer.add_param_group({"params": [torch.ones(1)], **given})
    state = fastlr.SGD([torch.ones(1)]).state_dict()
    state["param_groups"][0].update(given)
    loaded = fastlr.SGD([torch.ones(1)])
    loaded.load_state_dict(state)
    saved = [through_a_file(side.state_dict())["param_groups"] for side in (optimizer, loaded)]
    for group in (*saved[0], *saved[1]):
        values = [group[name] for name in given]
        assert values == [0.5, 2, 0.5, 7, "bfloat16"]
        assert list(map(type, values)) == [float, int, float, int, str]


# Written into the group one after another, before an update each.
WRITES: list[Options] = [
    {"max_grad_norm": 0.7},
    {"max_grad_value": 0.02, "ema_decay": 0.9},
    {"max_grad_norm": None, "ema_decay": 0.3},
    {"max_grad_value": None, "zero_grad_in_step": True},
    {"ema_decay": None, "master_weights": True},
    {"max_grad_norm": 1e-3, "zero_grad_in_step": False},
    {"ema_decay": 0.5},
]


@needs_fma
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_rule
def test_what_is_written_between_steps_takes_effect(rule: str, dtype: torch.dtype) -> None:
    params = tensors([dtype], ["31", "transposed", "offset 1", "257"])
    state_dtype = None if dtype is torch.float32 else torch.bfloat16
    optimizer, oracle = both(rule, [{**RATES[rule][0], "params": params, "state_dtype": state_dtype}])
    for step, written in enumerate([{}, *WRITES]):
        optimizer.param_groups[0].update(written)
        oracle.groups[0].update(written)
        follow(optimizer, oracle, range(step, step + 1))
    assert_follows(optimizer, oracle)


@pytest.mark.parametrize("name", [name for name in EVERYTHING if name not in ("norm_per_group", "rounding_seed")])
@every_rule
def test_autograd_follows_no_recipe(rule: str, name: str) -> None:
    match = f"differentiable together with {name}: .+ leave one of them out"
    with pytest.raises(ValueError, match=match):
        CLASSES[rule]([torch.ones(1)], differentiable=True, **{name: EVERYTHING[name]})
    optimizer = CLASSES[rule]([torch.ones(1)], differentiable=True)
    with pytest.raises(ValueError, match=match):
        optimizer.add_param_group({"params": [torch.ones(1)], name: EVERYTHING[name]})


@every_rule
def test_autograd_follows_no_scaled_step(rule: str) -> None:
    optimizer = CLASSES[rule]([param.detach() for param in few()], lr=0.1, differentiable=True)
    train(optimizer, range(1), give_all)
    give_all(params_of(optimizer), 1)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(0.0)
    with refused(optimizer, ValueError, match="differentiable"):
        optimizer.step()


OF_TORCH: list[tuple[str, Options]] = [
    *[(rule, {"foreach": foreach}) for rule in CLASSES for foreach in (True, False)],
    *[(rule, {"fused": fused}) for rule in CLASSES if rule != "Lion" for fused in (True, False)],
    *[(rule, {"capturable": True, "foreach": True}) for rule in ("Adam", "AdamW")],
]


@needs_fma
@pytest.mark.parametrize(("rule", "own"), OF_TORCH, ids=str)
def test_torch_s_choices_of_an_implementation_change_nothing(rule: str, own: Options) -> None:
    sides = [CLASSES[rule](few(torch.bfloat16), lr=0.1, **EVERYTHING, **options) for options in ({}, own)]
    for side in sides:
        train(side, range(3), give_all)
    assert_same_state(*sides)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_fused_refuses_what_only_torch_s_operators_update(name: str) -> None:
    optimizer = CLASSES[name]([torch.ones(3, dtype=torch.complex64)], lr=0.1, fused=True, max_grad_norm=1.0)
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3, dtype=torch.complex64)
    with refused(optimizer, RuntimeError, match="`fused=True` requires dense floating point parameters"):
        optimizer.step()


@every_rule
def test_repr_shows_the_options(rule: str) -> None:
    text = repr(CLASSES[rule]([torch.ones(1)], **EVERYTHING))
    for line in ("max_grad_norm: 0.7", "state_dtype: float32", f"ema_decay_schedule: {RISING}", "rounding_seed: 3"):
        assert f"    {line}\n" in text


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("updates", [0, 3])
@every_rule
def test_copies_go_on_alike_and_apart(rule: str, updates: int, copy_of: Callable[[Any], Any]) -> None:
    first = CLASSES[rule](few(torch.bfloat16), lr=0.1, **EVERYTHING)
    train(first, range(updates), give_all)
    second = copy_of(first)
    before = [param.detach().clone() for param in params_of(first)], copy.deepcopy(states(first))
    train(second, range(updates, 6), give_all)
    assert all(torch.equal(a, b) for a, b in zip(params_of(first), before[0], strict=True))
    for state, kept in zip(states(first), before[1], strict=True):
        assert all(torch.equal(state[name], kept[name]) for name in kept)
    train(first, range(updates, 6), give_all)
    assert_same_state(first, second)
    assert first.grad_norm == second.grad_norm


@needs_fma
@pytest.mark.parametrize("name", ["SGD", *PAIRS])
def test_torch_s_checkpoint_loads_under_the_constructor_s_options(name: str) -> None:
    source = {"SGD": torch_sgd, **{pair: make[1] for pair, make in PAIRS.items()}}[name](few(), lr=0.1)
    train(source, range(3), give_all)
    target = CLASSES[name](few(), lr=0.1, **EVERYTHING)
    before = {entry: target.param_groups[0][entry] for entry in EVERYTHING}
    copy_parameters(source, target)
    target.load_state_dict(through_a_file(source.state_dict()))
    assert {entry: target.param_groups[0][entry] for entry in EVERYTHING} == before
    assert target.param_groups[0]["ema_decay_schedule"] == RISING
    weights = [param.detach().clone() for param in params_of(target)]
    train(target, range(3, 4), give_all)
    for state, earlier, param in zip(states(target), weights, params_of(target), strict=True):
        assert torch.equal(state["ema"], earlier.lerp(param.detach(), 1.0 - RISING(0)))


@every_rule
def test_a_checkpoint_from_before_the_options_loads_and_leaves_the_constructor_s(rule: str) -> None:
    source, target = (CLASSES[rule](few(), lr=0.1, **options) for options in ({}, EVERYTHING))
    train(source, range(3), give_all)
    state = through_a_file(source.state_dict())
    names = {*EVERYTHING, "error_if_nonfinite", "stochastic_rounding", "ema_decay_schedule"}
    state["param_groups"] = [{k: v for k, v in group.items() if k not in names} for group in state["param_groups"]]
    before = {entry: target.param_groups[0][entry] for entry in EVERYTHING}
    target.load_state_dict(state)
    assert {**before, "ema_decay": RISING(3)} == {entry: target.param_groups[0][entry] for entry in EVERYTHING}
    train(target, range(3, 5), give_all)
    assert target.step_count == 5


@every_rule
def test_a_checkpoint_s_options_win(rule: str) -> None:
    """As torch's own do."""
    source = CLASSES[rule](few(), lr=0.1, max_grad_norm=0.5, ema_decay=0.75, zero_grad_in_step=True)
    target = CLASSES[rule](few(), lr=0.1, max_grad_norm=9.0, ema_decay=0.1, max_grad_value=3.0)
    target.load_state_dict(through_a_file(source.state_dict()))
    group = target.param_groups[0]
    found = [group[name] for name in ("max_grad_norm", "ema_decay", "zero_grad_in_step", "max_grad_value")]
    assert found == [0.5, 0.75, True, None]


@needs_fma
@every_rule
def test_a_group_that_is_added_later_with_other_options(rule: str) -> None:
    """It goes on as in an optimizer of its own, at the same count; the first group goes on as before."""
    options = {"norm_per_group": True, "max_grad_norm": 0.3, "ema_decay": RISING, "lr": FALLING}
    later = {**options, "max_grad_norm": 0.1, "ema_decay": 0.5, "master_weights": True, "zero_grad_in_step": True}
    first, second, whole = few(), few(torch.bfloat16), CLASSES[rule](few(), **options)
    alone = [CLASSES[rule](first, **options), CLASSES[rule](second, **later)]
    for side in (whole, alone[0]):
        train(side, range(2), give_all)
    whole.add_param_group({"params": few(torch.bfloat16), **later})
    alone[1].step_count = 2
    for step in range(2, 5):
        for side in alone:
            give_all(params_of(side), step)
        for param, own in zip(params_of(whole), (*first, *second), strict=True):
            param.grad = own.grad.clone()  # type: ignore[union-attr]
        for side in (whole, *alone):
            side.step()
        assert whole.grad_norm == (alone[0].grad_norm[0], alone[1].grad_norm[0])
    expected = [*states(alone[0]), *states(alone[1])]
    for param, own, state, wanted in zip(params_of(whole), (*first, *second), states(whole), expected, strict=True):
        assert torch.equal(param, own)
        assert state.keys() == wanted.keys()
        assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_an_int_is_as_good_as_a_float() -> None:
    sides = [fastlr.SGD([filled("31", torch.float32, 0)], lr=1, **options) for options in ({}, {"max_grad_norm": 1.0})]
    sides[0].param_groups[0].update(max_grad_norm=1, ema_decay=1)
    sides[1].param_groups[0].update(ema_decay=1.0)
    for side in sides:
        train(side, range(2), give_all)
    assert_same_state(*sides)
