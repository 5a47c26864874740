"""Steps that are skipped or refused: not a byte of parameters, state, counts, rates and clocks changes."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import copied, params_of
from recipe_cases import CLASSES, FALLING, ODD, RATES, RISING, give, tensors
from sgd_cases import assert_same_bits

import fastlr

MIXED = [torch.float32, torch.bfloat16, torch.float64, torch.float16]
BAD = [math.nan, math.inf, -math.inf]


def make(rule: str, **own: Any) -> Any:
    """Three groups, with masters and averages; the second has a norm of its own, the third does not clip."""
    recipes: list[dict[str, Any]] = [
        {"max_grad_norm": 1.0, "ema_decay": RISING, "master_weights": True, **own},
        {"max_grad_norm": 1.0, "norm_per_group": True, "max_grad_value": 0.1, **own},
        {"ema_decay": 0.5, "state_dtype": "float32"},
    ]
    rates = {**RATES[rule][0], "lr": FALLING}
    groups = [{**rates, **row, "params": tensors(MIXED, ODD, seed=50 * i)} for i, row in enumerate(recipes)]
    return CLASSES[rule](groups, lr=1.0)


def found_inf(optimizer: Any) -> None:
    optimizer.found_inf, optimizer.grad_scale = torch.tensor(1.0), torch.tensor(8.0)


def value_in(group: int, value: float) -> Callable[[Any], None]:
    def put(optimizer: Any) -> None:
        optimizer.param_groups[group]["params"][6].grad[-1] = value  # contiguous

    return put


REASONS: dict[str, Callable[[Any], None]] = {
    "found_inf": found_inf,
    **{f"{value} in the shared norm": value_in(0, value) for value in BAD},
    **{f"{value} in a group's own norm": value_in(1, value) for value in BAD},
}


def everything(optimizer: Any) -> Any:
    """What a skipped step may not change; groups' entries as they are, the schedules among them."""
    return (*copied(optimizer), [list(state) for state in optimizer.state.values()], optimizer.step_count)


def assert_unchanged(optimizer: Any, before: Any) -> None:
    now = everything(optimizer)
    assert_same_bits(now[0], before[0], "parameter")
    for present, earlier in zip(now[1], before[1], strict=True):
        assert present.keys() == earlier.keys()
        assert_same_bits(present.values(), earlier.values(), "state")
    assert now[2:] == before[2:]


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("rule", CLASSES)
def test_a_skipped_step_at_the_start_and_later(rule: str, reason: str) -> None:
    """The updates after it are those of a run without it."""
    optimizer, plain = make(rule), make(rule)
    for step in range(5):
        for skipped in (True, False) if step in (0, 2, 3) else (False,):
            for side in (optimizer,) if skipped else (optimizer, plain):
                give(side, step)
            before = everything(optimizer)
            grads = [param.grad for param in params_of(optimizer)]
            if skipped:
                REASONS[reason](optimizer)
                versions = [grad._version for grad in grads if grad is not None]
                optimizer.step()
                assert_unchanged(optimizer, before)
                assert step > 0 or not optimizer.state
                assert [grad._version for grad in grads if grad is not None] == versions
                for name in ("found_inf", "grad_scale"):
                    optimizer.__dict__.pop(name, None)
            else:
                optimizer.step()
                plain.step()
    assert optimizer.step_count == plain.step_count == 5
    assert_same_bits(params_of(optimizer), params_of(plain))
    assert optimizer.param_groups[0]["lr"] == plain.param_groups[0]["lr"]


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("rule", CLASSES)
def test_error_if_nonfinite_refuses_and_changes_nothing(rule: str, group: int, value: float) -> None:
    optimizer = make(rule, error_if_nonfinite=True, zero_grad_in_step=True)
    for step in range(3):
        give(optimizer, step)
        value_in(group, value)(optimizer)
        before = everything(optimizer)
        grads = [copy.copy(param.grad) for param in params_of(optimizer)]
        kept = [grad.clone() for grad in grads if grad is not None]
        with pytest.raises(RuntimeError, match=r"The norm of the gradients is not finite: .+\. Look for the loss"):
            optimizer.step()
        assert_unchanged(optimizer, before)
        assert step > 0 or not optimizer.state
        assert_same_bits([grad for grad in grads if grad is not None], kept, "gradient")
        give(optimizer, step)
        optimizer.step()
    assert optimizer.step_count == 3


@pytest.mark.parametrize("raises", [0, 1])
def test_a_shared_norm_raises_if_any_of_its_groups_asks_for_it(raises: int) -> None:
    params = [torch.zeros(2), torch.zeros(2)]
    groups = [{"params": [p], "error_if_nonfinite": i == raises} for i, p in enumerate(params)]
    optimizer = fastlr.SGD(groups, lr=1.0, max_grad_norm=1.0)
    for param in params:
        param.grad = torch.full((2,), math.nan)
    with pytest.raises(RuntimeError, match="norm of the gradients is not finite"):
        optimizer.step()


def test_a_group_s_own_norm_raises_if_that_group_asks_for_it() -> None:
    """The other, which does not, is skipped, and the whole step with it."""
    params = [torch.zeros(2), torch.zeros(2)]
    groups = [{"params": [p], "norm_per_group": True, "error_if_nonfinite": i == 1} for i, p in enumerate(params)]
    optimizer = fastlr.SGD(groups, lr=1.0, max_grad_norm=1.0)
    for param, value in zip(params, (math.nan, 1.0), strict=True):
        param.grad = torch.full((2,), value)
    optimizer.step()
    assert optimizer.step_count == 0
    assert not any(param.any() for param in params)
    params[1].grad = torch.full((2,), math.inf)
    with pytest.raises(RuntimeError, match="norm of the gradients is not finite"):
        optimizer.step()


@pytest.mark.parametrize("reason", REASONS)
def test_a_skipped_step_zeroes_what_asks_for_it(reason: str) -> None:
    optimizer = make("SGD", zero_grad_in_step=True)
    give(optimizer, 0)
    REASONS[reason](optimizer)
    grads = [[param.grad for param in group["params"]] for group in optimizer.param_groups]
    kept = [grad.clone() for grad in grads[2] if grad is not None]
    optimizer.step()
    assert optimizer.step_count == 0
    for group, row in zip(optimizer.param_groups, grads, strict=True):
        assert all(param.grad is grad for param, grad in zip(group["params"], row, strict=True))
    for row in grads[:2]:
        assert all(not grad.any() and not grad.signbit().any() for grad in row if grad is not None)
    assert_same_bits([grad for grad in grads[2] if grad is not None], kept, "gradient")


def test_the_norm_of_a_skipped_step_can_be_read() -> None:
    weight = torch.zeros(2)
    optimizer = fastlr.SGD([weight], lr=1.0, max_grad_norm=1.0)
    weight.grad = torch.tensor([math.inf, 0.0])
    optimizer.step()
    assert optimizer.grad_norm == math.inf
    assert weight.tolist() == [0.0, 0.0]


def test_values_that_are_not_finite_pass_where_no_norm_is_asked_for() -> None:
    weight = torch.zeros(2)
    optimizer = fastlr.SGD([weight], lr=1.0, zero_grad_in_step=True)
    weight.grad = torch.tensor([math.inf, 1.0])
    optimizer.step()
    assert weight.tolist() == [-math.inf, -1.0]
