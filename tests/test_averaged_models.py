"""Averages as torch's AveragedModel and from it, and the buffers of the models that they are evaluated in."""

import copy
from typing import Any

import pytest
import torch
from adam_cases import params_of
from files import through_a_file
from sgd_cases import assert_same_bits
from test_averages import DATA, averages, copies, every_rule, make, network, train
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

import fastlr


def torch_s(model: torch.nn.Module, decay: float, **options: Any) -> AveragedModel:
    """One that has begun at the model's weights."""
    made = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), **options)  # type: ignore[no-untyped-call]
    made.n_averaged += 1
    return made


def begun(rule: str = "SGD", dtype: torch.dtype = torch.float32, **options: Any) -> tuple[Any, Any]:
    model = network(dtype=dtype)
    optimizer = make(model, rule, **options)
    train(model, optimizer, range(5))
    return model, optimizer


# Buffers.


def test_batch_norm_of_the_averaged_weights() -> None:
    """The statistics and the outputs of torch's AveragedModel and update_bn; then the model's own again."""
    model = network()
    optimizer, averaged_model = make(model), torch_s(model, 0.75)
    train(model, optimizer, range(5), lambda: averaged_model.update_parameters(model))
    update_bn(DATA, averaged_model)
    before = copies([*model.parameters(), *model.buffers()])
    with optimizer.averaged(model):
        update_bn(DATA, model)
        assert_same_bits(model.buffers(), averaged_model.module.buffers())
        torch.testing.assert_close(model.eval()(DATA[0]), averaged_model.eval()(DATA[0]), rtol=0, atol=0)
        saved = through_a_file(model.state_dict())
    assert_same_bits([*model.parameters(), *model.buffers()], before)
    assert_same_bits(saved.values(), averaged_model.module.state_dict().values())


def test_without_a_model_buffers_are_left_alone() -> None:
    """The averages meet the model's own statistics, as AveragedModel's do that copies them."""
    model = network()
    optimizer, averaged_model = make(model), torch_s(model, 0.75)
    train(model, optimizer, range(5), lambda: averaged_model.update_parameters(model))
    model.eval()
    with optimizer.averaged():
        torch.testing.assert_close(model(DATA[0]), averaged_model.eval()(DATA[0]), rtol=0, atol=0)
        model.train()(DATA[1])
    assert model[1].num_batches_tracked.item() == 6


def test_buffers_that_were_replaced_are_the_same_tensors_again() -> None:
    model, optimizer = begun()
    kept, values = dict(model[1].named_buffers()), copies(model.buffers())
    with optimizer.averaged(model):
        model[1].running_mean = torch.full((7,), 5.0)
        model[1].running_var = None
        model[1].num_batches_tracked += 100
    assert all(model[1]._buffers[name] is buffer for name, buffer in kept.items())
    assert_same_bits(model.buffers(), values)


def test_modules_without_statistics() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7, track_running_stats=False))
    optimizer = make(model)
    train(model, optimizer, range(2))
    with optimizer.averaged(model):
        assert model[1].running_mean is None
    assert model[1].running_mean is None


# To torch's model.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_rule
def test_a_model_of_the_averages(rule: str, dtype: torch.dtype) -> None:
    model, optimizer = begun(rule, dtype)
    weights = copies(model.parameters())
    made = optimizer.to_averaged_model(model)
    assert type(made) is AveragedModel
    assert_same_bits(made.module.parameters(), [average.to(dtype) for average in averages(optimizer)])
    assert_same_bits(made.module.buffers(), model.buffers())
    assert made.n_averaged.item() == 5
    assert_same_bits(model.parameters(), weights)
    with torch.no_grad():
        made.module[0].weight.zero_()
    assert averages(optimizer)[0].any(), "it has its own memory"


def test_it_goes_on_as_the_optimizer_does() -> None:
    model, optimizer = begun()
    made = optimizer.to_averaged_model(model)
    train(model, optimizer, range(5, 9), lambda: made.update_parameters(model))
    assert_same_bits(made.module.parameters(), averages(optimizer))


def test_it_has_the_present_decay() -> None:
    model, optimizer = begun(ema_decay=fastlr.schedules.Linear(0.0, 1.0, 20))
    made = optimizer.to_averaged_model(model)
    optimizer.set_schedule(ema_decay=optimizer.param_groups[0]["ema_decay"])
    assert optimizer.param_groups[0]["ema_decay"] == 0.25
    train(model, optimizer, range(5, 7), lambda: made.update_parameters(model))
    assert_same_bits(made.module.parameters(), averages(optimizer))


def test_parameters_of_no_average_are_copied() -> None:
    model = network()
    groups = [{"params": model[0].parameters(), "ema_decay": None}, {"params": model[1].parameters()}]
    optimizer = fastlr.SGD(groups, lr=0.1, ema_decay=0.75)
    train(model, optimizer, range(3))
    made = optimizer.to_averaged_model(model)
    averaged = [optimizer.state[param]["ema"] for param in model[1].parameters()]
    expected = [*model[0].parameters(), *averaged, *model[2].parameters()]
    assert_same_bits(made.module.parameters(), expected)


# From torch's model.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("at", [0, 3])
@every_rule
def test_averages_of_torch_s_model(rule: str, at: int, dtype: torch.dtype) -> None:
    """Before the first update, which then does not begin anew, and after some."""
    model = network()
    optimizer = make(model, rule)
    train(model, optimizer, range(at))
    given = AveragedModel(network(seed=7).to(dtype))
    weights = copies(model.parameters())
    optimizer.from_averaged_model(given, model)
    assert_same_bits(averages(optimizer), [param.detach().float() for param in given.module.parameters()])
    assert_same_bits(model.parameters(), weights)
    assert optimizer.step_count == at
    made = optimizer.to_averaged_model(model)
    made.n_averaged.fill_(1)
    train(model, optimizer, range(at, at + 3), lambda: made.update_parameters(model))
    assert_same_bits(averages(optimizer), made.module.parameters())


@every_rule
def test_there_and_back(rule: str) -> None:
    model, optimizer = begun(rule)
    before = copies(averages(optimizer))
    made = optimizer.to_averaged_model(model)
    train(model, optimizer, range(5, 7))
    optimizer.from_averaged_model(made, model)
    assert_same_bits(averages(optimizer), before)


def test_a_training_that_began_with_torch_s_goes_on_here() -> None:
    model, same = network(), network()
    theirs, averaged_model = torch.optim.SGD(same.parameters(), lr=0.125), torch_s(same, 0.75)
    train(same, theirs, range(4), lambda: averaged_model.update_parameters(same))
    model.load_state_dict(same.state_dict())
    ours = fastlr.SGD(model.parameters(), lr=0.125, ema_decay=0.75)
    ours.from_averaged_model(averaged_model, model)
    train(same, theirs, range(4, 8), lambda: averaged_model.update_parameters(same))
    train(model, ours, range(4, 8))
    assert_same_bits(averages(ours), averaged_model.module.parameters())


def test_averages_of_16_bit_parameters_stay_float32() -> None:
    model, optimizer = begun(dtype=torch.bfloat16)
    given = AveragedModel(network(seed=7))
    optimizer.from_averaged_model(given, model)
    assert_same_bits(averages(optimizer), given.module.parameters())


def test_averages_of_a_training_that_has_had_none() -> None:
    """Its parameters have other state."""
    model, optimizer = begun(ema_decay=None)
    assert all("ema" not in state for state in optimizer.state.values())
    optimizer.set_schedule(ema_decay=0.5)
    given = AveragedModel(network(seed=7))
    optimizer.from_averaged_model(given, model)
    assert_same_bits(averages(optimizer), given.module.parameters())


def test_models_that_do_not_fit() -> None:
    model, optimizer = begun()
    before = copies(averages(optimizer))
    fewer, wider = torch.nn.Sequential(torch.nn.Linear(5, 7)), network()
    wider[2] = torch.nn.Linear(7, 4)
    for given, match in ((fewer, "has 2 parameters, the model 6. Give"), (wider, r"parameter 2\.weight: \[4, 7\] for")):
        with pytest.raises(ValueError, match=match):
            optimizer.from_averaged_model(AveragedModel(given), model)
    stranger = copy.deepcopy(model)
    with pytest.raises(ValueError, match=r"None of the model's 6 parameters are in a group with ema_decay\. Give"):
        optimizer.from_averaged_model(AveragedModel(model), stranger)
    with pytest.raises(ValueError, match=r"None of the model's 6 parameters are in a group with ema_decay\. Give"):
        optimizer.to_averaged_model(stranger)
    assert_same_bits(averages(optimizer), before)
    assert len(params_of(optimizer)) == 6
