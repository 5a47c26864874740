"""What the driver is told in a step of fastlr.SGD: one launch, and nothing else but where it goes."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from cuda_places import StandinPlace, normal, steady
from sgd_cases import gradient_like
from standin_driver import Standin, run_configured
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fastlr
from fastlr import schedules

STEADY = ["cuCtxPushCurrent_v2", "cuStreamIsCapturing", "cuCtxPopCurrent_v2"]
STEADY += ["cuCtxPushCurrent_v2", "cuLaunchKernel", "cuCtxPopCurrent_v2"]
RATE = schedules.Warmup(0.1, 3) >> schedules.Cosine(0.1, 0.01, 40)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def model(standin: Standin, *dtypes: torch.dtype, device: int = 0) -> list[Tensor]:
    """Parameters on a device with gradients that stay."""
    place = StandinPlace(standin)
    params = [normal(size, dtype=dtype, seed=size) for dtype in dtypes or DTYPES[:1] for size in (3, 0, 2100)]
    moved = [place.put(param, device) for param in params]
    for param, copy in zip(params, moved, strict=True):
        copy.grad = place.put(gradient_like(param, 1), device)
    return moved


def kernels(events: list[dict[str, Any]]) -> list[str]:
    return [event["kernel"] for event in events if event["call"] == "cuLaunchKernel"]


def calls(events: list[dict[str, Any]]) -> list[str]:
    return [event["call"] for event in events]


@pytest.mark.parametrize("momentum", [0, 0.9, schedules.Linear(0.0, 0.9, 5)], ids=["off", "on", "scheduled"])
@pytest.mark.parametrize("lr", [0.1, RATE], ids=["constant", "scheduled"])
def test_a_steady_step_is_one_launch(lr: Any, momentum: Any, standin: Standin) -> None:
    optimizer = fastlr.SGD(model(standin), lr=lr, momentum=momentum, weight_decay=schedules.Linear(0.1, 0.0, 9))
    first = calls(steady(standin, optimizer.step))
    assert first.count("cuLaunchKernel") == 2
    before = standin.allocations()
    for _ in range(12):
        assert calls(steady(standin, optimizer.step)) == STEADY
    assert standin.allocations() == before
    assert standin.contexts() == 0


def test_a_step_reads_where_the_gradients_are_now(standin: Standin) -> None:
    optimizer = fastlr.SGD(model(standin), lr=RATE, momentum=0.9)
    optimizer.step()
    for _ in range(3):
        for param in optimizer.param_groups[0]["params"]:
            param.grad = torch.ones_like(param)
        assert calls(steady(standin, optimizer.step)) == STEADY


@pytest.mark.parametrize("dtypes", [(dtype,) for dtype in DTYPES] + [(torch.float64, torch.float16)], ids=str)
def test_the_kernel_is_that_of_the_dtype(dtypes: tuple[torch.dtype, ...], standin: Standin) -> None:
    optimizer = fastlr.SGD(model(standin, *dtypes), lr=0.1)
    optimizer.step()
    name = str(dtypes[0]).removeprefix("torch.") if len(dtypes) == 1 else "mixed"
    (launch,) = [event for event in steady(standin, optimizer.step) if event["call"] == "cuLaunchKernel"]
    assert launch["kernel"] == f"fastlr_sgd_{name}"
    assert launch["bytes"] <= 32764
    # An element, and 2100 of them in tiles of 8192 bytes, for each dtype; one more for the next rates.
    size = {torch.float32: 2, torch.float64: 3, torch.float16: 1, torch.bfloat16: 1}
    assert launch["grid"] == [1 + sum(1 + size[dtype] for dtype in dtypes), 1, 1]
    assert launch["block"] == [256, 1, 1]


def test_a_mix_of_dtypes_in_several_launches_takes_each_ones_kernel(standin: Standin) -> None:
    place = StandinPlace(standin)
    params = [place.put(normal(2, dtype=dtype, seed=i)) for dtype in DTYPES[:2] for i in range(752)]
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer = fastlr.SGD(params, lr=RATE, momentum=0.9)
    optimizer.step()
    launches = [event for event in steady(standin, optimizer.step) if event["call"] == "cuLaunchKernel"]
    assert [(e["kernel"], e["grid"][0]) for e in launches] == [
        ("fastlr_sgd_float32", 752),
        ("fastlr_sgd_float64", 753),
    ]


def write(name: str, value: object) -> Callable[[fastlr.SGD], Any]:
    def change(optimizer: fastlr.SGD) -> None:
        optimizer.param_groups[0][name] = value

    return change


def set_count(optimizer: fastlr.SGD) -> None:
    optimizer.step_count = 5


CHANGES: dict[str, Callable[[fastlr.SGD], Any]] = {
    "lr_scale": write("lr_scale", 0.5),
    "dampening": write("dampening", 0.5),
    "weight_decay": write("weight_decay", 0.25),
    "maximize": write("maximize", True),
    "set_schedule": lambda o: o.set_schedule(lr=schedules.Exponential(0.1, 0.9)),
    "a constant": lambda o: o.set_schedule(lr=0.25),
    "step_count": set_count,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_costs_one_prepare_launch(name: str, standin: Standin) -> None:
    optimizer = fastlr.SGD(model(standin), lr=RATE, momentum=0.9)
    for _ in range(3):
        optimizer.step()
    assert steady(standin, lambda: CHANGES[name](optimizer)) == []
    assert kernels(steady(standin, optimizer.step)) == ["fastlr_prepare", "fastlr_sgd_float32"]
    assert calls(steady(standin, optimizer.step)) == STEADY


@pytest.mark.filterwarnings("ignore:A hyper-parameter that follows a schedule was written from outside")
def test_a_rate_written_by_hand_costs_one_launch_each_way(standin: Standin) -> None:
    optimizer = fastlr.SGD(model(standin), lr=RATE, momentum=0.9)
    optimizer.step()
    own = optimizer.param_groups[0]["lr"]
    for value in (0.5, own):
        optimizer.param_groups[0]["lr"] = value
        assert kernels(steady(standin, optimizer.step)) == ["fastlr_prepare", "fastlr_sgd_float32"]
        assert calls(steady(standin, optimizer.step)) == STEADY


def test_three_hundred_groups_that_change_take_few_launches(standin: Standin) -> None:
    params = model(standin, *DTYPES * 25)
    optimizer = fastlr.SGD([{"params": [param]} for param in params], lr=RATE)
    optimizer.step()
    for group in optimizer.param_groups:
        group["lr_scale"] = 0.5
    told = kernels(steady(standin, optimizer.step))
    assert told[:-1] == ["fastlr_prepare"] * 4  # 96 groups in each
    assert calls(steady(standin, optimizer.step)) == STEADY


def test_the_current_stream_of_each_device(standin: Standin) -> None:
    place = StandinPlace(standin)
    optimizer = fastlr.SGD([*model(standin), *model(standin, device=1)], lr=RATE)
    optimizer.step()
    with place.on_stream(1) as own:
        launches = [event for event in steady(standin, optimizer.step) if event["call"] == "cuLaunchKernel"]
    assert [(event["device"], event["stream"]) for event in launches] == [(0, 0), (1, own)]
    assert calls(steady(standin, optimizer.step)) == STEADY[:3] * 2 + STEADY[3:] * 2


def test_a_device_without_gradients_is_left_alone(standin: Standin) -> None:
    params = [*model(standin), *model(standin, device=1)]
    optimizer = fastlr.SGD(params, lr=RATE)
    optimizer.step()
    for param in params[:3]:
        param.grad = None
    events = steady(standin, optimizer.step)
    assert {event["context"] for event in events if "context" in event} == {1}
    assert calls(events) == STEADY


def test_a_capture_records_launches_of_the_step_alone(standin: Standin) -> None:
    optimizer = fastlr.SGD(model(standin), lr=RATE, momentum=0.9)
    place = StandinPlace(standin)
    with place.capture():
        first = steady(standin, optimizer.step)
        second = steady(standin, optimizer.step)
    recorded = [event["kernel"] for event in first if event.get("captured")]
    assert recorded == ["fastlr_sgd_float32"]
    assert kernels(second) == ["fastlr_sgd_float32"]
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


def test_buffers_are_made_beside_the_capture(standin: Standin) -> None:
    """A graph's own memory would be written by what else it records, and filled anew by each replay."""
    optimizer = fastlr.SGD(model(standin), lr=RATE, momentum=0.9)
    with StandinPlace(standin).capture(), Zeros(standin) as zeros:
        optimizer.step()
    assert zeros.allowed == [True] * 3


def test_without_a_graph_sync_tells_the_driver_nothing(standin: Standin) -> None:
    optimizer = fastlr.SGD(model(standin), lr=RATE, momentum=0.9)
    optimizer.step()

    def ask() -> None:
        optimizer.sync()
        _ = optimizer.step_count
        optimizer.state_dict()

    assert steady(standin, ask) == []


def test_memory_is_given_back_with_the_optimizer(standin: Standin) -> None:
    gc.collect()
    before = standin.allocations()
    optimizer = fastlr.SGD(model(standin), lr=schedules.Linear(0.1, 0.0, 9), momentum=0.9)
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


def test_a_launch_of_an_older_driver_is_short(standin: Standin) -> None:
    code = """
import torch, fastlr
from cuda_places import Sides, StandinPlace, dense, normal
params = [normal(3, seed=i) for i in range(200)]
sides = Sides(StandinPlace(standin), params, lambda params: fastlr.SGD(params, lr=0.1, momentum=0.9))
sides.updates(range(3), dense)
launches = [event for event in standin.launches() if event["kernel"] == "fastlr_sgd_float32"]
print([event["grid"][0] for event in launches][-3:], max(event["bytes"] for event in standin.launches()) <= 4096)
"""
    assert run_configured(code, driver=12000) == "[88, 88, 25] True\n"
