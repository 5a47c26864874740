"""Running averages of the weights: torch's own results, their turn in the weights' place, and models made of them."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from adam_cases import params_of
from recipe_cases import CLASSES, DTYPES, RATES
from sgd_cases import assert_same_bits, filled, gradient_like
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import fastlr
from fastlr import compat
from fastlr.schedules import Constant, Linear

DATA = [torch.randn(6, 5, generator=torch.Generator().manual_seed(step)) for step in range(12)]
every_rule = pytest.mark.parametrize("rule", CLASSES)


def network(seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 3)).to(dtype)


def make(model: torch.nn.Module, rule: str = "SGD", **options: Any) -> Any:
    return CLASSES[rule](model.parameters(), **{**RATES[rule][0], "ema_decay": 0.75, **options})


def train(model: torch.nn.Module, optimizer: Any, steps: range, then: Callable[[], object] = lambda: None) -> None:
    dtype = next(model.parameters()).dtype
    for step in steps:
        optimizer.zero_grad()
        model(DATA[step].to(dtype)).square().mean().backward()
        optimizer.step()
        then()


def copies(tensors: Any) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def averages(optimizer: Any) -> list[Tensor]:
    return [optimizer.state[param]["ema"] for param in params_of(optimizer)]


@every_rule
def test_the_bits_are_those_of_torch_s_averaged_model(rule: str) -> None:
    """Which copies at its first update, as a decay of 0 does."""
    model = network()
    optimizer = make(model, rule, ema_decay=Constant(0.0, 1) >> Constant(0.9))
    torch_s = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
    train(model, optimizer, range(8), lambda: torch_s.update_parameters(model))
    assert_same_bits(averages(optimizer), torch_s.module.parameters())


def by_timm(t: int) -> float:
    return min(1.0 - float(1 + t) ** (-2.0 / 3.0), 0.9)


def by_ultralytics(t: int) -> float:
    return float(0.9 * (1.0 - np.exp(-(t + 1) / 5.0)))


DECAYS: dict[str, tuple[Any, Callable[[int], float]]] = {
    "number": (0.9, lambda t: 0.9),
    "0: a copy": (0.0, lambda t: 0.0),
    "1: the beginning": (1.0, lambda t: 1.0),
    "timm": (compat.timm.ema_decay(0.9, warmup=True), by_timm),
    "ultralytics": (compat.ultralytics.ema_decay(0.9, tau=5), by_ultralytics),
    "falling": (Linear(1.0, 0.0, 5), lambda t: max(1.0 - t / 5, 0.0)),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", DECAYS)
@every_rule
def test_decays_against_float64(rule: str, name: str, dtype: torch.dtype) -> None:
    given, formula = DECAYS[name]
    params = [filled(layout, dtype, 3) for layout in ("31", "transposed", "scalar", "0")]
    optimizer = CLASSES[rule](params, **{**RATES[rule][0], "lr": 0.125, "ema_decay": given})
    expected = [param.detach().double().numpy().copy() for param in params]
    for t in range(8):
        assert optimizer.param_groups[0]["ema_decay"] == pytest.approx(formula(t), abs=1e-15)
        for index, param in enumerate(params):
            param.grad = gradient_like(param, 10 * index + t)
        optimizer.step()
        for average, param in zip(expected, params, strict=True):
            average += (1.0 - formula(t)) * (param.detach().double().numpy() - average)
    wide = torch.promote_types(dtype, torch.float32)
    for average, value, param in zip(averages(optimizer), expected, params, strict=True):
        assert (average.dtype, average.stride()) == (wide, param.stride())
        room = 1e-14 if wide is torch.float64 else 1e-6
        np.testing.assert_allclose(average.double().numpy(), value, rtol=room, atol=room)


def test_averages_of_masters_are_of_what_they_hold() -> None:
    params = [torch.linspace(-1, 1, 31, dtype=torch.bfloat16) for _ in range(2)]
    with_masters, without = (
        fastlr.SGD([param], lr=1e-4, ema_decay=0.5, master_weights=masters)
        for param, masters in zip(params, (True, False), strict=True)
    )
    begin = params[0].float()
    for optimizer in (with_masters, without):
        (param,) = params_of(optimizer)
        param.grad = torch.ones_like(param)
        optimizer.step()
    torch.testing.assert_close(begin - averages(with_masters)[0], torch.full((31,), 5e-5), rtol=1e-2, atol=0)
    assert_same_bits(averages(without), [begin.lerp(params[1].float(), 0.5)])


@pytest.mark.parametrize("masters", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@every_rule
def test_averages_stand_in_and_leave(rule: str, dtype: torch.dtype, masters: bool) -> None:
    model = network(dtype=dtype)
    optimizer = make(model, rule, master_weights=masters)
    train(model, optimizer, range(4))
    weights, state = copies(model.parameters()), copy.deepcopy(optimizer.state_dict())
    places = [param.data_ptr() for param in model.parameters()]
    with optimizer.averaged() as nothing:
        assert nothing is None
        assert_same_bits(model.parameters(), [average.to(dtype) for average in averages(optimizer)])
        assert [param.data_ptr() for param in model.parameters()] == places
        inside = optimizer.state_dict()
        assert inside["param_groups"] == state["param_groups"]
        for number, entries in state["state"].items():
            assert_same_bits(inside["state"][number].values(), entries.values())
    assert_same_bits(model.parameters(), weights)
    train(model, optimizer, range(4, 6))
    undisturbed = network(dtype=dtype)
    other = make(undisturbed, rule, master_weights=masters)
    train(undisturbed, other, range(6))
    assert_same_bits(model.parameters(), undisturbed.parameters())
    assert_same_bits(averages(optimizer), averages(other))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit], ids=lambda error: error.__name__)
def test_an_exception_passes_and_the_weights_are_back(error: type[BaseException]) -> None:
    model = network()
    optimizer = make(model)
    train(model, optimizer, range(3))
    weights = copies([*model.parameters(), *model.buffers()])

    def fail() -> None:
        with optimizer.averaged(model):
            model(DATA[0])
            raise error

    with pytest.raises(error):
        fail()
    assert_same_bits([*model.parameters(), *model.buffers()], weights)
    train(model, optimizer, range(3, 4))


def step(optimizer: Any) -> None:
    optimizer.step()


def step_with_a_closure(optimizer: Any) -> None:
    optimizer.step(lambda: torch.zeros(()))


def load(optimizer: Any) -> None:
    optimizer.load_state_dict(optimizer.state_dict())


def again(optimizer: Any) -> None:
    with optimizer.averaged():
        pass


def take(optimizer: Any) -> None:
    optimizer.from_averaged_model(AveragedModel(network()), network())


@pytest.mark.parametrize("refused", [step, step_with_a_closure, load, again, take], ids=lambda f: f.__name__)
def test_what_is_refused_while_the_averages_stand_in(refused: Callable[[Any], None]) -> None:
    model = network()
    optimizer = make(model)
    train(model, optimizer, range(3))
    before = copies(model.parameters()), copies(averages(optimizer))
    with optimizer.averaged():
        inside = copies(model.parameters())
        with pytest.raises(RuntimeError, match=r"averages.* Leave .*(first|block)"):
            refused(optimizer)
        assert_same_bits(model.parameters(), inside)
    assert_same_bits([*model.parameters(), *averages(optimizer)], before[0] + before[1])
    assert optimizer.step_count == 3
    train(model, optimizer, range(3, 4))


def test_without_a_decay_there_are_no_averages() -> None:
    model = network()
    optimizer = make(model, ema_decay=None)
    for call in (again, lambda o: o.to_averaged_model(model), take):
        with pytest.raises(RuntimeError, match=r"No group has an average: ema_decay=None\. Construct"):
            call(optimizer)


def test_parameters_without_an_average_stay() -> None:
    """Frozen ones, those that had no gradient so far, and those of a group that does not average."""
    params = [torch.nn.Parameter(torch.ones(3), requires_grad=i != 1) for i in range(4)]
    optimizer = fastlr.SGD([{"params": params[:3]}, {"params": params[3:], "ema_decay": None}], lr=1.0, ema_decay=0.5)
    with optimizer.averaged():
        assert_same_bits(params, [torch.ones(3)] * 4)
    for index in (0, 3):
        params[index].grad = torch.ones(3)
    optimizer.step()
    assert [list(optimizer.state.get(param, {})) for param in params] == [["ema"], [], [], []]
    with optimizer.averaged():
        assert [param[0].item() for param in params] == [0.5, 1.0, 1.0, 0.0]
    assert [param[0].item() for param in params] == [0.0, 1.0, 1.0, 0.0]
    params[2].grad = torch.ones(3)
    optimizer.step()
    assert optimizer.state[params[2]]["ema"].tolist() == [0.5] * 3, "begins at the weights before their first update"


@pytest.mark.parametrize("first", [1, 7])
def test_an_average_that_begins_later_begins_at_the_present_weights(first: int) -> None:
    model = network()
    optimizer = make(model, ema_decay=None)
    train(model, optimizer, range(first))
    begin = copies(model.parameters())
    optimizer.set_schedule(ema_decay=0.75)
    train(model, optimizer, range(first, first + 1))
    expected = [a.lerp(b.detach(), 0.25) for a, b in zip(begin, model.parameters(), strict=True)]
    assert_same_bits(averages(optimizer), expected)


def test_complex_parameters() -> None:
    params = [torch.nn.Parameter(torch.randn(7, dtype=dtype)) for dtype in (torch.complex64, torch.complex128)]
    optimizer = fastlr.AdamW(params, lr=0.125, ema_decay=0.75)
    expected = copies(params)
    for t in range(4):
        for param in params:
            param.grad = gradient_like(param, t) * (1 + 2j)
        optimizer.step()
        for average, param in zip(expected, params, strict=True):
            average.lerp_(param.detach(), 0.25)
    assert [average.dtype for average in averages(optimizer)] == [torch.complex64, torch.complex128]
    torch.testing.assert_close(averages(optimizer), expected)
    weights = copies(params)
    with optimizer.averaged():
        torch.testing.assert_close([param.detach() for param in params], expected)
    assert_same_bits(params, weights)


def test_two_optimizers_of_one_model() -> None:
    model = network()
    halves = [fastlr.SGD(model[0].parameters(), lr=0.1, ema_decay=0.5), make(model[1:], "Lion")]
    for t in range(3):
        model.zero_grad()
        model(DATA[t]).square().mean().backward()
        for half in halves:
            half.step()
    weights = copies(model.parameters())
    with halves[0].averaged():
        train(model, halves[1], range(3, 4))  # the other's weights are its own
        with halves[1].averaged():
            assert_same_bits(model.parameters(), [*averages(halves[0]), *averages(halves[1])])
    assert_same_bits(model[0].parameters(), weights[:2])


def test_shared_parameters_are_averaged_once() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 5), torch.nn.Tanh(), torch.nn.Linear(5, 5))
    model[2].weight = model[0].weight
    optimizer = make(model)
    torch_s = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75))  # type: ignore[no-untyped-call]
    torch_s.n_averaged += 1
    train(model, optimizer, range(4), lambda: torch_s.update_parameters(model))
    made = optimizer.to_averaged_model(model)
    assert made.module[2].weight is made.module[0].weight
    assert_same_bits(made.module.parameters(), torch_s.module.parameters())


def test_autograd_sees_that_the_weights_were_changed() -> None:
    model = network()
    optimizer = make(model)
    train(model, optimizer, range(3))
    loss = model(DATA[3]).square().mean()
    with optimizer.averaged():
        pass
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
