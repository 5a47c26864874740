"""16-bit parameters beside float32 masters, and state in 16 bits: the bits of trainings in float32."""

import copy
from typing import Any

import pytest
import torch
from adam_cases import give_all, needs_fma, params_of, states, train
from recipe_cases import CLASSES, ODD, RATES, give, tensors
from sgd_cases import assert_same_bits
from torch import Tensor

import fastlr

HALVES = [torch.bfloat16, torch.float16]
RULES = [(rule, number) for rule, table in RATES.items() for number in range(len(table))]
every_rule = pytest.mark.parametrize("rule", CLASSES)
every_half = pytest.mark.parametrize("dtype", HALVES, ids=str)


@needs_fma
@pytest.mark.parametrize("clips", [False, True])
@every_half
@pytest.mark.parametrize(("rule", "number"), RULES)
def test_masters_are_a_float32_training(rule: str, number: int, dtype: torch.dtype, clips: bool) -> None:
    """By the same gradients, bit for bit, its state and averages too; the parameters are its weights rounded."""
    own = {"max_grad_norm": 0.3, "max_grad_value": 0.05, "ema_decay": 0.9} if clips else {}
    narrow = tensors([dtype], ODD)
    wide = [torch.empty_like(param, dtype=torch.float32).copy_(param.detach()) for param in narrow]
    ours = CLASSES[rule](narrow, **RATES[rule][number], **own, master_weights=True)
    plain = CLASSES[rule](wide, **RATES[rule][number], **own)
    for step in range(5):
        give(ours, step)
        for param, weights in zip(narrow, wide, strict=True):
            weights.grad = None if param.grad is None else param.grad.float()
        ours.step()
        plain.step()
        assert_same_bits([param.detach() for param in narrow], [w.to(dtype) for w in wide], f"after update {step}")
        for weights, state, expected in zip(wide, states(ours), states(plain), strict=True):
            masters = [state["master_param"]] if "master_param" in state else []
            assert_same_bits(masters, [weights] * len(masters), f"master after update {step}")
            assert state.keys() - {"master_param"} == expected.keys()
            assert_same_bits([state[name] for name in expected], expected.values(), f"state after update {step}")
        assert ours.grad_norm == plain.grad_norm


def test_masters_gather_what_rounding_would_lose() -> None:
    weights = [torch.ones(31, dtype=dtype) for dtype in HALVES]
    optimizer = fastlr.SGD(weights, lr=2.0**-14, master_weights=True)
    for _ in range(2**10):
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert [weight.unique().tolist() for weight in weights] == [[1.0 - 2.0**-4]] * 2


def test_a_master_stands_for_what_is_written_into_its_parameter() -> None:
    """Until it is taken out of the state: then it begins anew."""
    weight = torch.ones(3, dtype=torch.bfloat16)
    optimizer = fastlr.SGD([weight], lr=1.0, master_weights=True)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    weight.fill_(7.0)
    optimizer.step()
    assert weight.tolist() == [-1.0] * 3
    weight.fill_(7.0)
    del optimizer.state[weight]["master_param"]
    optimizer.step()
    assert weight.tolist() == [6.0] * 3


# State.


def trained(rule: str, dtype: torch.dtype, updates: range = range(3), **options: Any) -> Any:
    params = [torch.nn.Parameter(torch.linspace(-1, 1, size).to(dtype)) for size in (31, 257)]
    optimizer = CLASSES[rule](params, **{**RATES[rule][0], **options})
    train(optimizer, updates, give_all)
    return optimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_checkpoint_of_torch_s_becomes_one_with_masters(dtype: torch.dtype) -> None:
    """They begin at the parameters; the state goes on as it was."""
    params = [torch.nn.Parameter(torch.linspace(-1, 1, 31).to(dtype))]
    theirs = torch.optim.AdamW(params, lr=0.1)
    params[0].grad = torch.ones_like(params[0])
    theirs.step()
    narrow = [torch.nn.Parameter(params[0].detach().to(torch.bfloat16))]
    ours = fastlr.AdamW(narrow, lr=0.1, master_weights=True)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    ours.step_count = 1
    assert ours.param_groups[0]["master_weights"] is True
    narrow[0].grad = torch.zeros_like(narrow[0])
    begin = narrow[0].detach().float()
    ours.step()
    state = ours.state[narrow[0]]
    assert float(state["step"]) == 2.0
    assert (state["exp_avg"].dtype, state["master_param"].dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(state["exp_avg"], torch.full((31,), 0.09), rtol=0.01, atol=0)
    assert 0.0 < float((begin - state["master_param"]).min()) < 0.12


@every_rule
def test_masters_of_what_has_32_bits_there_are_none(rule: str) -> None:
    for dtype in (torch.float32, torch.float64):
        with_option, without = (trained(rule, dtype, master_weights=masters) for masters in (True, False))
        assert all("master_param" not in state for state in states(with_option))
        assert_same_bits(params_of(with_option), params_of(without))


@needs_fma
@every_rule
def test_state_in_16_bits_is_rounded_once_an_update(rule: str) -> None:
    """Two updates one by one, with the state carried in float32 and rounded between them by torch."""
    first, second = (
        trained(rule, torch.float32, range(1)),
        trained(rule, torch.float32, range(1), state_dtype=torch.bfloat16),
    )
    assert_same_bits(params_of(first), params_of(second))
    for wide, narrow in zip(states(first), states(second), strict=True):
        for name in wide.keys() - {"step"}:
            assert_same_bits([narrow[name]], [wide[name].to(torch.bfloat16)])
            wide[name].copy_(narrow[name])
    for optimizer in (first, second):
        train(optimizer, range(1, 2), give_all)
    assert_same_bits(params_of(first), params_of(second))


def test_squares_in_bfloat16_stand_still_and_in_float32_do_not() -> None:
    """1 - 0.999 of a difference is less than half of a last place, long before the average is there."""
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        weight = torch.zeros(3, dtype=torch.bfloat16)
        optimizer = fastlr.AdamW([weight], lr=1e-3, betas=(0.9, 0.999), state_dtype=dtype)
        for _ in range(3000):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
        found.append(optimizer.state[weight]["exp_avg_sq"][0].item())
    assert found[0] < 0.5
    assert found[1] == pytest.approx(1.0 - 0.999**3000, rel=1e-3)


def memory(tensors: list[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_masters_and_averages_take_4_bytes_an_element_each(dtype: torch.dtype) -> None:
    optimizer = trained("SGD", dtype, master_weights=True, ema_decay=0.9)
    kept = [value for state in states(optimizer) for value in state.values()]
    assert memory(kept) == 3 * 4 * (31 + 257)
