"""Steps that a CUDA graph recorded: replays follow the schedules as steps on the CPU do, bit for bit."""

import warnings
from typing import Any

import pytest
import torch
from cuda_cases import DTYPES, RULES, Rule, counts, each_rule
from cuda_places import Graph, Place, Sides, dense, normal
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastlr import schedules

RATE = schedules.Warmup(0.1, 7) >> schedules.Cosine(0.1, 0.001, 900) >> schedules.Constant(0.002)
SGD = RULES["SGD"]


class Operators(TorchDispatchMode):
    """Notes those that wait for a value from the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("_local_scalar_dense", "is_nonzero", "nonzero", "item"):
            self.waits.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def leaves(*dtypes: torch.dtype) -> list[Tensor]:
    sizes = [(5,), (1,), (0,), (17, 3), (131,)]
    return [normal(*size, dtype=dtype, seed=i) for dtype in dtypes or DTYPES[:1] for i, size in enumerate(sizes)]


def sides(place: Place, rule: Rule, *dtypes: torch.dtype, **options: Any) -> Sides:
    made = Sides(place, leaves(*dtypes), lambda params: rule(params, **{"lr": RATE, **options}))
    made.refill(0)
    return made


def captured(both: Sides) -> Graph:
    with both.place.capture() as graph:
        both.gpu.step()
    return graph


def replay(both: Sides, graph: Graph, times: int = 1, refill: int | None = None) -> None:
    """As many steps of the CPU as replays, with new gradients in the memory of the old ones where asked for."""
    if refill is not None:
        both.refill(refill)
    graph.replay(times)
    for _ in range(times):
        both.cpu.step()


def synced(both: Sides, where: str = "") -> None:
    both.gpu.sync()
    both.check(where)


THOUSANDS = [(name, True) for name in RULES] + [("SGD", False), ("Adam", False)]


@pytest.mark.parametrize(("name", "scheduled"), THOUSANDS)
def test_a_thousand_replays_after_a_warm_up(name: str, scheduled: bool, place: Place) -> None:
    rule = RULES[name]
    both = sides(place, rule, *DTYPES, **(rule.scheduled if scheduled else {}))
    both.updates(range(3), dense)
    both.refill(3)
    graph = captured(both)
    before = both.gpu.param_groups[0]["step_count"], counts(both.gpu) if rule.counts else []
    for block in range(10):
        replay(both, graph, 100, refill=block)
    both.place.finish()
    assert before == (both.gpu.param_groups[0]["step_count"], counts(both.gpu) if rule.counts else [])
    synced(both)
    assert both.gpu.step_count == 1003
    assert not rule.counts or set(counts(both.gpu)) == {1003}


@pytest.mark.parametrize("options", [{"momentum": 0}, {"momentum": 0.8, "dampening": 0, "nesterov": True}], ids=str)
def test_replays_of_other_forms_of_sgd(options: dict[str, Any], place: Place) -> None:
    both = sides(place, SGD, *DTYPES, **options)
    both.updates(range(3), dense)
    both.refill(3)
    replay(both, captured(both), 100)
    synced(both)


@each_rule
@pytest.mark.parametrize("scheduled", [False, True])
def test_the_very_first_step_is_recorded(scheduled: bool, rule: Rule, place: Place) -> None:
    """State is allocated during the capture, and the first replay is its first update."""
    both = sides(place, rule, *DTYPES, **(rule.scheduled if scheduled else {}))
    graph = captured(both)
    assert both.gpu.step_count == 0
    both.check("after the capture")
    for step in range(5):
        replay(both, graph, refill=step)
        synced(both, f"after replay {step}")


def test_the_very_first_step_is_recorded_without_momentum(place: Place) -> None:
    both = sides(place, SGD, *DTYPES, momentum=0)
    replay(both, captured(both), 3)
    synced(both)


@each_rule
def test_a_rate_that_starts_at_0_is_recorded_as_the_very_first_step(rule: Rule, place: Place) -> None:
    """Nothing asks whether the gradients are zeros, as an initialisation for a checkpoint has them."""
    both = sides(place, rule, lr=schedules.Linear(0.0, 0.1, 3) >> schedules.Constant(0.1))
    with Operators() as operators:
        graph = captured(both)
    assert operators.waits == []
    replay(both, graph, 6)
    synced(both)


@each_rule
def test_a_count_that_is_read_during_a_capture(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    both.updates(range(2), dense)
    with place.capture() as graph:
        both.gpu.step()
        assert both.gpu.step_count == 2
        both.gpu.sync()
        both.gpu.state_dict()
    replay(both, graph, 3)
    synced(both)


@each_rule
def test_two_steps_in_one_graph(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    with place.capture() as graph:
        both.gpu.step()
        both.gpu.step()
    graph.replay(4)
    for _ in range(8):
        both.cpu.step()
    synced(both)


@each_rule
def test_two_graphs_and_steps_between_them(rule: Rule, place: Place) -> None:
    both = sides(place, rule)
    first = captured(both)
    replay(both, first, 2)
    second = captured(both)
    replay(both, second, 3)
    both.step()
    replay(both, first, 1)
    synced(both)
    assert both.gpu.step_count == 7


@each_rule
@pytest.mark.parametrize("when", [[], [0], [2], [0, 1, 2, 3, 4, 5]])
def test_steps_between_replays_with_and_without_sync(when: list[int], rule: Rule, place: Place) -> None:
    both = sides(place, rule, *DTYPES, **rule.scheduled)
    graph = captured(both)
    for turn in range(6):
        replay(both, graph, 3, refill=turn)
        both.step()
        if turn in when:
            synced(both, f"in turn {turn}")
    synced(both)
    assert both.gpu.step_count == 24


@each_rule
def test_a_gradient_that_appears_beside_a_graph(rule: Rule, place: Place) -> None:
    """What the graph has not recorded gets its first update from a later step."""
    both = sides(place, rule)
    both.copies[3].grad = both.params[3].grad = None
    graph = captured(both)
    replay(both, graph, 2)
    both.refill(1)
    both.step()
    replay_without = both.params[3].grad
    both.params[3].grad = None
    replay(both, graph, 2)
    both.params[3].grad = replay_without
    both.step()
    synced(both)


@each_rule
def test_steps_without_gradients_between_replays(rule: Rule, place: Place) -> None:
    """They are counted, and evaluate nothing on the GPU."""
    both = sides(place, rule)
    graph = captured(both)
    replay(both, graph, 2)
    held = [param.grad for param in both.copies]
    for params in (both.params, both.copies):
        for param in params:
            param.grad = None
    both.step()
    both.gpu.sync()
    both.check_groups("after a step without gradients")
    for copy, grad in zip(both.copies, held, strict=True):
        copy.grad = grad
    both.refill(1)
    both.step()
    replay(both, graph, 2)
    synced(both)


def test_momentum_leaves_0_within_a_graph(place: Place) -> None:
    both = sides(place, SGD, *DTYPES, momentum=schedules.Piecewise((3, 6), (0.0, 0.9, 0.0)), dampening=0.2)
    graph = captured(both)
    for step in range(8):
        replay(both, graph, refill=step)
    synced(both)
    both.step()
    both.check("after a step")


def test_momentum_leaves_0_between_steps_and_replays(place: Place) -> None:
    both = sides(place, SGD, momentum=schedules.Piecewise((4,), (0.0, 0.9)), dampening=0.2)
    both.updates(range(2), dense)
    both.refill(0)
    graph = captured(both)
    replay(both, graph, 1)
    both.step()
    replay(both, graph, 1)
    both.step()
    synced(both)


@each_rule
def test_updates_stop_where_a_schedule_has_ended(rule: Rule, place: Place) -> None:
    ending = schedules.Linear(0.1, 0.01, 5).past_end("error")
    both = sides(place, rule, *DTYPES, lr=ending)
    both.updates(range(2), dense)
    both.refill(2)
    graph = captured(both)
    replay(both, graph, 4)
    graph.replay(3)
    both.gpu.sync()
    assert both.gpu.step_count == 6
    for side in (both.cpu, both.gpu):
        with pytest.raises(ValueError, match=r"Invalid lr in a parameter group: nan"):
            side.step()
    params = [place.back(copy) for copy in both.copies]
    assert all(torch.equal(a, b.detach()) for a, b in zip(params, both.params, strict=True))
    later = schedules.Constant(0.05)
    for side in (both.cpu, both.gpu):
        side.set_schedule(lr=later)
    replay(both, graph, 3)
    synced(both, "after a schedule that goes on")


@each_rule
def test_a_step_after_replays_that_have_passed_the_end(rule: Rule, place: Place) -> None:
    """The host does not know it: the device stops the update, and neither count goes on."""
    both = sides(place, rule, lr=schedules.Linear(0.1, 0.01, 5).past_end("error"))
    graph = captured(both)
    replay(both, graph, 6)
    both.gpu.step()
    both.gpu.sync()
    assert both.gpu.param_groups[0]["step_count"] == 6
    both.check_groups()


@each_rule
def test_a_rate_without_a_schedule_warns_once(rule: Rule, place: Place) -> None:
    both = sides(place, rule, lr=0.1)
    with pytest.warns(UserWarning, match="recorded an update whose learning rate follows no schedule"):
        graph = captured(both)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured(both)
    replay(both, graph, 3)
    for side in (both.cpu, both.gpu):
        side.param_groups[0]["lr"] = 0.01
    both.step()
    replay(both, graph, 2)
    synced(both)
    for side in (both.cpu, both.gpu):
        side.param_groups[0]["lr"] = 0.5
        side.param_groups[0]["weight_decay"] = 0.25
    both.gpu.sync()
    replay(both, graph, 2)
    synced(both)
