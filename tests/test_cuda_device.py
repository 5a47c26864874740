"""How the bench talks to torch.cuda, which is replaced by a log: events, captures and the emptying of caches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastlr.benchmarks.cuda import device as device_module
from fastlr.benchmarks.cuda.device import WARM_UPS, CudaDevice, Times

Patch: TypeAlias = pytest.MonkeyPatch
PASS = 1e-4  # seconds that the device needs for anything

log: list[str] = []


class Event:
    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        log.append("record")

    def synchronize(self) -> None:
        log.append("synchronize")

    def elapsed_time(self, end: "Event") -> float:
        assert end is not self
        return 1e3 * PASS


class Stream:
    def __init__(self, name: str = "side") -> None:
        self.name = name

    def wait_stream(self, other: "Stream") -> None:
        log.append(f"{self.name} waits for {other.name}")


class Graph:
    def replay(self) -> None:
        log.append("replay")


@contextmanager
def entered(what: str) -> Iterator[None]:
    log.append(f"enter {what}")
    yield
    log.append(f"leave {what}")


class Operators(TorchDispatchMode):
    """Logs torch's operators."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        log.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class Clock:
    """Of the host: stands still unless an update takes time."""

    now = 0

    def perf_counter_ns(self) -> int:
        return self.now

    def take(self, seconds: float) -> None:
        self.now += round(1e9 * seconds)


@pytest.fixture
def clock(monkeypatch: Patch) -> Clock:
    log.clear()
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("current"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: entered(stream.name))
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: entered(type(graph).__name__))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: log.append("empty_cache"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (17, 99))
    monkeypatch.setattr(device_module, "SCRATCH_BYTES", 8)
    clock = Clock()
    monkeypatch.setattr(device_module, "time", clock)
    return clock


def test_an_update_is_timed_between_events_and_after_the_caches_are_emptied(clock: Clock) -> None:
    device = CudaDevice(torch.device("cpu"))

    def update() -> None:
        log.append("update")
        clock.take(3e-6)

    with Operators():
        log.clear()
        times = device.time(update)
    assert pytest.approx(1e-4) == times.device
    assert times.host == 3e-6
    assert log == ["zero_", "record", "update", "record", "synchronize"]


@pytest.mark.parametrize(
    ("host", "passes"), [(1e-5, 2), (0.9e-4, 3), (1e-3, 21), (0.9e-2, 181), (1e-2, 201), (5.0, 201)]
)
def test_the_device_is_kept_busy_for_twice_the_longest_time_of_the_host(host: float, passes: int, clock: Clock) -> None:
    """And one pass in any case; never for more than 20 ms."""
    device = CudaDevice(torch.device("cpu"))
    for taken in (host, host / 2, 0.0):
        device.time(lambda taken=taken: clock.take(taken))  # type: ignore[misc]
    with Operators():
        log.clear()
        device.time(lambda: None)
    assert log.count("zero_") == passes
    assert log.index("record") == passes


def test_the_shortest_pass_over_the_scratch_memory_counts(clock: Clock, monkeypatch: Patch) -> None:
    lasting = iter([9.0, 0.4, 0.2, 0.3, 0.4, 0.1])
    monkeypatch.setattr(Event, "elapsed_time", lambda self, end: next(lasting))
    device = CudaDevice(torch.device("cpu"))
    assert device.time(lambda: clock.take(1e-3)) == Times(1e-4, 1e-3)
    monkeypatch.setattr(Event, "elapsed_time", lambda self, end: 1.0)
    with Operators():
        log.clear()
        device.time(lambda: None)
    assert log.count("zero_") == 1 + 10


def test_a_step_is_warmed_up_on_a_side_stream_and_captured_once(clock: Clock) -> None:
    device = CudaDevice(torch.device("cpu"))
    log.clear()
    replay = device.capture(lambda: log.append("step"), lambda: log.append("warm-up"))
    warm_up = ["side waits for current", "enter side", *["warm-up"] * 3, "leave side", "current waits for side"]
    assert log == [*warm_up, "enter Graph", "step", "leave Graph"]
    assert WARM_UPS == 3
    log.clear()
    replay()
    replay()
    assert log == ["replay", "replay"]


def test_free_memory_counts_what_torch_only_keeps(clock: Clock) -> None:
    device = CudaDevice(torch.device("cpu"))
    log.clear()
    assert device.free_memory() == 17
    assert log == ["empty_cache"]
