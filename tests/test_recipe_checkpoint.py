"""Trainings with a recipe that go on from a checkpoint end with the bits of one that was never interrupted."""

import warnings
from typing import Any

import pytest
import torch
from adam_cases import assert_same_state, params_of, states
from files import through_a_file
from recipe_cases import CLASSES, DTYPES, PAIRWISE, RISING, Options, describe, give, options_for, tensors
from sgd_cases import assert_same_bits, same_bits
from test_sgd_checkpoint import copy_parameters, plain

STEPS = 6
LAYOUTS = ["31", "transposed", "offset 1", "257", "1", "scalar", "channels_last"]
every_rule = pytest.mark.parametrize("rule", CLASSES)


def with_gaps(param: torch.Tensor) -> torch.Tensor:
    """One that only torch's operators update."""
    return torch.nn.Parameter(param.detach().repeat_interleave(2, dim=-1)[..., ::2])


def make(rule: str, rows: list[Options], dtypes: list[torch.dtype]) -> Any:
    groups = []
    for number, row in enumerate(rows):
        params = tensors(dtypes, LAYOUTS, seed=100 * number)
        params[-1] = with_gaps(params[-1])
        groups.append({**options_for(rule, row, number, dtypes), "params": params})
    return CLASSES[rule](groups, lr=1.0)


def train(optimizer: Any, steps: range) -> Any:
    for step in steps:
        give(optimizer, step)
        optimizer.step()
    return optimizer


def resumed(source: Any, target: Any) -> Any:
    state = source.state_dict()
    groups = [{**group, "betas": list(group.get("betas", []))} for group in state["param_groups"]]
    assert plain({**state, "param_groups": groups})
    copy_parameters(source, target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        target.load_state_dict(through_a_file(state))
    return target


@pytest.mark.parametrize("number", range(len(PAIRWISE)), ids=[describe(row) for row in PAIRWISE])
@every_rule
def test_resuming_gives_the_bits_of_an_uninterrupted_run(rule: str, number: int) -> None:
    """Every pair of options, mixed dtypes, what the core does not take; before the first update and later."""
    rows = [PAIRWISE[number], {}, PAIRWISE[(number + 3) % len(PAIRWISE)]]
    dtypes = DTYPES[:3] if any(row.get("stochastic_rounding") for row in rows) else DTYPES
    at = (0, 1, 2, 4)[number % 4]
    whole, first, second = (make(rule, rows, dtypes) for _ in range(3))
    train(whole, range(STEPS))
    train(first, range(at))
    train(resumed(first, second), range(at, STEPS))
    assert_same_state(second, whole)
    assert second.state_dict()["param_groups"] == whole.state_dict()["param_groups"]
    assert str(second.grad_norm) == str(whole.grad_norm)


@every_rule
def test_what_is_rounded_up_depends_on_the_count_that_the_checkpoint_carries(rule: str) -> None:
    rows: list[Options] = [{"stochastic_rounding": True, "rounding_seed": 3, "zero_grad_in_step": True}]
    first = train(make(rule, rows, [torch.bfloat16]), range(4))
    sides = [resumed(first, make(rule, rows, [torch.bfloat16])) for _ in range(3)]
    sides[1].step_count = 0
    sides[2].param_groups[0]["rounding_seed"] = 4
    assert [side.step_count for side in sides] == [4, 0, 4]
    for side in (first, *sides):
        train(side, range(4, 5))
    assert_same_state(sides[0], first)
    for side in sides[1:]:
        assert not all(same_bits(a, b) for a, b in zip(params_of(side), params_of(first), strict=True))


@every_rule
def test_the_ema_s_schedule_goes_on_and_another_one_is_replaced(rule: str) -> None:
    options: Options = {"ema_decay": RISING, "max_grad_norm": 0.5}
    first = train(make(rule, [options], [torch.float32]), range(2))
    whole = train(make(rule, [options], [torch.float32]), range(STEPS))
    falling, constant, kept = (make(rule, [{"ema_decay": d}], [torch.float32]) for d in (RISING * 0.5, 0.5, 0.25))
    with pytest.warns(UserWarning, match=r"in place of .*\(group 0, ema_decay\).*keep_schedule"):
        falling.load_state_dict(through_a_file(first.state_dict()))
    constant.load_state_dict(through_a_file(first.state_dict()))
    kept.set_schedule(ema_decay=RISING * 0.25)
    kept.load_state_dict(through_a_file(first.state_dict()), keep_schedule=True)
    assert [side.param_groups[0]["ema_decay"] for side in (falling, constant)] == [RISING(2)] * 2
    assert kept.param_groups[0]["ema_decay"] == RISING(2) * 0.25
    for side in (falling, constant):
        copy_parameters(first, side)
        train(side, range(2, STEPS))
        assert_same_state(side, whole)


@every_rule
def test_a_checkpoint_in_the_averages_block_is_the_one_outside(rule: str) -> None:
    rows: list[Options] = [{"ema_decay": 0.5, "master_weights": True}]
    whole = train(make(rule, rows, DTYPES), range(STEPS))
    first, second = train(make(rule, rows, DTYPES), range(3)), make(rule, rows, DTYPES)
    copy_parameters(first, second)
    with first.averaged():
        second.load_state_dict(through_a_file(first.state_dict()))
    train(second, range(3, STEPS))
    assert_same_state(second, whole)


@every_rule
def test_averages_and_masters_load_where_there_are_none_yet(rule: str) -> None:
    """Into a new optimizer without the options, whose groups are then the checkpoint's."""
    rows: list[Options] = [{"ema_decay": 0.5, "master_weights": True}]
    first, second = train(make(rule, rows, DTYPES), range(3)), make(rule, [{}], DTYPES)
    second.load_state_dict(through_a_file(first.state_dict()))
    for saved, loaded in zip(states(first), states(second), strict=True):
        assert_same_bits(loaded.values(), saved.values())
    copy_parameters(first, second)
    for side in (first, second):
        train(side, range(3, STEPS))
    assert_same_state(second, first)
