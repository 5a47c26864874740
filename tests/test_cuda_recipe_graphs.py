"""Steps with a recipe that a CUDA graph recorded: replays clip, skip, average, round and zero as steps on the CPU."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import needs_fma, refused
from cuda_places import Graph, Place, Sides
from cuda_recipe_cases import check_all, check_synced, group_sides, scaled, spoil
from recipe_cases import CLASSES, DTYPES, FALLING, RISING
from sgd_cases import assert_same_bits

from fastlr import schedules

pytestmark = needs_fma
ROWS: list[dict[str, Any]] = [
    {"max_grad_norm": 0.5, "ema_decay": RISING, "master_weights": True, "zero_grad_in_step": True, "lr": FALLING},
    {"max_grad_norm": 0.5, "norm_per_group": True, "stochastic_rounding": True, "ema_decay": 0.5, "lr": FALLING},
    {"max_grad_value": 0.02, "zero_grad_in_step": True, "lr": FALLING},
]
UNCLIPPED = [{**row, "max_grad_norm": None} for row in ROWS]
KINDS = [DTYPES, DTYPES[:3], DTYPES]
Change = Callable[[Any], None]


def sides(place: Place, rule: str, rows: list[dict[str, Any]] = ROWS, warm_up: int = 0) -> Sides:
    both = group_sides(place, rule, rows, KINDS)
    for step in range(warm_up):
        both.refill(step)
        both.step()
    both.refill(warm_up)
    return both


def captured(both: Sides) -> Graph:
    with both.place.capture() as graph:
        both.gpu.step()
    return graph


def replay(both: Sides, graph: Graph, step: int, *spoiled: int) -> None:
    both.refill(step)
    for place in spoiled:
        spoil(both, place)
    graph.replay()
    both.cpu.step()


@pytest.mark.parametrize("warm_up", [0, 2])
@pytest.mark.parametrize("rule", CLASSES)
def test_replays_and_steps_between_them(rule: str, warm_up: int, place: Place) -> None:
    both = sides(place, rule, warm_up=warm_up)
    graph = captured(both)
    assert both.gpu.step_count == warm_up
    for step in range(10, 14):
        replay(both, graph, step)
        assert repr(both.gpu.grad_norm) == repr(both.cpu.grad_norm)
    check_synced(both, "after replays")
    both.refill(20)
    both.step()
    replay(both, graph, 21)
    check_synced(both, "after a step between")
    assert both.gpu.step_count == warm_up + 6


@pytest.mark.parametrize("rule", CLASSES)
def test_replays_that_are_skipped(rule: str, place: Place) -> None:
    """Their gradients are zeroed, and the first that is not is the first update."""
    both = sides(place, rule)
    graph = captured(both)
    whole = len(both.params) // len(ROWS)
    for step, spoiled in enumerate(((6,), (6 + whole,), (), (6, 6 + whole), ())):
        before = [place.back(param) for param in both.copies]
        replay(both, graph, step, *spoiled)
        if spoiled:
            assert_same_bits(map(place.back, both.copies), before)
        assert repr(both.gpu.grad_norm) == repr(both.cpu.grad_norm)
    check_synced(both)
    assert both.gpu.step_count == 2
    both.refill(20)
    both.step()
    check_synced(both, "after a step")


@pytest.mark.parametrize("rows", [ROWS, UNCLIPPED], ids=["clipped", "not clipped"])
@pytest.mark.parametrize("rule", CLASSES)
def test_a_scaler_s_numbers_that_change_between_replays(rule: str, rows: list[dict[str, Any]], place: Place) -> None:
    both = sides(place, rule, rows)
    scaled(both, 4.0)
    numbers = both.gpu.grad_scale, both.gpu.found_inf
    graph = captured(both)
    for step, (scale, found) in enumerate(((4.0, 1.0), (8.0, 0.0), (8.0, 0.0), (2.0, 1.0), (3.0, 0.0))):
        both.place.finish()
        for tensor, value in zip(numbers, (scale, found), strict=True):
            tensor.fill_(value)
        both.cpu.grad_scale, both.cpu.found_inf = torch.tensor(scale), torch.tensor(found)
        replay(both, graph, step)
    check_synced(both)
    assert both.gpu.step_count == 3


@pytest.mark.parametrize("warm_up", [0, 1])
def test_error_if_nonfinite_cannot_be_captured(warm_up: int, place: Place) -> None:
    both = sides(place, "AdamW", [{**row, "error_if_nonfinite": True} for row in ROWS], warm_up)
    before = [place.back(param) for param in both.copies]
    scratch = place.put(torch.zeros(3))
    text = r"A captured step cannot raise for gradients that are not finite: error_if_nonfinite\. Set it to False"
    with place.capture() as graph:
        scratch.add_(1.0)
        with refused(both.gpu, RuntimeError, match=text):
            both.gpu.step()
    graph.replay()
    assert_same_bits(map(place.back, both.copies), before)
    both.step()
    check_all(both)


def write(name: str, value: Any) -> Change:
    def change(optimizer: Any) -> None:
        for group in optimizer.param_groups:
            group[name] = value
        optimizer.sync()

    return change


CHANGES: dict[str, Change] = {
    "max_grad_norm": write("max_grad_norm", 0.01),
    "no max_grad_norm": write("max_grad_norm", None),
    "norm_per_group": write("norm_per_group", True),
    "one norm": write("norm_per_group", False),
    "max_grad_value": write("max_grad_value", 1e-3),
    "no max_grad_value": write("max_grad_value", None),
    "ema_decay": lambda o: o.set_schedule(ema_decay=0.25),
    "an ema_decay that changes": lambda o: o.set_schedule(ema_decay=schedules.Linear(0.0, 0.9, 20), group=1),
    "rounding_seed": write("rounding_seed", 12345),
    "zero_grad_in_step": write("zero_grad_in_step", True),
    "no zero_grad_in_step": write("zero_grad_in_step", False),
    "step_count": lambda o: setattr(o, "step_count", 7),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_a_change_between_replays(rule: str, name: str, place: Place) -> None:
    rows = [ROWS[0], {**ROWS[1], "ema_decay": 0.5}, {**ROWS[2], "max_grad_norm": 3.0, "ema_decay": 0.9}]
    both = sides(place, rule, rows, warm_up=1)
    graph = captured(both)
    for step in range(6):
        replay(both, graph, step)
        if step % 2 == 0:
            for side in (both.cpu, both.gpu):
                CHANGES[name](side)
    check_synced(both, "after replays")
    both.refill(20)
    both.step()
    check_synced(both, "after a step")


# What a graph was recorded with, what is asked for later, and whether its replays do that, too.
LATER: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {"max_grad_norm": 0.5}, False),
    ({}, {"max_grad_value": 0.02}, False),
    ({}, {"ema_decay": 0.5}, False),
    ({}, {"master_weights": True}, False),
    ({}, {"stochastic_rounding": True}, False),
    ({}, {"zero_grad_in_step": True}, False),
    ({"max_grad_norm": 0.5}, {"error_if_nonfinite": True}, False),
    ({"max_grad_value": 0.02}, {"max_grad_norm": 0.5}, False),
    ({"max_grad_value": 0.02}, {"ema_decay": schedules.Linear(0.0, 0.9, 20)}, False),
    ({"max_grad_value": 0.02}, {"zero_grad_in_step": True}, True),
    ({"zero_grad_in_step": True}, {"max_grad_value": 0.02}, True),
    ({"max_grad_norm": 0.5}, {"max_grad_value": 0.02, "norm_per_group": True}, True),
]


@pytest.mark.parametrize("synced", [False, True])
@pytest.mark.parametrize(("own", "later", "done"), LATER, ids=str)
def test_an_option_that_a_graph_was_recorded_without(
    own: dict[str, Any], later: dict[str, Any], done: bool, synced: bool, place: Place
) -> None:
    """It has no memory or no launch for that: a warning says that replays go on as they were."""
    both = sides(place, "SGD", [{**own, "lr": FALLING}] * len(ROWS))
    graph = captured(both)
    replay(both, graph, 0)

    def ask(optimizer: Any) -> None:
        for group in optimizer.param_groups[1:2]:
            group.update({name: value for name, value in later.items() if name != "ema_decay"})
        if "ema_decay" in later:
            optimizer.set_schedule(ema_decay=later["ema_decay"], group=1)

    told = pytest.warns(UserWarning, match="without some state or option .* max_grad_norm: replays go on without it")
    ask(both.cpu)
    with contextlib.nullcontext() if done else told:
        ask(both.gpu)
        both.gpu.sync() if synced else both.gpu.step()
    if not synced:
        both.cpu.step()
    if done:
        replay(both, graph, 1)
        check_synced(both)


def test_averages_that_were_made_ahead_of_the_capture(place: Place) -> None:
    """By a step that only creates state, for a checkpoint: they begin as copies of what was loaded since."""
    both = sides(place, "SGD", [{**ROWS[0], "max_grad_norm": None}] * len(ROWS))
    for side in (both.cpu, both.gpu):
        rates = [group["lr"] for group in side.param_groups]
        for group in side.param_groups:
            group["lr"] = 0.0
            for param in group["params"]:
                param.grad.zero_()
        side.step()
        assert side.step_count == 0
        assert any("ema" in entries for entries in side.state.values())
        for group, rate in zip(side.param_groups, rates, strict=True):
            group["lr"] = rate
            for param in group["params"]:
                with torch.no_grad():
                    param.copy_(both.place.put(torch.full_like(both.place.back(param), 3.0)))
    both.refill(1)
    graph = captured(both)
    for step in range(2):
        replay(both, graph, step)
    check_synced(both)


def test_two_recorded_steps_and_a_norm_that_is_not_finite_between(place: Place) -> None:
    both = sides(place, "Adam")
    with place.capture() as graph:
        both.gpu.step()
        both.gpu.step()
    for step in range(3):
        both.refill(step)
        if step == 1:
            spoil(both, 6, math.nan)
        graph.replay()
        both.cpu.step()
        if step == 1:  # zeroed by the first of them: the second one is done
            assert not both.params[6].grad.any()  # type: ignore[union-attr]
        both.cpu.step()
    check_synced(both)
    assert both.gpu.step_count == 5


def test_averages_take_the_weights_place_between_replays(place: Place) -> None:
    """In their memory: what else a graph computes from the parameters sees them."""
    both = sides(place, "SGD")
    graph = captured(both)
    replay(both, graph, 1)
    held = [place.back(param) for param in both.copies]
    with both.gpu.averaged(), both.cpu.averaged():
        assert_same_bits(map(place.back, both.copies), both.params)
    assert_same_bits(map(place.back, both.copies), held)
    replay(both, graph, 2)
    check_synced(both)
