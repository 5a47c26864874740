"""What changes between the replays of a recorded step reaches them, as it reaches a step on the CPU."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_places import Graph, Place, Sides, StandinPlace, dense, normal
from sgd_cases import buffers, torch_sgd
from standin_driver import Standin
from torch import Tensor

import fastlr
from fastlr import schedules

pytestmark = [
    pytest.mark.filterwarnings("ignore:A hyper-parameter that follows a schedule was written from outside"),
    pytest.mark.filterwarnings("ignore:A CUDA graph has recorded an update whose learning rate"),
]
RATE = schedules.Linear(0.1, 0.01, 40)
OPTIONS: dict[str, Any] = {
    "lr": RATE,
    "momentum": schedules.Linear(0.9, 0.5, 30),
    "dampening": 0.1,
    "weight_decay": 0.01,
}


def make(params: list[Tensor], **options: Any) -> fastlr.SGD:
    groups = [{"params": params[::2]}, {"params": params[1::2], "lr_scale": 0.5}]
    return fastlr.SGD(groups, **{**OPTIONS, **options})


def leaves() -> list[Tensor]:
    return [normal(size, seed=size) for size in (5, 1, 257, 31)]


def recorded(place: Place, *, warm_up: int = 2, devices: tuple[int, ...] = (0,), **options: Any) -> tuple[Sides, Graph]:
    both = Sides(place, leaves(), lambda params: make(params, **options), devices)
    both.updates(range(warm_up), dense)
    both.refill(7)
    with place.capture(devices[0]) as graph:
        both.gpu.step()
    return both, graph


def replay(both: Sides, graph: Graph, times: int) -> None:
    graph.replay(times)
    for _ in range(times):
        both.cpu.step()


def on_both(both: Sides, change: Callable[[fastlr.SGD], Any]) -> None:
    for side in (both.cpu, both.gpu):
        change(side)


def write(group: int, name: str, value: object) -> Callable[[fastlr.SGD], Any]:
    def change(optimizer: fastlr.SGD) -> None:
        optimizer.param_groups[group][name] = value
        optimizer.sync()

    return change


def set_count(optimizer: fastlr.SGD) -> None:
    optimizer.step_count = 2  # the count when the step was recorded


def load_early(optimizer: fastlr.SGD) -> None:
    """Counts, rates and momentum of some other training."""
    other = make(leaves())
    for _ in range(3):
        dense([p for group in other.param_groups for p in group["params"]], 1)
        other.step()
    optimizer.load_state_dict(other.state_dict())


def load_nothing(optimizer: fastlr.SGD) -> None:
    """The state of an optimizer without updates: the next one is a first one."""
    optimizer.load_state_dict(make(leaves()).state_dict())


CHANGES: dict[str, Callable[[fastlr.SGD], Any]] = {
    "lr_scale": write(1, "lr_scale", 3.0),
    "weight decay of a group": lambda o: o.set_schedule(group=0, weight_decay=schedules.Constant(0.3)),
    "another schedule": lambda o: o.set_schedule(lr=schedules.Exponential(0.2, 0.9)),
    "another momentum": lambda o: o.set_schedule(momentum=0.3),
    "a constant rate": lambda o: o.set_schedule(lr=0.05, group=1),
    "dampening": write(0, "dampening", 0.7),
    "maximize": write(1, "maximize", True),
    "step_count": set_count,
    "load_state_dict": load_early,
    "load_state_dict without momentum": load_nothing,
    "its own state dict": lambda o: o.load_state_dict(o.state_dict()),
    "a written rate": write(0, "lr", 0.004),
    "a written momentum": write(0, "momentum", 0.25),
}


@pytest.mark.parametrize("warm_up", [0, 2])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_between_replays(name: str, warm_up: int, place: Place) -> None:
    both, graph = recorded(place, warm_up=warm_up)
    for change in (CHANGES[name], CHANGES["lr_scale"], CHANGES[name]):
        replay(both, graph, 3)
        on_both(both, change)
        replay(both, graph, 3)
    both.gpu.sync()
    both.check("after replays")
    both.step()
    both.check("after a step")


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told_before_work_that_another_stream_gets(name: str, standin: Standin) -> None:
    """Replays wait in a stream that no other one waits for."""
    standin.configure(deferred=1)
    both, graph = recorded(StandinPlace(standin))
    replay(both, graph, 2)
    on_both(both, CHANGES[name])
    replay(both, graph, 3)
    both.gpu.sync()
    both.check()


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "lr_scale"])
def test_a_change_before_the_first_replay(name: str, place: Place) -> None:
    both, graph = recorded(place, warm_up=0)
    on_both(both, CHANGES[name])
    replay(both, graph, 3)
    both.gpu.sync()
    both.check()


def test_the_rate_shows_a_new_scale_after_sync(place: Place) -> None:
    both, graph = recorded(place)
    replay(both, graph, 2)
    both.gpu.param_groups[1]["lr_scale"] = 0.125
    both.gpu.sync()
    assert both.gpu.param_groups[1]["lr"] == RATE(4) * 0.125


def test_reports_reach_replays(place: Place) -> None:
    rule = schedules.ReduceOnPlateau(RATE, factor=0.1, patience=1)
    both, graph = recorded(place, lr=rule)
    for metric in (1.0, 1.0, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6):
        replay(both, graph, 2)
        on_both(both, lambda optimizer, metric=metric: optimizer.report(metric))  # type: ignore[misc]
        both.check(f"after report({metric})")
    assert both.gpu.param_groups[0]["plateau"][0] < 1.0


def test_a_group_that_is_added_later(place: Place) -> None:
    """Replays of a graph from before still read the momentum that there is, although its place is another one now."""
    both, graph = recorded(place)
    replay(both, graph, 2)
    for side, params in ((both.cpu, both.params), (both.gpu, both.copies)):
        extra = normal(3) if side is both.cpu else place.put(normal(3))
        side.add_param_group({"params": [extra]})
        gradients = [param.grad for param in params]
        for param in params:
            param.grad = None
        extra.grad = torch.ones_like(extra)
        side.step()
        for param, grad in zip(params, gradients, strict=True):
            param.grad = grad
        extra.grad = None
    replay(both, graph, 3)
    both.gpu.sync()
    both.check()


def test_a_state_dict_after_replays_is_that_of_steps(place: Place) -> None:
    both, graph = recorded(place, warm_up=0)
    for times in (0, 3):
        replay(both, graph, times)
        ours, theirs = both.gpu.state_dict(), both.cpu.state_dict()
        fresh = times == 0
        assert [group["unwritten"] for group in ours["param_groups"]] == ([[0, 1], [0, 1]] if fresh else [[], []])
        loaded = make(leaves())
        loaded.load_state_dict(copy.deepcopy(ours))
        expected = make(leaves())
        expected.load_state_dict(theirs)
        for optimizer in (loaded, expected):
            dense([p for group in optimizer.param_groups for p in group["params"]], 3)
            optimizer.step()
        assert all(torch.equal(a, b) for a, b in zip(buffers(loaded).values(), buffers(expected).values(), strict=True))


def test_torch_loads_the_state_of_a_step_that_is_only_recorded(place: Place) -> None:
    both, _ = recorded(place, warm_up=0)
    state = both.gpu.state_dict()
    other = torch_sgd([{"params": params["params"]} for params in make(leaves()).param_groups], lr=0.1, momentum=0.9)
    other.load_state_dict(state)
    assert all(not buffer.any() for buffer in buffers(other).values())


@pytest.mark.parametrize("through", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"])
def test_a_copy_after_replays(through: Callable[[Any], Any], place: Place) -> None:
    both, graph = recorded(place)
    replay(both, graph, 3)
    twin = through(both.gpu)
    assert twin.step_count == 5
    assert twin.param_groups[0]["lr"] == RATE(5)


def test_saved_and_loaded_by_weights_only(place: Place) -> None:
    both, graph = recorded(place)
    replay(both, graph, 3)
    state = both.gpu.state_dict()
    state["state"] = {i: {k: place.back(v) for k, v in entries.items()} for i, entries in state["state"].items()}
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert loaded["param_groups"] == both.cpu.state_dict()["param_groups"]


def test_a_graph_on_another_device(place: Place) -> None:
    if place.devices < 2:
        pytest.skip("needs a machine with two GPUs")
    both, graph = recorded(place, devices=(1,))
    replay(both, graph, 4)
    on_both(both, CHANGES["lr_scale"])
    replay(both, graph, 4)
    both.gpu.sync()
    both.check()
