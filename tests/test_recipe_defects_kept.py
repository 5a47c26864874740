"""Defects that users report of averages, precision and zeroing in torch, each beside torch's own result."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from adam_cases import states
from recipe_cases import RISING
from sgd_cases import assert_same_bits
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import fastlr


def test_averages_of_bfloat16_weights_move() -> None:
    """AveragedModel keeps them in bfloat16, where 1 - 0.999 of a difference is rounded away."""
    model = torch.nn.Linear(2, 2, bias=False, dtype=torch.bfloat16)
    torch.nn.init.ones_(model.weight)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))  # type: ignore[no-untyped-call]
    average.update_parameters(model)
    ours = fastlr.SGD(model.parameters(), lr=0.0, ema_decay=0.999)
    ours.from_averaged_model(average, model)
    torch.nn.init.constant_(model.weight, 1.5)
    for _ in range(1000):
        model.weight.grad = torch.ones_like(model.weight)
        ours.step()
        average.update_parameters(model)
    assert average.module.weight.tolist() == [[1.0, 1.0]] * 2
    expected = torch.full((2, 2), 1.5 - 0.5 * 0.999**1000)
    torch.testing.assert_close(ours.state[model.weight]["ema"], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("options", [{"master_weights": True}, {"stochastic_rounding": True}], ids=str)
def test_bfloat16_weights_move_by_less_than_their_spacing(options: dict[str, Any]) -> None:
    """torch's optimizers have neither masters nor stochastic rounding: such updates are lost, all of them."""
    weights = [torch.ones(4096, dtype=torch.bfloat16) for _ in range(2)]
    theirs, ours = torch.optim.SGD([weights[0]], lr=1e-3), fastlr.SGD([weights[1]], lr=1e-3, **options)
    for _ in range(500):
        for optimizer, weight in zip((theirs, ours), weights, strict=True):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
    assert weights[0].unique().tolist() == [1.0]
    assert weights[1].float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_float32_state_of_bfloat16_parameters_is_loaded_as_it_is() -> None:
    """torch's load_state_dict makes bfloat16 of it."""
    third = torch.full((3,), 1 / 3)
    for make_one, expected in ((torch.optim.SGD, torch.bfloat16), (fastlr.SGD, torch.float32)):
        param = torch.zeros(3, dtype=torch.bfloat16)
        optimizer = make_one([param], lr=1.0, momentum=0.9)  # type: ignore[operator]
        param.grad = torch.ones_like(param)
        optimizer.step()
        state = copy.deepcopy(optimizer.state_dict())
        state["state"][0]["momentum_buffer"] = third.clone()
        optimizer.load_state_dict(state)
        assert optimizer.state[param]["momentum_buffer"].dtype is expected


def test_a_decay_is_saved_with_its_average() -> None:
    """An AveragedModel's function cannot be pickled, and its state dict holds no decay: a resumed one takes another."""
    averaged = AveragedModel(torch.nn.Linear(1, 1), multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(averaged)
    param = torch.ones(3)
    optimizer = fastlr.SGD([param], lr=1.0, ema_decay=RISING)
    param.grad = torch.ones(3)
    optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = fastlr.SGD([param.clone()], lr=1.0, ema_decay=RISING)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for one in (optimizer, resumed, pickle.loads(pickle.dumps(optimizer))):
        assert one.param_groups[0]["ema_decay_schedule"] == RISING
        assert one.param_groups[0]["ema_decay"] == RISING(1)
        assert states(one)[0]["ema"].tolist() == pytest.approx([RISING(0)] * 3, rel=1e-6)


def test_gradients_keep_their_memory() -> None:
    """zero_grad() drops the tensors by default, so that a captured graph's writes go to memory of others."""
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    theirs = torch.optim.SGD([weights[0]], lr=1.0)
    ours = fastlr.SGD([weights[1]], lr=1.0, zero_grad_in_step=True)
    for weight in weights:
        weight.square().sum().backward()
    kept = weights[1].grad
    theirs.step()
    theirs.zero_grad()
    ours.step()
    assert weights[0].grad is None
    assert weights[1].grad is kept
    assert_same_bits([kept], [torch.zeros(3)])  # type: ignore[list-item]
    weights[1].sum().backward()
    assert kept is weights[1].grad
    assert kept is not None
    assert kept.tolist() == [1.0] * 3
