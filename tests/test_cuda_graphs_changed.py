"""What changes between the replays of a recorded step reaches them, as it reaches a step on the CPU."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_cases import RULES, Rule, counts, each_rule
from cuda_places import Graph, Place, Sides, StandinPlace, dense, normal, states
from cuda_tensors import on_cpu
from standin_driver import Standin
from torch import Tensor

from fastlr import schedules
from fastlr.optim import ScheduledOptimizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:A hyper-parameter that follows a schedule was written from outside"),
    pytest.mark.filterwarnings("ignore:A CUDA graph has recorded an update whose learning rate"),
]
RATE = schedules.Linear(0.1, 0.01, 40)
Change = Callable[[ScheduledOptimizer], Any]


def make(rule: Rule, params: list[Tensor], **options: Any) -> ScheduledOptimizer:
    groups = [{"params": params[::2]}, {"params": params[1::2], "lr_scale": 0.5}]
    return rule(groups, **{"lr": RATE, **rule.scheduled, **options})


def leaves() -> list[Tensor]:
    return [normal(size, seed=size) for size in (5, 1, 257, 31)]


def recorded(
    place: Place, rule: Rule, *, warm_up: int = 2, devices: tuple[int, ...] = (0,), **options: Any
) -> tuple[Sides, Graph]:
    both = Sides(place, leaves(), lambda params: make(rule, params, **options), devices)
    both.updates(range(warm_up), dense)
    both.refill(7)
    with place.capture(devices[0]) as graph:
        both.gpu.step()
    return both, graph


def replay(both: Sides, graph: Graph, times: int) -> None:
    graph.replay(times)
    for _ in range(times):
        both.cpu.step()


def on_both(both: Sides, change: Change) -> None:
    for side in (both.cpu, both.gpu):
        change(side)


def write(group: int, name: str, value: object) -> Change:
    def change(optimizer: ScheduledOptimizer) -> None:
        optimizer.param_groups[group][name] = value
        optimizer.sync()

    return change


def set_count(optimizer: ScheduledOptimizer) -> None:
    optimizer.step_count = 2  # the count when the step was recorded


def load_trained(rule: Rule, steps: int) -> Change:
    """Counts, rates and state of some other training, or of one without updates: the next one is a first one."""

    def change(optimizer: ScheduledOptimizer) -> None:
        other = make(rule, leaves())
        for _ in range(steps):
            dense([p for group in other.param_groups for p in group["params"]], 1)
            other.step()
        optimizer.load_state_dict(other.state_dict())

    return change


LR_SCALE = write(1, "lr_scale", 3.0)
COMMON: dict[str, Change] = {
    "lr_scale": LR_SCALE,
    "weight decay of a group": lambda o: o.set_schedule(group=0, weight_decay=schedules.Constant(0.3)),
    "another schedule": lambda o: o.set_schedule(lr=schedules.Exponential(0.2, 0.9)),
    "a constant rate": lambda o: o.set_schedule(lr=0.05, group=1),
    "maximize": write(1, "maximize", True),
    "step_count": set_count,
    "its own state dict": lambda o: o.load_state_dict(o.state_dict()),
    "a written rate": write(0, "lr", 0.004),
}
OF_SGD: dict[str, Change] = {
    "another momentum": lambda o: o.set_schedule(momentum=0.3),
    "dampening": write(0, "dampening", 0.7),
    "a written momentum": write(0, "momentum", 0.25),
}
OF_LION: dict[str, Change] = {
    "another beta": lambda o: o.set_schedule(beta1=0.3),
    "written betas": write(0, "betas", (0.25, 0.5)),
}
OF_ADAM = {**OF_LION, "eps": write(0, "eps", 0.25)}
OF_AMSGRAD = {"without amsgrad": write(0, "amsgrad", False), "with amsgrad": write(0, "amsgrad", True)}
OWN = {"SGD": OF_SGD, "Adam": {**OF_ADAM, **OF_AMSGRAD}, "AdamW": OF_ADAM, "Lion": OF_LION}
CHANGES: dict[str, dict[str, Change]] = {
    name: {
        **COMMON,
        **own,
        "load_state_dict": load_trained(RULES[name], 3),
        "load_state_dict without state": load_trained(RULES[name], 0),
    }
    for name, own in OWN.items()
}
EVERY = [(rule, name) for rule, changes in CHANGES.items() for name in changes if rule != "AdamW"]
of_the_first_step = pytest.mark.parametrize(("rule", "name"), [case for case in EVERY if case[1] != "lr_scale"])


@pytest.mark.parametrize("warm_up", [0, 2])
@pytest.mark.parametrize(("rule", "name"), EVERY)
def test_a_change_between_replays(rule: str, name: str, warm_up: int, place: Place) -> None:
    both, graph = recorded(place, RULES[rule], warm_up=warm_up)
    for change in (CHANGES[rule][name], LR_SCALE, CHANGES[rule][name]):
        replay(both, graph, 3)
        on_both(both, change)
        replay(both, graph, 3)
    both.gpu.sync()
    both.check("after replays")
    both.step()
    both.check("after a step")


@pytest.mark.parametrize(("rule", "name"), EVERY)
def test_a_change_is_told_before_work_that_another_stream_gets(rule: str, name: str, standin: Standin) -> None:
    """Replays wait in a stream that no other one waits for."""
    standin.configure(deferred=1)
    both, graph = recorded(StandinPlace(standin), RULES[rule])
    replay(both, graph, 2)
    on_both(both, CHANGES[rule][name])
    replay(both, graph, 3)
    both.gpu.sync()
    both.check()


@of_the_first_step
def test_a_change_before_the_first_replay(rule: str, name: str, place: Place) -> None:
    both, graph = recorded(place, RULES[rule], warm_up=0)
    on_both(both, CHANGES[rule][name])
    replay(both, graph, 3)
    both.gpu.sync()
    both.check()


@each_rule
def test_the_rate_shows_a_new_scale_after_sync(rule: Rule, place: Place) -> None:
    both, graph = recorded(place, rule)
    replay(both, graph, 2)
    both.gpu.param_groups[1]["lr_scale"] = 0.125
    both.gpu.sync()
    assert both.gpu.param_groups[1]["lr"] == RATE(4) * 0.125


@each_rule
def test_reports_reach_replays(rule: Rule, place: Place) -> None:
    plateau = schedules.ReduceOnPlateau(RATE, factor=0.1, patience=1)
    both, graph = recorded(place, rule, lr=plateau)
    for metric in (1.0, 1.0, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6):
        replay(both, graph, 2)
        on_both(both, lambda optimizer, metric=metric: optimizer.report(metric))  # type: ignore[misc]
        both.check(f"after report({metric})")
    assert both.gpu.param_groups[0]["plateau"][0] < 1.0


@each_rule
def test_a_group_that_is_added_later(rule: Rule, place: Place) -> None:
    """Replays of a graph from before still read the momentum that there is, although its place is another one now."""
    both, graph = recorded(place, rule)
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


@each_rule
def test_a_state_dict_after_replays_is_that_of_steps(rule: Rule, place: Place) -> None:
    both, graph = recorded(place, rule, warm_up=0)
    for times in (0, 3):
        replay(both, graph, times)
        ours, theirs = both.gpu.state_dict(), both.cpu.state_dict()
        places = [0, 1] if times == 0 and rule.name == "sgd" else []  # state that no update has written
        assert [group["unwritten"] for group in ours["param_groups"]] == [places, places]
        loaded = make(rule, leaves())
        loaded.load_state_dict(copy.deepcopy(ours))
        expected = make(rule, leaves())
        expected.load_state_dict(theirs)
        for optimizer in (loaded, expected):
            dense([p for group in optimizer.param_groups for p in group["params"]], 3)
            optimizer.step()
        for one, other in zip(states(loaded), states(expected), strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(on_cpu(one[name]), other[name]) for name in one)


TORCH: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
}


@pytest.mark.parametrize("name", TORCH)
def test_torch_loads_the_state_of_a_step_that_is_only_recorded(name: str, place: Place) -> None:
    both, _ = recorded(place, RULES[name], warm_up=0)
    state = both.gpu.state_dict()
    other = TORCH[name]([{"params": group["params"]} for group in make(RULES[name], leaves()).param_groups])
    other.load_state_dict(state)
    assert all(not tensor.any() for entries in other.state.values() for tensor in entries.values())


@pytest.mark.parametrize("through", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["copy", "pickle"])
@each_rule
def test_a_copy_after_replays(rule: Rule, through: Callable[[Any], Any], place: Place) -> None:
    both, graph = recorded(place, rule)
    replay(both, graph, 3)
    twin = through(both.gpu)
    assert not rule.counts or set(counts(twin)) == {5}
    assert twin.step_count == 5
    assert twin.param_groups[0]["lr"] == RATE(5)


@each_rule
def test_saved_and_loaded_by_weights_only(rule: Rule, place: Place) -> None:
    both, graph = recorded(place, rule)
    replay(both, graph, 3)
    state = both.gpu.state_dict()
    state["state"] = {i: {k: place.back(v) for k, v in entries.items()} for i, entries in state["state"].items()}
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert loaded["param_groups"] == both.cpu.state_dict()["param_groups"]


@each_rule
def test_a_graph_on_another_device(rule: Rule, place: Place) -> None:
    if place.devices < 2:
        pytest.skip("needs a machine with two GPUs")
    both, graph = recorded(place, rule, devices=(1,))
    replay(both, graph, 4)
    on_both(both, LR_SCALE)
    replay(both, graph, 4)
    both.gpu.sync()
    both.check()
