"""What the driver is told in a step: one launch, and nothing else but where it goes."""

import gc
from typing import Any

import pytest
import torch
from cuda_cases import DTYPES, RULES, Rule, each_rule
from cuda_places import StandinPlace, normal, steady
from sgd_cases import gradient_like
from standin_driver import Standin, run_configured
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fastlr
from fastlr import schedules
from fastlr.optim import ScheduledOptimizer

STEADY = ["cuCtxPushCurrent_v2", "cuStreamIsCapturing", "cuCtxPopCurrent_v2"]
STEADY += ["cuCtxPushCurrent_v2", "cuLaunchKernel", "cuCtxPopCurrent_v2"]
RATE = schedules.Warmup(0.1, 3) >> schedules.Cosine(0.1, 0.01, 40)


def model(standin: Standin, *dtypes: torch.dtype, device: int = 0) -> list[Tensor]:
    """Parameters on a device with gradients that stay."""
    place = StandinPlace(standin)
    params = [normal(size, dtype=dtype, seed=size) for dtype in dtypes or DTYPES[:1] for size in (3, 0, 2100)]
    moved = [place.put(param, device) for param in params]
    for param, copy in zip(params, moved, strict=True):
        copy.grad = place.put(gradient_like(param, 1), device)
    return moved


def kernels(events: list[dict[str, Any]]) -> list[str]:
    """Without the prefix and the rule."""
    names = [event["kernel"] for event in events if event["call"] == "cuLaunchKernel"]
    return [name.removeprefix("fastlr_").split("_")[1] for name in names]


def calls(events: list[dict[str, Any]]) -> list[str]:
    return [event["call"] for event in events]


@pytest.mark.parametrize("momentum", [0, 0.9, schedules.Linear(0.0, 0.9, 5)], ids=["off", "on", "scheduled"])
@pytest.mark.parametrize("lr", [0.1, RATE], ids=["constant", "scheduled"])
def test_a_steady_step_is_one_launch(lr: Any, momentum: Any, standin: Standin) -> None:
    optimizer = fastlr.SGD(model(standin), lr=lr, momentum=momentum, weight_decay=schedules.Linear(0.1, 0.0, 9))
    stay_steady(optimizer, standin)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Lion"])
@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("lr", [0.1, RATE], ids=["constant", "scheduled"])
def test_a_steady_step_of_other_rules_is_one_launch(lr: Any, scheduled: bool, name: str, standin: Standin) -> None:
    stay_steady(RULES[name](model(standin), lr=lr, **(RULES[name].scheduled if scheduled else {})), standin)


def stay_steady(optimizer: ScheduledOptimizer, standin: Standin) -> None:
    first = calls(steady(standin, optimizer.step))
    assert first.count("cuLaunchKernel") == 2
    before = standin.allocations()
    for _ in range(12):
        assert calls(steady(standin, optimizer.step)) == STEADY
    assert standin.allocations() == before
    assert standin.contexts() == 0


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_a_steady_step_of_tensors_with_different_counts_is_one_launch(name: str, standin: Standin) -> None:
    optimizer = RULES[name](model(standin), lr=RATE)
    late = optimizer.param_groups[0]["params"][2]
    grad, late.grad = late.grad, None
    optimizer.step()
    late.grad = grad
    told = [kernels(steady(standin, optimizer.step)) for _ in range(4)]
    assert told == [["prepare", "float32"], ["float32"], ["float32"], ["float32"]]  # a place for its count
    assert calls(steady(standin, optimizer.step)) == STEADY


@each_rule
def test_a_step_reads_where_the_gradients_are_now(rule: Rule, standin: Standin) -> None:
    optimizer = rule(model(standin), lr=RATE)
    optimizer.step()
    for _ in range(3):
        for param in optimizer.param_groups[0]["params"]:
            param.grad = torch.ones_like(param)
        assert calls(steady(standin, optimizer.step)) == STEADY


@each_rule
@pytest.mark.parametrize("dtypes", [(dtype,) for dtype in DTYPES] + [(torch.float64, torch.float16)], ids=str)
def test_the_kernel_is_that_of_the_dtype(dtypes: tuple[torch.dtype, ...], rule: Rule, standin: Standin) -> None:
    optimizer = rule(model(standin, *dtypes), lr=0.1)
    optimizer.step()
    name = {(torch.float32,): "float32", (torch.bfloat16,): "bfloat16"}.get(dtypes, "mixed")
    (launch,) = [event for event in steady(standin, optimizer.step) if event["call"] == "cuLaunchKernel"]
    assert launch["kernel"] == f"fastlr_{rule.name}_{name}"
    assert launch["bytes"] <= 32764
    # An element, and 2100 of them in tiles of 8192 bytes, for each dtype; one more for the next rates.
    size = {torch.float32: 2, torch.float64: 3, torch.float16: 1, torch.bfloat16: 1}
    assert launch["grid"] == [1 + sum(1 + size[dtype] for dtype in dtypes), 1, 1]
    assert launch["block"] == [256, 1, 1]


@each_rule
def test_a_mix_of_dtypes_in_several_launches_takes_each_ones_kernel(rule: Rule, standin: Standin) -> None:
    place, dtypes = StandinPlace(standin), (torch.float32, torch.bfloat16)
    params = [place.put(normal(2, dtype=dtype, seed=i)) for dtype in dtypes for i in range(rule.capacity)]
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer = rule(params, lr=RATE)
    optimizer.step()
    launches = [event for event in steady(standin, optimizer.step) if event["call"] == "cuLaunchKernel"]
    found = [(launch["kernel"], launch["grid"][0]) for launch in launches]
    names = [f"fastlr_{rule.name}_{dtype}" for dtype in ("float32", "bfloat16")]
    assert found == list(zip(names, (rule.capacity, rule.capacity + 1), strict=True))


@each_rule
def test_the_current_stream_of_each_device(rule: Rule, standin: Standin) -> None:
    place = StandinPlace(standin)
    optimizer = rule([*model(standin), *model(standin, device=1)], lr=RATE)
    optimizer.step()
    with place.on_stream(1) as own:
        launches = [event for event in steady(standin, optimizer.step) if event["call"] == "cuLaunchKernel"]
    assert [(event["device"], event["stream"]) for event in launches] == [(0, 0), (1, own)]
    assert calls(steady(standin, optimizer.step)) == STEADY[:3] * 2 + STEADY[3:] * 2


@each_rule
def test_a_device_without_gradients_is_left_alone(rule: Rule, standin: Standin) -> None:
    params = [*model(standin), *model(standin, device=1)]
    optimizer = rule(params, lr=RATE)
    optimizer.step()
    for param in params[:3]:
        param.grad = None
    events = steady(standin, optimizer.step)
    assert {event["context"] for event in events if "context" in event} == {1}
    assert calls(events) == STEADY


@each_rule
def test_a_capture_records_launches_of_the_step_alone(rule: Rule, standin: Standin) -> None:
    optimizer = rule(model(standin), lr=RATE)
    place = StandinPlace(standin)
    with place.capture():
        first = steady(standin, optimizer.step)
        second = steady(standin, optimizer.step)
    recorded = kernels([event for event in first if event.get("captured")])
    assert recorded == ["float32"]
    assert kernels(second) == ["float32"]
    assert [event["operations"] for event in standin.events("end capture")] == [2]


class Zeros(TorchDispatchMode):
    """Notes whether tensors of zeros are made while the thread may allocate beside a capture."""

    def __init__(self, standin: Standin) -> None:
        super().__init__()
        self.standin = standin
        self.allowed: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ == "zeros_like":
            changes = self.standin.events("cuThreadExchangeStreamCaptureMode")
            self.allowed.append(len(changes) % 2 == 1 and changes[-1]["mode"] == 2)
        return func(*args, **(kwargs or {}))


@each_rule
def test_buffers_are_made_beside_the_capture(rule: Rule, standin: Standin) -> None:
    """A graph's own memory would be written by what else it records, and filled anew by each replay."""
    optimizer = rule(model(standin), lr=RATE)
    with StandinPlace(standin).capture(), Zeros(standin) as zeros:
        optimizer.step()
    assert zeros.allowed == [True] * 3 * len(rule.state)


@each_rule
def test_without_a_graph_sync_tells_the_driver_nothing(rule: Rule, standin: Standin) -> None:
    optimizer = rule(model(standin), lr=RATE)
    optimizer.step()
    gc.collect()  # earlier optimizers give their memory back now

    def ask() -> None:
        optimizer.sync()
        _ = optimizer.step_count
        optimizer.state_dict()

    assert steady(standin, ask) == []


@each_rule
def test_memory_is_given_back_with_the_optimizer(rule: Rule, standin: Standin) -> None:
    gc.collect()
    before = standin.allocations()
    optimizer = rule(model(standin), lr=schedules.Linear(0.1, 0.0, 9))
    optimizer.step()
    optimizer.add_param_group({"params": [StandinPlace(standin).put(normal(3))]})
    optimizer.step()
    assert standin.allocations() > before
    del optimizer
    gc.collect()
    assert standin.allocations() == before


LARGE = """
import torch, fastlr
from cuda_places import StandinPlace, normal
place = StandinPlace(standin)
sizes = [3_000_000] if {one} else [512 * 512 * 9, 512 * 512, 300_000, 100_000, *[512] * 200]
params = [place.put(torch.zeros(size)) for size in sizes]
for param in params:
    param.grad = torch.ones_like(param)
optimizer = fastlr.SGD(params, lr=0.1)
optimizer.step()
print(standin.launches()[-1]["grid"][0])
"""


@pytest.mark.parametrize("one", [True, False])
def test_three_million_parameters_fill_a_large_gpu(standin: Standin, one: bool) -> None:
    blocks = int(run_configured(LARGE.format(one=one), multiprocessors=132, capability=90))
    assert blocks >= 2 * 132


OLDER = """
import torch, fastlr
from cuda_cases import RULES
from cuda_places import Sides, StandinPlace, dense, normal
for rule in (RULES["SGD"], RULES["AdamW"], RULES["Lion"]):
    standin.reset()
    params = [normal(3, seed=i) for i in range(200)]
    sides = Sides(StandinPlace(standin), params, lambda params: rule(params, lr=0.1))
    sides.updates(range(3), dense)
    launches = [event for event in standin.launches() if event["kernel"] == f"fastlr_{rule.name}_float32"]
    grids = [event["grid"][0] for event in launches]
    print(rule.name, grids[len(grids) * 2 // 3 :], max(event["bytes"] for event in standin.launches()) <= 4096)
"""


def test_a_launch_of_an_older_driver_is_short(standin: Standin) -> None:
    assert run_configured(OLDER, driver=12000).splitlines() == [
        "sgd [88, 88, 25] True",
        "adam [64, 64, 64, 9] True",
        "lion [88, 88, 25] True",
    ]
