"""The GPU as the bench sees it: how an update is timed on it, captured in a graph, and how much memory is free."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

Action = Callable[[], object]

WARM_UPS = 3  # as torch's documentation of CUDA graphs has it
SCRATCH_BYTES = 1 << 28  # more than any GPU's cache holds
LONGEST_BUSY = 0.02  # seconds


@dataclass(frozen=True)
class Times:
    """One update, in seconds: on the device, and of the calls on the host, which do not wait for the device."""

    device: float
    host: float


class Device(Protocol):
    """What the bench needs of a GPU; the tests have one without a GPU."""

    device: torch.device

    def free_memory(self) -> int:
        """In bytes, what torch's allocator only keeps in reserve included."""

    def time(self, update: Action) -> Times:
        """Time one call, when all that was asked for before is done."""

    def capture(self, step: Action, warm_up: Action) -> Action:
        """Call ``warm_up`` ``WARM_UPS`` times, capture ``step``, and return its replay."""


class CudaDevice:
    """A CUDA device, torch's current one, timed with events."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._scratch = torch.zeros(SCRATCH_BYTES, dtype=torch.int8, device=device)
        self._events: Any = [torch.cuda.Event(enable_timing=True) for _ in range(2)]  # type: ignore[no-untyped-call]
        self._longest_host = 0.0
        self._scratch_pass = min(self._time(self._scratch.zero_).device for _ in range(5))

    def free_memory(self) -> int:
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(self.device)[0])

    def time(self, update: Action) -> Times:
        # The device overwrites the scratch memory for twice as long as the host ever took for an update: so no side
        # finds anything in the caches, and the update's launches are queued when the device comes to them.
        busy = min(2 * self._longest_host, LONGEST_BUSY)
        for _ in range(1 + math.ceil(busy / self._scratch_pass)):
            self._scratch.zero_()
        times = self._time(update)
        self._longest_host = max(self._longest_host, times.host)
        return times

    def _time(self, update: Action) -> Times:
        start, end = self._events
        start.record()
        began = time.perf_counter_ns()
        update()
        host = time.perf_counter_ns() - began
        end.record()
        end.synchronize()
        return Times(start.elapsed_time(end) / 1e3, host / 1e9)

    def capture(self, step: Action, warm_up: Action) -> Action:
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                warm_up()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        replay: Action = graph.replay
        return replay
