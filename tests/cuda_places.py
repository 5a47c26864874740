"""Where the tests of the CUDA path run: on the stand-in for the driver, or on a GPU. The same cases go through both."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from cuda_tensors import on_cpu, on_device
from sgd_cases import gradient_like, same_bits, set_gradients, span
from standin_driver import Standin
from torch import Tensor

from fastlr.optim import ScheduledOptimizer

OWN_ENTRIES = (
    "lr",
    "momentum",
    "betas",
    "weight_decay",
    "initial_lr",
    "step_count",
    "held_steps",
    "lr_scale",
    "plateau",
)


def same_layout(tensor: Tensor, device: str = "cpu") -> Tensor:
    """A copy with the same sizes, strides and storage offset."""
    storage = torch.zeros(tensor.storage_offset() + span(tensor), dtype=tensor.dtype, device=device)
    return storage.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(tensor.detach())


class Graph(Protocol):
    def replay(self, times: int = 1) -> None: ...


class Place(Protocol):
    devices: int
    records: Standin | None  # what the driver was told, where that can be known

    def put(self, tensor: Tensor, device: int = 0) -> Tensor:
        """A copy on a device, laid out alike; requires a gradient if the tensor does."""

    def back(self, tensor: Tensor) -> Tensor:
        """A copy on the CPU."""

    def finish(self) -> None:
        """Waits for all work."""

    def on_stream(self, device: int = 0) -> AbstractContextManager[int]:
        """A new stream as the current one of the device; gives its handle."""

    def capture(self, device: int = 0) -> AbstractContextManager[Graph]:
        """What the current stream gets goes into the graph instead."""


class StandinPlace:
    devices = 2

    def __init__(self, standin: Standin) -> None:
        self.records: Standin | None = standin
        self._standin = standin

    def put(self, tensor: Tensor, device: int = 0) -> Tensor:
        return on_device(same_layout(tensor).requires_grad_(tensor.requires_grad), device)

    def back(self, tensor: Tensor) -> Tensor:
        self.finish()
        return on_cpu(tensor).clone()

    def finish(self) -> None:
        self._standin.finish()

    @contextmanager
    def on_stream(self, device: int = 0) -> Iterator[int]:
        stream = self._standin.stream(device)
        with self._standin.on_stream(stream, device):
            yield stream

    @contextmanager
    def capture(self, device: int = 0) -> Iterator[Graph]:
        self.finish()  # as torch.cuda.graph does
        with self._standin.capture(device) as graph:
            yield graph


class _GpuGraph:
    def __init__(self) -> None:
        self.graph = torch.cuda.CUDAGraph()

    def replay(self, times: int = 1) -> None:
        for _ in range(times):
            self.graph.replay()


class GpuPlace:
    records: Standin | None = None

    def __init__(self) -> None:
        self.devices = torch.cuda.device_count()

    def put(self, tensor: Tensor, device: int = 0) -> Tensor:
        return same_layout(tensor, f"cuda:{device}").requires_grad_(tensor.requires_grad)

    def back(self, tensor: Tensor) -> Tensor:
        self.finish()
        return tensor.detach().cpu()

    def finish(self) -> None:
        for device in range(self.devices):
            torch.cuda.synchronize(device)

    @contextmanager
    def on_stream(self, device: int = 0) -> Iterator[int]:
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            yield stream.cuda_stream
        torch.cuda.current_stream(device).wait_stream(stream)

    @contextmanager
    def capture(self, device: int = 0) -> Iterator[Graph]:
        graph = _GpuGraph()
        with torch.cuda.device(device), torch.cuda.graph(graph.graph):
            yield graph


class Sides:
    """An optimizer over CPU tensors, and the same one over copies of them on a place's devices.

    `devices` are dealt out to the parameters in turn; None leaves a parameter on the CPU.
    """

    def __init__(
        self,
        place: Place,
        params: Sequence[Tensor],
        make: Callable[[list[Tensor]], ScheduledOptimizer],
        devices: Sequence[int | None] = (0,),
    ) -> None:
        self.place = place
        self.devices = [devices[i % len(devices)] for i in range(len(params))]
        self.params = list(params)
        self.copies = [self._put(param, i) for i, param in enumerate(params)]
        self.cpu, self.gpu = make(self.params), make(self.copies)

    def _put(self, tensor: Tensor, place: int) -> Tensor:
        device = self.devices[place]
        copy = same_layout(tensor).requires_grad_(tensor.requires_grad)
        return copy if device is None else self.place.put(copy, device)

    def give(self, step: int, fill: Callable[[Sequence[Tensor], int], None] = set_gradients) -> None:
        """The gradients of one step to both; `fill` gives them to the CPU's."""
        fill(self.params, step)
        self.copy_gradients()

    def copy_gradients(self) -> None:
        for i, (param, copy) in enumerate(zip(self.params, self.copies, strict=True)):
            copy.grad = None if param.grad is None else self._put(param.grad, i)

    def refill(self, step: int) -> None:
        """New gradients in the memory of the old ones, where captured graphs look for them."""
        self.place.finish()
        for i, (param, copy) in enumerate(zip(self.params, self.copies, strict=True)):
            param.grad = gradient_like(param, 1000 * i + step)
            with torch.no_grad():
                if copy.grad is None:
                    copy.grad = self._put(param.grad, i)
                else:
                    copy.grad.copy_(param.grad)

    def step(self) -> None:
        self.cpu.step()
        self.gpu.step()

    def updates(self, steps: range, fill: Callable[[Sequence[Tensor], int], None] = set_gradients) -> None:
        """Steps of both, equal after each."""
        for step in steps:
            self.give(step, fill)
            self.step()
            self.check(f"after update {step}")

    def check(self, where: str = "") -> None:
        """Parameters, their state and what stands in the groups are equal, bit for bit."""
        for i, (copy, param) in enumerate(zip(self.copies, self.params, strict=True)):
            self._same(copy, param, f"parameter {i} {where}")
        for i, (ours, theirs) in enumerate(zip(states(self.gpu), states(self.cpu), strict=True)):
            assert ours.keys() >= theirs.keys(), f"{sorted(ours)} for {sorted(theirs)} of parameter {i} {where}"
            for name, tensor in ours.items():
                # Allocated ahead for what no update has written so far.
                expected = theirs.get(name, torch.zeros_like(on_cpu(tensor), device="cpu"))
                self._same(tensor, expected, f"{name} {i} {where}")
        self.check_groups(where)

    def _same(self, copy: Tensor, param: Tensor, what: str) -> None:
        actual, expected = self.place.back(copy), param.detach()
        assert same_bits(actual, expected), f"{what}: {actual.flatten()[:4]} for {expected.flatten()[:4]}"

    def check_groups(self, where: str = "") -> None:
        for i, (ours, theirs) in enumerate(zip(self.gpu.param_groups, self.cpu.param_groups, strict=True)):
            # As text, since the rate of a schedule that has ended is not a number.
            actual, expected = ([str(group.get(name)) for name in OWN_ENTRIES] for group in (ours, theirs))
            assert actual == expected, f"group {i} {where}"


def states(optimizer: ScheduledOptimizer) -> list[dict[str, Tensor]]:
    """Of each parameter in turn. A count lies on the CPU, whatever its parameter does: no step waits for it."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    found = [{k: v for k, v in optimizer.state.get(param, {}).items() if v is not None} for param in params]
    assert all(type(state["step"]) is Tensor and state["step"].is_cpu for state in found if "step" in state)
    return found


def dense(params: Sequence[Tensor], step: int) -> None:
    """A gradient for every parameter, laid out like it."""
    for i, param in enumerate(params):
        param.grad = gradient_like(param, 1000 * i + step)


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """A leaf of normal values; equal seeds give equal tensors."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))


def steady(records: Standin, step: Callable[[], Any]) -> list[dict[str, Any]]:
    """What the driver is told in one step."""
    before = len(records.events())
    step()
    return records.events()[before:]
