"""Averages and masters on GPUs: checkpoints, averaged(), AveragedModel, and optimizers over several devices."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from adam_cases import needs_fma
from cuda_places import Place, Sides, StandinPlace, dense, normal
from cuda_recipe_cases import follow, group_sides, scaled, spoil
from recipe_cases import CLASSES, DTYPES, FALLING, RISING
from sgd_cases import assert_same_bits, gradient_like
from standin_driver import Standin
from test_cuda_state import DEVICES, copied_to, through_file
from torch import Tensor

import fastlr
from fastlr import schedules

pytestmark = needs_fma
ROWS: list[dict[str, Any]] = [
    {"ema_decay": RISING, "master_weights": True, "max_grad_norm": 0.5},
    {"ema_decay": 0.5, "stochastic_rounding": True, "state_dtype": "float32"},
]
KINDS = [DTYPES, DTYPES[:3]]


def on_place(place: Place, state: dict[str, Any]) -> dict[str, Any]:
    """A state dict from the CPU with all but the counts on the device."""
    copied = copied_to(place, copy.deepcopy(state))
    for entries in copied["state"].values():
        if "step" in entries:
            entries["step"] = place.back(entries["step"])
    return copied


def sides(place: Place, rule: str) -> Sides:
    return group_sides(place, rule, ROWS, KINDS)


@pytest.mark.parametrize("rule", CLASSES)
def test_state_goes_to_the_cpu_and_back(rule: str, place: Place) -> None:
    """In the middle of a training: the other side's state goes on, in the dtypes that it had."""
    both = sides(place, rule)
    follow(both, range(3))
    from_gpu = through_file(both.gpu.state_dict(), place)
    from_cpu = on_place(place, both.cpu.state_dict())
    assert repr(from_gpu["param_groups"]) == repr(both.cpu.state_dict()["param_groups"])
    follow(both, range(3, 5))
    for side, params, state in ((both.cpu, both.params, from_gpu), (both.gpu, both.copies, from_cpu)):
        side.load_state_dict(state)
        dtypes = {side.state[param]["ema"].dtype for param in params if param in side.state}
        assert dtypes == {torch.float32, torch.float64}
        assert side.step_count == 3
    both.check("after loading")
    follow(both, range(5, 8))


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
def test_state_that_is_saved_after_a_skipped_update(rule: str, place: Place) -> None:
    both = sides(place, rule)
    for step, skipped in enumerate((True, False, True)):
        both.give(step, dense)
        if skipped:
            spoil(both, 6)
        both.step()
    expected = both.cpu.state_dict()["param_groups"]
    state = both.gpu.state_dict()
    assert repr(state["param_groups"]) == repr(expected)
    both.gpu.load_state_dict(on_place(place, through_file(state, place)))
    follow(both, range(3, 5))


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_the_averages_in_the_weights_place(rule: str, place: Place) -> None:
    both = sides(place, rule)
    follow(both, range(3))
    held = [place.back(param) for param in both.copies]
    with both.gpu.averaged(), both.cpu.averaged():
        assert_same_bits(map(place.back, both.copies), both.params)
        assert not all(torch.equal(place.back(a), b) for a, b in zip(both.copies, held, strict=True))
        with pytest.raises(RuntimeError, match="Leave the block first"):
            both.gpu.step()
    assert_same_bits(map(place.back, both.copies), held)
    with pytest.raises(KeyError), both.gpu.averaged():
        raise KeyError
    assert_same_bits(map(place.back, both.copies), held)
    follow(both, range(3, 5))


@pytest.mark.parametrize("devices", DEVICES, ids=str)
@pytest.mark.parametrize("rule", CLASSES)
def test_several_devices_without_clipping(rule: str, devices: Sequence[int | None], place: Place) -> None:
    """The same bits, since nothing is added up over them."""
    if place.devices < 2 and 1 in devices:
        pytest.skip("needs a machine with two GPUs")
    rows = [{**row, "max_grad_norm": None, "max_grad_value": 0.02, "zero_grad_in_step": True} for row in ROWS]
    both = group_sides(place, rule, rows, KINDS, devices)
    follow(both, range(4))


@pytest.mark.parametrize("devices", DEVICES, ids=str)
@pytest.mark.parametrize("rule", CLASSES)
def test_several_devices_with_clipping(rule: str, devices: Sequence[int | None], standin: Standin) -> None:
    """By torch's operators, with another order of the norm's sum, as soon as gradients lie on two devices."""
    rows: list[dict[str, Any]] = [{"max_grad_norm": 0.5, "ema_decay": 0.5, "zero_grad_in_step": True}, {}]
    both = group_sides(StandinPlace(standin), rule, rows, [[torch.float64]] * 2, devices)
    for step in range(4):
        both.give(step)
        if step == 2:
            spoil(both, 6)
        both.step()
        assert both.gpu.grad_norm == pytest.approx(both.cpu.grad_norm, rel=1e-13)
        for ours, theirs in zip(both.copies, both.params, strict=True):
            torch.testing.assert_close(both.place.back(ours), theirs.detach(), rtol=1e-11, atol=1e-13)
            if theirs.grad is not None:
                assert ours.grad is not None
                assert_same_bits([both.place.back(ours.grad)], [theirs.grad])
    both.gpu.sync()
    both.check_groups()
    assert both.gpu.step_count == 3
    if len({*devices}) > 1:
        assert [event for event in standin.launches() if "norm" in event["kernel"]] == []


def test_several_devices_with_clipping_raise(standin: Standin) -> None:
    both = Sides(
        StandinPlace(standin),
        [normal(3, seed=i) for i in range(2)],
        lambda params: fastlr.SGD(params, lr=1.0, max_grad_norm=1.0, error_if_nonfinite=True),
        (0, 1),
    )
    both.give(0, dense)
    spoil(both, 1)
    for side in (both.cpu, both.gpu):
        with pytest.raises(RuntimeError, match="The norm of the gradients is not finite"):
            side.step()
    both.check()


RATE = schedules.Linear(0.5, 0.1, 20)
PATTERNS = {
    "the other one, then both": ["0", "1", "01", "0", "01"],
    "both, then one": ["01", "0", "01", "1", "1", "01"],
    "one after the other": ["0", "1", "0", "1", "0", "1", "01"],
}


@pytest.mark.parametrize("other", [None, 1], ids=["the CPU", "another GPU"])
@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
@pytest.mark.parametrize("reason", ["found_inf", "norm"])
@pytest.mark.parametrize("rule", CLASSES)
def test_a_skipped_update_of_a_device_is_known_to_the_others(
    rule: str, reason: str, pattern: list[str], other: int | None, place: Place
) -> None:
    """Their schedules stand, too, although gradients of each come and go. A norm is taken only where it has one GPU."""
    if place.devices < 2 and other is not None:
        pytest.skip("needs a machine with two GPUs")
    if place.records is not None and other is not None and reason == "found_inf":
        pytest.skip("the stand-in copies no tensor to another device: needs GPUs")
    options = {"norm": {"max_grad_norm": 1e30}, "found_inf": {"ema_decay": FALLING}}[reason]

    def make(params: list[Tensor]) -> Any:
        return CLASSES[rule](params, lr=RATE, **options)

    params = [normal(size, dtype=torch.float64, seed=size) for size in (5, 31, 7, 9)]
    both = Sides(place, params, make, (0, other))
    done = 0
    for number, present in enumerate(pattern * 2):
        for i, param in enumerate(both.params):
            param.grad = gradient_like(param, 10 * i + number) if str(i % 2) in present else None
        both.copy_gradients()
        skipped = number % 3 != 1
        if reason == "found_inf":
            scaled(both, 1.0, float(skipped))
        elif skipped:
            spoil(both, int(present[0]))
        both.step()
        done += not skipped
        for ours, theirs in zip(both.copies, both.params, strict=True):
            torch.testing.assert_close(place.back(ours), theirs.detach(), rtol=1e-12, atol=1e-14, equal_nan=True)
    both.gpu.sync()
    both.check_groups()
    assert both.gpu.step_count == both.cpu.step_count == done


def test_a_module_and_torch_s_averaged_model(standin: Standin) -> None:
    from cuda_tensors import module_on_device, on_cpu

    torch.manual_seed(0)
    model = module_on_device(torch.nn.Linear(5, 3))
    optimizer = fastlr.SGD(model.parameters(), lr=0.1, ema_decay=0.75)
    for step in range(3):
        for i, param in enumerate(model.parameters()):
            param.grad = gradient_like(param, 10 * i + step)
        optimizer.step()
    averaged = optimizer.to_averaged_model(model)
    expected = [optimizer.state[param]["ema"] for param in model.parameters()]
    assert_same_bits(map(on_cpu, averaged.module.parameters()), map(on_cpu, expected))
    other = fastlr.SGD(model.parameters(), lr=0.1, ema_decay=0.75)
    other.from_averaged_model(averaged, model)
    assert_same_bits([on_cpu(other.state[param]["ema"]) for param in model.parameters()], map(on_cpu, expected))
