"""Updates that a GPU skips by itself: nothing changes there, the schedules stand, and the host learns of it later."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import needs_fma
from cuda_cases import counts
from cuda_places import Place, Sides, StandinPlace, dense, normal
from cuda_recipe_cases import check_all, check_synced, give_turned, grads_of, group_sides, scaled, spoil
from cuda_tensors import on_device
from recipe_cases import CLASSES, DTYPES, FALLING, RATES, RISING
from sgd_cases import assert_same_bits
from standin_driver import Standin

import fastlr
from fastlr import schedules

pytestmark = needs_fma
ROWS: list[dict[str, Any]] = [
    {"max_grad_norm": 1.0, "ema_decay": RISING, "master_weights": True, "lr": FALLING},
    {"max_grad_norm": 1.0, "norm_per_group": True, "max_grad_value": 0.1, "state_dtype": "float32", "lr": FALLING},
    {"ema_decay": 0.5, "lr": schedules.Step(0.1, 2, 0.5)},
    {},
]
MIXED = [DTYPES, [torch.float32], DTYPES, DTYPES]
Spoiling = Callable[[Sides], None]
WHOLE = 6  # a parameter of the first group that always has a gradient


def sides(place: Place, rule: str, **own: Any) -> Sides:
    return group_sides(place, rule, [{**row, **own} for row in ROWS], MIXED)


def value_in(group: int, value: float) -> Spoiling:
    def put(both: Sides) -> None:
        spoil(both, WHOLE + group * len(both.params) // len(ROWS), value)

    return put


REASONS: dict[str, Spoiling] = {
    "found_inf": lambda both: scaled(both, 8.0, 1.0),
    "inf in the shared norm": value_in(0, math.inf),
    "nan in the shared norm": value_in(0, math.nan),
    "-inf in a group's own norm": value_in(1, -math.inf),
}


def step(both: Sides, number: int, reason: str | None, scale: float | None = 8.0) -> None:
    give_turned(both, number)
    scaled(both, scale)
    if reason is not None:
        REASONS[reason](both)
    both.step()


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize("rule", CLASSES)
def test_updates_are_skipped_at_the_start_and_later(rule: str, synced: bool, reason: str, place: Place) -> None:
    both = sides(place, rule)
    done = 0
    for number, skipped in enumerate((True, True, False, False, True, False, True, False)):
        before = [place.back(param) for param in both.copies]
        step(both, number, reason if skipped else None)
        if skipped:
            assert_same_bits(map(place.back, both.copies), before, f"parameter after update {number}")
        done += not skipped
        if synced:
            check_synced(both, f"after update {number}")
            assert both.gpu.step_count == done
    check_synced(both)
    assert both.gpu.step_count == done
    if rule.startswith("Adam"):
        assert {*counts(both.gpu)} == {3, 4}


@pytest.mark.parametrize("reason", REASONS)
def test_a_skipped_update_zeroes_what_asks_for_it(reason: str, place: Place) -> None:
    both = sides(place, "Adam", zero_grad_in_step=True)
    for number, skipped in enumerate((True, False, True)):
        step(both, number, reason if skipped else None)
        assert_same_bits(map(place.back, grads_of(both.copies)), map(torch.zeros_like, grads_of(both.params)))
    check_synced(both)


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
def test_the_host_s_entries_after_sync(rule: str, place: Place) -> None:
    """The rate, the counts and the state dict are those of the updates that were done."""
    both = sides(place, rule)
    for number in range(4):
        step(both, number, "found_inf" if number in (0, 2) else None)
    expected = both.cpu.state_dict()
    found = both.gpu.state_dict()
    assert repr(found["param_groups"]) == repr(expected["param_groups"])
    assert both.gpu.step_count == 2
    assert both.gpu.param_groups[0]["lr"] == FALLING(2)


@pytest.mark.parametrize("rule", CLASSES)
def test_a_schedule_that_would_have_ended_without_the_skipped_updates(rule: str, place: Place) -> None:
    ending = schedules.Linear(0.1, 0.01, 3).past_end("error")
    both = Sides(place, [normal(31, seed=1)], lambda params: CLASSES[rule](params, lr=ending, max_grad_norm=1.0))
    for number in range(6):
        both.give(number, dense)
        if number % 2:
            spoil(both, 0)
        both.step()
    both.give(6, dense)
    both.step()
    check_synced(both)
    assert both.gpu.step_count == 4
    for side in (both.cpu, both.gpu):
        with pytest.raises(ValueError, match="Invalid lr in a parameter group: nan"):
            side.step()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("rule", CLASSES)
def test_error_if_nonfinite_refuses_and_changes_nothing(rule: str, group: int, value: float, place: Place) -> None:
    both = sides(place, rule, error_if_nonfinite=True, zero_grad_in_step=True)
    for number in range(3):
        give_turned(both, number)
        scaled(both, None)
        value_in(group, value)(both)
        before = [place.back(tensor) for tensor in (*both.copies, *grads_of(both.copies))]
        for side in (both.cpu, both.gpu):
            with pytest.raises(RuntimeError, match=r"The norm of the gradients is not finite: .+\. Look for the loss"):
                side.step()
        assert number > 0 or not both.gpu.state
        assert_same_bits(map(place.back, (*both.copies, *grads_of(both.copies))), before)
        both.check(f"after the error {number}")
        step(both, number, None)
        check_all(both, f"after update {number}")
    assert both.gpu.step_count == 3


def test_a_group_s_own_norm_raises_if_that_group_asks_for_it(place: Place) -> None:
    """The other, which does not, is skipped, and the whole step with it."""

    def make(params: list[torch.Tensor]) -> Any:
        rows = [{"params": [param], "error_if_nonfinite": i == 1} for i, param in enumerate(params)]
        return fastlr.SGD(rows, lr=1.0, max_grad_norm=1.0, norm_per_group=True)

    both = Sides(place, [normal(3, seed=i) for i in range(2)], make)
    both.give(0, dense)
    spoil(both, 0)
    both.step()
    check_synced(both)
    spoil(both, 1)
    with pytest.raises(RuntimeError, match="norm of the gradients is not finite"):
        both.gpu.step()
    both.give(1, dense)
    both.step()
    check_synced(both)
    assert both.gpu.step_count == 1


@pytest.mark.parametrize("rule", CLASSES)
def test_grad_scaler_drives_it(rule: str, standin: Standin) -> None:
    """torch's own, with a loss scale that halves and grows; what it hands over lies on the device."""
    both = sides(StandinPlace(standin), rule)
    scalers = [torch.amp.GradScaler("cpu", init_scale=16.0, growth_interval=2) for _ in range(2)]

    def to_device(optimizer: Any, *_: Any) -> None:
        optimizer.grad_scale, optimizer.found_inf = on_device(optimizer.grad_scale), on_device(optimizer.found_inf)

    both.gpu.register_step_pre_hook(to_device)
    scales = []
    for number in range(8):
        give_turned(both, number)
        if number in (0, 1, 4):
            spoil(both, WHOLE + 3 * len(both.params) // len(ROWS))  # where no norm is taken
        for scaler, side in zip(scalers, (both.cpu, both.gpu), strict=True):
            scaler.scale(torch.zeros(()))
            scaler.step(side)
            scaler.update()
        scales.append([scaler.get_scale() for scaler in scalers])
    assert scales == [[scale] * 2 for scale in (8.0, 4.0, 4.0, 8.0, 4.0, 4.0, 8.0, 8.0)]
    check_synced(both)
    assert both.gpu.step_count == 5


@pytest.mark.gpu
@pytest.mark.parametrize("rule", CLASSES)
def test_grad_scaler_drives_it_on_a_gpu(rule: str) -> None:
    weight = torch.nn.Parameter(torch.ones(257, device="cuda"))
    optimizer = CLASSES[rule]([weight], **{**RATES[rule][0], "lr": FALLING})
    scaler = torch.amp.GradScaler("cuda", init_scale=16.0)
    for number in range(6):
        weight.grad = torch.full_like(weight, math.inf if number in (0, 3) else 16.0)
        scaler.scale(torch.zeros((), device="cuda"))
        before = weight.detach().clone()
        scaler.step(optimizer)
        assert torch.equal(weight, before) == (number in (0, 3))
        scaler.update()
    assert optimizer.step_count == 4
    assert scaler.get_scale() == 4.0


@pytest.mark.parametrize("found", [0.0, 1.0])
def test_a_scaler_s_numbers_on_the_cpu(found: float, standin: Standin) -> None:
    """What it found is then known to the host: the update is skipped there."""
    both = sides(StandinPlace(standin), "SGD")
    step(both, 0, None)
    give_turned(both, 1)
    scaled(both, None)
    for side in (both.cpu, both.gpu):
        side.found_inf = torch.tensor(found)
    launched = len(standin.launches())
    both.step()
    assert (len(standin.launches()) == launched) == (found == 1.0)
    assert both.gpu.param_groups[0]["step_count"] == (1 if found else 2)
    both.check()
