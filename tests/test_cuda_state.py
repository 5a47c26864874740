"""State on GPUs: to and from torch's, checkpoints, copies, and several devices in one optimizer."""

import copy
import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from cuda_cases import RULES, Rule, counts, each_rule
from cuda_places import Place, Sides, dense, normal
from sgd_cases import gradient_like, same_bits, set_gradients
from torch import Tensor

import fastlr
from fastlr import schedules
from fastlr.optim import ScheduledOptimizer, groups

RATE = schedules.Warmup(0.1, 3) >> schedules.Cosine(0.1, 0.01, 40)
SIZES = [(5,), (1,), (0,), (17, 3), (2049,), (131,)]


def leaves() -> list[Tensor]:
    return [normal(*size, seed=i) for i, size in enumerate(SIZES)]


def sides(place: Place, rule: Rule, devices: Sequence[int | None] = (0,)) -> Sides:
    return Sides(place, leaves(), lambda params: make(rule, params), devices)


def make(rule: Rule, params: list[Tensor]) -> ScheduledOptimizer:
    groups = [{"params": params[:3]}, {"params": params[3:], "lr_scale": 0.5, "weight_decay": 0.01}]
    return rule(groups, lr=RATE)


def through_file(state: dict[str, Any], place: Place) -> dict[str, Any]:
    """Saved from the CPU and loaded as plain values."""
    tensors = {i: {name: place.back(value) for name, value in entries.items()} for i, entries in state["state"].items()}
    file = io.BytesIO()
    torch.save({**state, "state": tensors}, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def copied_to(place: Place, state: dict[str, Any]) -> dict[str, Any]:
    """As torch.load(map_location="cuda") gives it."""
    tensors = {i: {name: place.put(value) for name, value in entries.items()} for i, entries in state["state"].items()}
    return {**state, "state": tensors}


@each_rule
@pytest.mark.parametrize("steps", [0, 4])
def test_state_from_the_cpu_goes_on_on_a_gpu(steps: int, rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    for step in range(steps):
        set_gradients(both.params, step)
        both.cpu.step()
    for copied, param in zip(both.copies, both.params, strict=True):
        copied.data.copy_(param.data)
    both.gpu.load_state_dict(copied_to(place, copy.deepcopy(both.cpu.state_dict())))
    both.updates(range(steps, steps + 4))


@each_rule
@pytest.mark.parametrize("steps", [0, 4])
def test_state_from_a_gpu_goes_on_on_the_cpu(steps: int, rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    both.updates(range(steps))
    state = through_file(both.gpu.state_dict(), place)
    assert state["param_groups"] == both.cpu.state_dict()["param_groups"]
    for i, param in enumerate(both.params):
        param.data.copy_(place.back(both.copies[i]))
    both.cpu = make(rule, both.params)
    both.cpu.load_state_dict(state)
    both.updates(range(steps, steps + 4))


# torch's class, what it is given, and what its state does not carry for fastlr's.
TORCH: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {"lr": 0.3, "momentum": 0.8, "weight_decay": 0.01}),
    "Adam": (torch.optim.Adam, {"lr": 0.3, "betas": (0.8, 0.9), "weight_decay": 0.01, "amsgrad": True}),
    "AdamW": (torch.optim.AdamW, {"lr": 0.3, "betas": (0.4, 0.9)}),
}


@pytest.mark.parametrize("name", TORCH)
def test_state_from_torch(name: str, place: Place) -> None:
    params = leaves()
    kind, options = TORCH[name]
    other = kind(params, foreach=False, fused=False, **options)
    for step in range(3):
        set_gradients(params, step)
        other.step()
    both = Sides(place, params, lambda params: RULES[name](params, lr=0.3))
    both.cpu.load_state_dict(copy.deepcopy(other.state_dict()))
    both.gpu.load_state_dict(copied_to(place, copy.deepcopy(other.state_dict())))
    assert both.gpu.step_count == 0
    for side in (both.cpu, both.gpu):
        side.step_count = 3
    both.updates(range(3, 7))
    assert not RULES[name].counts or {3, 7} <= {*counts(both.gpu)}


@pytest.mark.parametrize("name", TORCH)
def test_state_to_torch(name: str, place: Place) -> None:
    """Parameters agree to the last bits: torch's Adam has other square roots than fastlr's on x86."""
    kind, options = TORCH[name]
    both = Sides(place, leaves(), lambda params: RULES[name].kind(params, **options))
    both.updates(range(4))
    other = kind(both.params, foreach=False, fused=False, **{**options, "lr": 0.1})
    other.load_state_dict(through_file(both.gpu.state_dict(), place))
    set_gradients(both.params, 4)
    both.copy_gradients()
    both.gpu.step()
    other.step()
    for ours, theirs in zip(both.copies, both.params, strict=True):
        actual, expected = place.back(ours), theirs.detach()
        assert same_bits(actual, expected) if name == "SGD" else torch.allclose(actual, expected, rtol=1e-5, atol=1e-6)


@each_rule
def test_state_that_is_loaded_in_the_middle(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    both.updates(range(3))
    early = through_file(both.gpu.state_dict(), place)
    both.updates(range(3, 6))
    both.gpu.load_state_dict(copied_to(place, copy.deepcopy(early)))
    both.cpu.load_state_dict(copy.deepcopy(early))
    both.updates(range(6, 9))
    assert both.gpu.step_count == 6


@each_rule
def test_state_of_no_updates_that_is_loaded_in_the_middle(rule: Rule, place: Place) -> None:
    """The next update is a first one, although the device has counted."""
    both = sides(place, rule)
    fresh = make(rule, leaves()).state_dict()
    both.updates(range(3))
    for side in (both.cpu, both.gpu):
        side.load_state_dict(copy.deepcopy(fresh))
    both.updates(range(3, 6))


@each_rule
def test_state_that_somebody_takes_away_or_replaces(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    both.updates(range(3), dense)
    for side, params in ((both.cpu, both.params), (both.gpu, both.copies)):
        del side.state[params[0]]
        for name in rule.state:
            side.state[params[3]][name] = torch.zeros_like(params[3].detach())
        side.state[params[5]][rule.state[0]] = None
    both.updates(range(3, 6), dense)


def zero_gradients(params: Sequence[Tensor], step: int) -> None:
    for param in params:
        param.grad = torch.zeros_like(param)


@each_rule
def test_a_step_that_only_creates_the_state(rule: Rule, place: Place) -> None:
    """As distributed checkpointing does: rates and gradients of 0. It is no update, and the first one stays a first."""
    both = sides(place, rule)
    for side in (both.cpu, both.gpu):
        for group in side.param_groups:
            group["lr"] = 0.0
    both.give(0, zero_gradients)
    both.step()
    assert both.gpu.step_count == 0
    assert len(both.gpu.state) == len(SIZES)
    for side in (both.cpu, both.gpu):
        for group in side.param_groups:
            group["lr"] = RATE(0) * group["lr_scale"]
    both.check()
    both.updates(range(4), dense)


THROUGH: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
}


@each_rule
@pytest.mark.parametrize("through", THROUGH)
@pytest.mark.parametrize("steps", [0, 3])
def test_a_copy_goes_on_by_itself(steps: int, through: str, rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    both.updates(range(steps), dense)
    both.give(steps, dense)
    first = both.gpu
    twin = THROUGH[through](first)
    copies = [param for group in twin.param_groups for param in group["params"]]
    both.gpu.step()
    for copied, param in zip(copies, both.params, strict=True):
        copied.grad = place.put(param.grad) if param.grad is not None else None
    twin.step()
    both.cpu.step()
    both.check("the optimizer itself")
    both.gpu, both.copies = twin, copies
    both.check("its copy")
    both.updates(range(steps + 1, steps + 4), dense)


DEVICES: list[tuple[int | None, ...]] = [(0, None), (0, 1), (None, 1, 0), (1,), (1, None, None, 0)]


@each_rule
@pytest.mark.parametrize("devices", DEVICES, ids=str)
def test_parameters_on_several_devices(devices: tuple[int | None, ...], rule: Rule, place: Place) -> None:
    if place.devices < 2 and 1 in devices:
        pytest.skip("needs a machine with two GPUs")
    both = sides(place, rule, devices)
    both.updates(range(6))
    both.updates(range(6, 9), dense)
    state = through_file(both.gpu.state_dict(), place)
    assert state["param_groups"] == both.cpu.state_dict()["param_groups"]


@each_rule
@pytest.mark.parametrize("missing", [0, 1])
def test_a_device_whose_gradients_come_and_go(missing: int, rule: Rule, place: Place) -> None:
    """It is told the count when it takes part again."""
    if place.devices < 2:
        pytest.skip("needs a machine with two GPUs")
    both = sides(place, rule, (0, 1))

    def fill(params: Sequence[Tensor], step: int) -> None:
        for i, param in enumerate(params):
            absent = i % 2 == missing and step in (0, 3, 4)
            param.grad = None if absent else gradient_like(param, 1000 * i + step)

    both.updates(range(8), fill)


@each_rule
def test_a_parameter_that_moves_to_another_device(rule: Rule, place: Place) -> None:
    """As module.to() does it: the storage is another one."""
    both = sides(place, rule)
    both.updates(range(2), dense)
    for copied in both.copies:
        copied.data = place.put(place.back(copied))
    both.updates(range(2, 4), dense)


@each_rule
def test_the_same_parameter_twice(rule: Rule, place: Place) -> None:
    if rule.name != "sgd" and place.records is None:
        pytest.skip("left to torch, whose operators on a GPU do not give the bits of those on the CPU")
    both = Sides(place, leaves(), lambda params: rule(params, lr=RATE))
    for side in (both.cpu, both.gpu):
        side.param_groups[0]["params"] += side.param_groups[0]["params"][:2]
    both.updates(range(4), dense)


def test_the_value_of_a_rate_on_another_device_is_not_asked_for() -> None:
    """A tensor of the device "meta" has none to give."""
    param = torch.zeros(3, requires_grad=True)
    param.grad = torch.zeros(3)
    assert groups.initialised([{"lr": torch.zeros((), device="meta"), "params": [param]}]) == []


@pytest.mark.gpu
@pytest.mark.parametrize("momentum", [0, 0.9])
def test_a_rate_on_the_gpu_is_left_to_torch(momentum: float) -> None:
    sides = []
    for make_one in (fastlr.SGD, torch.optim.SGD):
        params = [normal(*size, seed=i).cuda().detach().requires_grad_() for i, size in enumerate(SIZES)]
        sides.append((make_one(params, lr=torch.tensor(0.1, device="cuda"), momentum=momentum), params))
    for step in range(4):
        for optimizer, params in sides:
            for i, param in enumerate(params):
                param.grad = gradient_like(param.cpu(), 100 * i + step).cuda()
            optimizer.step()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(sides[0][1], sides[1][1], strict=True))
