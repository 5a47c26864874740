"""Rates that somebody writes over a schedule's on a GPU: they are used, and the schedule's clock stands meanwhile."""

import warnings
from typing import Any

import pytest
import torch
from cuda_cases import RULES, Rule, each_rule
from cuda_places import Graph, Place, Sides, dense, normal
from torch import Tensor
from torch.optim import lr_scheduler as torch_schedulers

import fastlr
from fastlr import schedules
from fastlr.optim import ScheduledOptimizer, groups

pytestmark = pytest.mark.filterwarnings("ignore:A hyper-parameter that follows a schedule was written from outside")
RATE = schedules.Linear(0.1, 0.01, 20)
NAMES = [(rule, name) for rule in ("SGD", "Adam", "Lion") for name in RULES[rule].kind.scheduled]
of_each_name = pytest.mark.parametrize(("rule", "name"), NAMES)


def leaves() -> list[Tensor]:
    return [normal(size, seed=size) for size in (5, 1, 257)]


def sides(place: Place, rule: Rule = RULES["SGD"]) -> Sides:
    def make(params: list[Tensor]) -> ScheduledOptimizer:
        groups: list[dict[str, Any]] = [{"params": params[:2]}, {"params": params[2:], "lr_scale": 0.5}]
        return rule(groups, lr=RATE, **rule.scheduled)

    return Sides(place, leaves(), make)


def write(both: Sides, name: str, value: float | None, group: int = 0) -> None:
    """None: the schedule's own value, which waits."""
    for side in (both.cpu, both.gpu):
        entries = side.param_groups[group]
        own = entries[f"{name}_schedule"](entries["step_count"] - entries["held_steps"])
        scale = entries["lr_scale"] if name == "lr" else 1.0
        groups.put(entries, name, own * scale if value is None else value)


@of_each_name
def test_a_value_written_by_hand_until_its_own_is_back(rule: str, name: str, place: Place) -> None:
    both = sides(place, RULES[rule])
    both.updates(range(3), dense)
    write(both, name, 0.25)
    both.updates(range(3, 6), dense)
    write(both, name, 0.5)
    both.updates(range(6, 8), dense)
    write(both, name, None)
    both.updates(range(8, 11), dense)
    assert [group["held_steps"] for group in both.gpu.param_groups] == [5, 0]
    assert both.gpu.step_count == 11


def test_it_is_told_once(place: Place) -> None:
    both = sides(place)
    write(both, "lr", 0.25)
    both.give(0, dense)
    with pytest.warns(UserWarning, match="was written from outside"):
        both.gpu.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both.gpu.step()


@each_rule
def test_a_scheduler_of_torch_on_top(rule: Rule, place: Place) -> None:
    """It writes its own rate before every step, and the schedule stands at its first value."""
    both = sides(place, rule)
    made = [
        torch_schedulers.LambdaLR(side, [lambda t: 0.5 / (1 + t), lambda t: 0.25 / (1 + t)])
        for side in (both.cpu, both.gpu)
    ]
    for step in range(6):
        both.updates(range(step, step + 1), dense)
        for scheduler in made:
            scheduler.step()
    assert both.gpu.param_groups[0]["held_steps"] == both.cpu.param_groups[0]["held_steps"]


def recorded(both: Sides, warm_up: int = 2) -> Graph:
    both.updates(range(warm_up), dense)
    both.refill(7)
    with both.place.capture() as graph:
        both.gpu.step()
    return graph


def replay(both: Sides, graph: Graph, times: int) -> None:
    graph.replay(times)
    for _ in range(times):
        both.cpu.step()
    both.gpu.sync()
    both.check("after replays")


@of_each_name
def test_replays_use_what_was_written(rule: str, name: str, place: Place) -> None:
    both = sides(place, RULES[rule])
    graph = recorded(both)
    replay(both, graph, 2)
    write(both, name, 0.25)
    both.gpu.sync()
    replay(both, graph, 3)
    write(both, name, 0.125)
    both.gpu.sync()
    replay(both, graph, 2)
    write(both, name, None)
    both.gpu.sync()
    replay(both, graph, 3)
    assert [group["held_steps"] for group in both.gpu.param_groups] == [5, 0]


@each_rule
def test_sync_keeps_what_was_written_in_between(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    graph = recorded(both)
    graph.replay(2)
    for _ in range(2):
        both.cpu.step()
    both.gpu.sync()
    write(both, "lr", 0.25)
    assert both.gpu.step_count == 4
    both.gpu.state_dict()
    both.gpu.sync()
    assert both.gpu.param_groups[0]["lr"] == 0.25
    replay(both, graph, 2)


@each_rule
def test_a_step_between_replays_takes_what_was_written(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    graph = recorded(both)
    replay(both, graph, 2)
    write(both, "lr", 0.25)
    both.step()
    both.check()
    replay(both, graph, 2)
    write(both, "lr", None)
    both.step()
    replay(both, graph, 2)


@each_rule
def test_a_step_is_recorded_while_a_rate_is_overridden(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    both.updates(range(2), dense)
    write(both, "lr", 0.25)
    both.refill(7)
    with both.place.capture() as graph:
        both.gpu.step()
    replay(both, graph, 2)
    write(both, "lr", None)
    both.gpu.sync()
    replay(both, graph, 2)


@each_rule
def test_a_scheduler_of_torch_on_top_of_a_graph(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    made = [torch_schedulers.LambdaLR(side, lambda t: 0.5 / (1 + t)) for side in (both.cpu, both.gpu)]
    graph = recorded(both)
    for _ in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch does not see steps that are replayed
            for scheduler in made:
                scheduler.step()
        both.gpu.sync()
        replay(both, graph, 1)


@each_rule
def test_fastlrs_own_scheduler_only_follows(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    made = [fastlr.LRScheduler(side) for side in (both.cpu, both.gpu)]
    graph = recorded(both)
    for _ in range(4):
        replay(both, graph, 1)
        for scheduler in made:
            scheduler.step()
        assert made[1].get_last_lr() == made[0].get_last_lr()
    assert [group["held_steps"] for group in both.gpu.param_groups] == [0, 0]


def test_a_rate_that_is_no_number_stops_nothing_until_the_next_step(place: Place) -> None:
    both = sides(place)
    graph = recorded(both)
    replay(both, graph, 1)
    own: Any = both.gpu.param_groups[0]["lr"]
    both.gpu.param_groups[0]["lr"] = "high"
    both.gpu.sync()
    with pytest.raises(TypeError, match="Invalid lr in a parameter group"):
        both.gpu.step()
    both.gpu.param_groups[0]["lr"] = own
    replay(both, graph, 2)
    assert torch.is_tensor(both.copies[0])
