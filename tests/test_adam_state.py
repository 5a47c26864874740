"""What Adam, AdamW and Lion keep for a parameter: names, types, layouts, the count, and what callers do to it."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from adam_cases import (
    PAIRS,
    RULES,
    Optimizer,
    assert_same_state,
    copied,
    few,
    give_all,
    needs_fma,
    parameters,
    params_of,
    refused,
    states,
    train,
)
from sgd_cases import assert_same_bits, gradient_like
from torch import Tensor

import fastlr


@pytest.fixture
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("name", PAIRS)
def test_the_state_is_torch_s(name: str, amsgrad: bool) -> None:
    """In names, order, types, sizes and strides."""
    sides = [make(parameters(), lr=0.1, amsgrad=amsgrad) for make in PAIRS[name]]
    for optimizer in sides:
        train(optimizer, range(6))
    for ours, theirs in zip(*map(states, sides), strict=True):
        described = [
            [(key, t.dtype, t.shape, t.stride(), t.device, t.requires_grad) for key, t in state.items()]
            for state in (ours, theirs)
        ]
        assert described[0] == described[1]


def test_lion_s_state_is_one_average() -> None:
    optimizer = fastlr.Lion(parameters())
    train(optimizer, range(6))
    for param, state in zip(params_of(optimizer), states(optimizer), strict=True):
        assert list(state) == ([] if param.grad is None else ["exp_avg"])
        assert all(tensor.stride() == param.stride() for tensor in state.values())


@pytest.mark.usefixtures("double_by_default")
@pytest.mark.parametrize("fused", [None, True])
def test_the_count_has_the_default_dtype(fused: bool | None) -> None:
    optimizer = fastlr.Adam(few(torch.float32), fused=fused)
    train(optimizer, range(3), give_all)
    steps = [state["step"] for state in states(optimizer)]
    assert [(float(step), step.dtype, step.dim()) for step in steps] == [(3.0, torch.float64, 0)] * 4


def test_the_count_is_raised_in_place() -> None:
    optimizer = fastlr.AdamW(few())
    train(optimizer, range(1), give_all)
    steps = [state["step"] for state in states(optimizer)]
    train(optimizer, range(1, 4), give_all)
    assert all(state["step"] is step for state, step in zip(states(optimizer), steps, strict=True))
    assert [float(step) for step in steps] == [4.0] * 4


COUNTS: dict[str, Callable[[float], Any]] = {
    "int": int,
    "float": float,
    "another tensor": torch.tensor,
    "of one dimension": lambda count: torch.tensor([count]),
    "of float64": lambda count: torch.tensor(count, dtype=torch.float64),
    "of integers": lambda count: torch.tensor(int(count)),
}


@needs_fma
@pytest.mark.parametrize("kind", COUNTS)
def test_a_count_that_was_written_is_gone_on_from(kind: str) -> None:
    ours, theirs = (make(few(), lr=0.1) for make in PAIRS["Adam"])
    for step in range(6):
        if step == 3:
            for mine, torch_s in zip(states(ours), states(theirs), strict=True):
                mine["step"], torch_s["step"] = COUNTS[kind](40.0), torch.tensor(40.0)
        for optimizer in (ours, theirs):
            train(optimizer, range(step, step + 1), give_all)
    assert_same_bits(params_of(ours), params_of(theirs))
    assert [float(state["step"]) for state in states(ours)] == [43.0] * 4


BAD_COUNTS: list[Any] = [-1.0, float("nan"), float("inf"), torch.tensor(-3.0), torch.tensor(float("nan")), "three"]


@needs_fma
@pytest.mark.parametrize("count", BAD_COUNTS, ids=repr)
def test_a_count_that_is_none_is_refused(count: Any) -> None:
    optimizer = fastlr.Adam(few())
    train(optimizer, range(2), give_all)
    give_all(params_of(optimizer), 2)
    written = mock.patch.dict(states(optimizer)[2], {"step": count})
    with refused(optimizer, TypeError, ValueError), written:
        optimizer.step()


@needs_fma
@pytest.mark.parametrize("name", PAIRS)
def test_replaced_and_removed_state(name: str) -> None:
    """Callers put other tensors in, or take the state away: a parameter without state starts anew."""
    sides = [make(few(), lr=0.1) for make in PAIRS[name]]
    for step in range(8):
        for optimizer in sides:
            params = params_of(optimizer)
            if step == 3:
                optimizer.state[params[0]]["exp_avg"] = gradient_like(params[0], 7)
                optimizer.state[params[1]]["exp_avg_sq"] = gradient_like(params[1], 8).square()
            if step == 5:
                del optimizer.state[params[3]]
            train(optimizer, range(step, step + 1), give_all)
    assert_same_state(*sides)
    assert float(states(sides[0])[3]["step"]) == 3


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("name", RULES)
def test_copies_go_on_alike_and_apart(name: str, copy_of: Callable[[Optimizer], Optimizer]) -> None:
    schedule = fastlr.schedules.Linear(0.5, 0.9, 9)
    first = RULES[name][0](few(), lr=fastlr.warmup_cosine(0.1, 20, warmup=5), betas=(schedule, 0.99))
    train(first, range(4), give_all)
    second = copy_of(first)
    assert type(second) is type(first)
    before = copied(first)
    train(second, range(4, 8), give_all)
    assert_same_bits([p.detach() for p in params_of(first)], before[0], "the original's are its own")
    train(first, range(4, 8), give_all)
    assert_same_state(first, second)


def zero_gradients(params: Any, step: int) -> None:
    for param in params:
        param.grad = torch.zeros_like(param)


@pytest.mark.parametrize("name", RULES)
def test_a_step_at_rate_0_without_gradients_only_makes_the_state(name: str) -> None:
    """As torch.distributed.checkpoint does before it loads: no update, and training begins as without it."""
    prepared, plain = (RULES[name][0](few(), lr=0.1, weight_decay=0.5) for _ in range(2))
    before = [p.detach().clone() for p in params_of(prepared)]
    prepared.param_groups[0]["lr"] = 0.0
    train(prepared, range(1), zero_gradients)
    assert_same_bits([p.detach() for p in params_of(prepared)], before)
    assert all(not bool(tensor.any()) for state in states(prepared) for tensor in state.values())
    assert prepared.step_count == 0
    prepared.param_groups[0]["lr"] = 0.1
    for optimizer in (prepared, plain):
        train(optimizer, range(5), give_all)
    assert_same_state(prepared, plain)


def test_every_parameter_counts_its_own_updates() -> None:
    params: list[Tensor] = [torch.ones(3) for _ in range(5)]
    optimizer = fastlr.AdamW(params, lr=0.1)
    for step in range(10):
        for index, param in enumerate(params):
            param.grad = torch.ones(3) if step % (index + 1) == 0 else None
        optimizer.step()
    assert [float(optimizer.state[p]["step"]) for p in params] == [10.0, 5.0, 4.0, 3.0, 2.0]
    assert optimizer.step_count == 10
