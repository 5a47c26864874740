"""The kernels' PTX, executed without a GPU: the bits of the CPU core, in every dtype, size, alignment and order."""

import ctypes
import itertools
import re
from collections.abc import Callable
from typing import Any

import cuda_structs as cuda
import numpy as np
import pytest
import torch
from cuda_sgd import DTYPES, DeviceSgd
from cuda_sgd_cases import SCHEDULES, Groups, compare, groups_with, scheduled_groups, set_gradient, sizes, tensor
from kernel_ptx import ORIGINS, kernel_text, kernels
from ptx import ORDERS, Fault, Module
from sgd_cases import BITS, NATIVE, OPTIONS, assert_same_bits, gradient_like

from fastlr.schedules import Linear, Schedule

KERNELS: dict[str, tuple[Callable[[int], type[ctypes.Structure]], tuple[int, ...]]] = {
    **{
        f"fastlr_sgd_{name}": (cuda.step_arguments, cuda.TENSORS)
        for name in ("float32", "float64", "float16", "bfloat16", "mixed")
    },
    "fastlr_prepare": (lambda _: cuda.PrepareArguments, (0,)),
    "fastlr_evaluate": (cuda.evaluate_arguments, cuda.PROGRAMS),
}

pytestmark = pytest.mark.skipif(not NATIVE, reason="this CPU has no native update to compare with: it lacks FMA")


@pytest.fixture(scope="module", params=ORIGINS)
def module(request: pytest.FixtureRequest) -> Module:
    return kernels(request.param)


def assert_sizes(module: Module, short: bool) -> None:
    """Loading a kernel refuses it if it has an instruction that the interpreter does not know."""
    assert set(module.names()) == set(KERNELS)
    for name, (struct, capacities) in KERNELS.items():
        assert module.kernel(name).parameter_bytes == ctypes.sizeof(struct(capacities[-1 if short else 0])), name


def test_structs_have_the_kernels_sizes(module: Module) -> None:
    assert_sizes(module, short=False)


def test_older_devices_and_drivers() -> None:
    """4096 bytes of arguments, so that a step is more launches, and bfloat16 without the device's conversion."""
    module = kernels("nvcc old")
    assert_sizes(module, short=True)

    def make() -> Groups:
        return groups_with(OPTIONS, itertools.cycle(DTYPES), 0, per_group=4)

    compare(module, make, steps=2, tensors_per_launch=cuda.TENSORS[1], order="random", seed=1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_every_option(module: Module, dtype: torch.dtype, offset: int) -> None:
    """One launch a step over groups with every combination of options."""

    def make() -> Groups:
        return groups_with(OPTIONS, itertools.repeat(dtype), offset)

    compare(module, make, steps=3, offsets=(offset, offset), order="together")


@pytest.mark.parametrize("offsets", [(0, 0), (1, 0), (0, 1)], ids=str)
def test_mixed_dtypes_in_one_launch(module: Module, offsets: tuple[int, int]) -> None:
    """Gradients and buffers that are aligned like the parameter, and others."""

    def make() -> Groups:
        return groups_with(OPTIONS, itertools.cycle(DTYPES), 0, per_group=3)

    compare(module, make, steps=2, offsets=offsets, order="random", seed=sum(offsets))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("order", ORDERS)
def test_every_order(module: Module, dtype: torch.dtype, order: str) -> None:
    """Sizes at every boundary, with a first and a later update."""
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}

    def make() -> Groups:
        return [{"params": [tensor(n, dtype, 1, n) for n in sizes(dtype)], **options}]

    compare(module, make, steps=2, offsets=(1, 1), order=order, seed=7)


def any_bits(like: torch.Tensor, seed: int) -> torch.Tensor:
    """Every kind of number: subnormal, infinite and no number at all. Of 16 bits, each one there is."""
    size, bits = like.element_size(), BITS[like.element_size()]
    if size == 2:
        order = torch.randperm(2**16, generator=torch.Generator().manual_seed(seed))
        return order.to(bits).view(like.dtype)[: like.numel()]
    drawn = np.random.default_rng(seed).integers(0, 256, (like.numel(), size), np.uint8)
    return torch.from_numpy(drawn).view(bits).view(like.dtype).flatten()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("maximize", [False, True])
def test_any_bits(module: Module, dtype: torch.dtype, maximize: bool) -> None:
    """Fewer in float64: products of extreme numbers take the interpreter longer."""
    count = {2: 2**16, 4: 5000, 8: 1000}[dtype.itemsize]
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "maximize": maximize}

    def make() -> Groups:
        return [{"params": [torch.nn.Parameter(any_bits(torch.empty(count, dtype=dtype), 7))], **options}]

    compare(module, make, steps=2, gradient=any_bits, order="together")


@pytest.mark.parametrize("tiles", [1, 2, 3])
def test_chunks_of_several_tiles(module: Module, tiles: int) -> None:
    chunk = tiles * cuda.TILE_BYTES // 4

    def make() -> Groups:
        params = [tensor(n, torch.float32, offset, n) for n in (chunk - 1, 2 * chunk + 1) for offset in (0, 1)]
        return [{"params": params, "lr": 0.1, "momentum": 0.9}]

    compare(module, make, steps=2, offsets=(1, 1), tiles=tiles, order="together")


@pytest.mark.parametrize(("tensors_per_launch", "seed"), [(cuda.TENSORS[0], 1), (5, 2), (1, 3)])
def test_schedules_go_on_by_themselves(module: Module, tensors_per_launch: int, seed: int) -> None:
    """Nothing is written between the steps, also where one step is several launches."""
    how: dict[str, Any] = {"tensors_per_launch": tensors_per_launch, "order": "random", "seed": seed}
    compare(module, scheduled_groups, steps=6, **how)


def test_more_groups_and_tensors_than_threads(module: Module) -> None:
    def make() -> Groups:
        rates = [Linear(start=0.1 * (g + 1), end=0.0, length=9) for g in range(cuda.THREADS + 9)]
        return [
            {"params": [tensor(2, torch.float32, 0, g)], "lr": rate, "momentum": 0.9} for g, rate in enumerate(rates)
        ]

    compare(module, make, steps=3, order="random", seed=4)


def test_every_schedule(module: Module) -> None:
    """As learning rate, momentum and weight decay: each has code of its own."""

    def make() -> Groups:
        same = [{"lr": each, "momentum": each, "weight_decay": each} for each in SCHEDULES]
        return groups_with(same, itertools.repeat(torch.float32), 0, per_group=1)

    compare(module, make, steps=9, order="together")


def test_parameters_without_gradients(module: Module) -> None:
    """A first gradient that comes late is a first update; no gradient at all is a step nevertheless."""

    def absent(place: int, step: int) -> bool:
        return step == 2 or (place % 3 == 0 and step < 4)

    compare(module, scheduled_groups, steps=6, absent=absent, order="together")


def test_a_step_without_a_value_changes_nothing(module: Module) -> None:
    schedule = Linear(start=0.1, end=0.0, length=1).past_end("error")
    groups = [{"params": [tensor(300, torch.float32, 0, 1)], "lr": schedule, "momentum": 0.9}]
    device = DeviceSgd(module, groups, order="random")
    for _ in range(2):
        set_gradient(device.params[0], gradient_like(device.params[0], 3))
        device.step()
    assert (device.state.count, list(device.state.missing)) == (2, [1, 0])
    before = [device.params[0].detach().clone(), device.buffers[0].clone()]
    state = bytes(device.state), bytes(device.groups), bytes(device.updates)
    device.step()
    assert_same_bits([device.params[0].detach(), device.buffers[0]], before)
    assert (bytes(device.state), bytes(device.groups), bytes(device.updates)) == state


def test_a_held_clock_stands(module: Module) -> None:
    schedule = Linear(start=0.5, end=0.0, length=5)
    groups = [{"params": [tensor(9, torch.float32, 0, 1)], "lr": schedule, "clock": 3, "held": 1}]
    device = DeviceSgd(module, groups)
    for count in (1, 2):
        set_gradient(device.params[0], gradient_like(device.params[0], 3))
        device.step()
        assert (device.state.count, device.groups[0].clock) == (count, 3)
        assert device.present_values()[0].hyper.lr == schedule(3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0, 1])
def test_every_byte_is_moved_once(module: Module, dtype: torch.dtype, offset: int) -> None:
    """Each input is read once and each output written once; the first update reads no buffer."""
    chunk = cuda.TILE_BYTES // dtype.itemsize
    groups = [{"params": [tensor(3 * chunk + 5, dtype, offset, 1)], "momentum": 0.9, "lr": 0.1}]
    device = DeviceSgd(module, groups, offset=offset, order="together")
    (param,), (buffer,) = device.params, device.buffers
    size = param.numel() * param.element_size()
    for step in (1, 2):
        set_gradient(param, gradient_like(param, step), offset)
        device.step()
        assert device.memory.traffic(param.data_ptr()) == (step * size, step * size)
        assert device.memory.traffic(buffer.data_ptr()) == ((step - 1) * size, step * size)


@pytest.mark.parametrize(("origin", "order"), [("shipped", "random"), ("nvcc", "forward")])
@pytest.mark.parametrize("statement", ["bar.sync", "membar.gl"])
def test_every_barrier_is_needed(origin: str, order: str, statement: str) -> None:
    """A barrier or fence that is taken away leaves a data race, whatever the order of execution."""
    text = kernel_text(origin)
    begin = text.index(".entry fastlr_sgd_float32(")
    end = text.index(".entry", begin + 1)
    places = [match.start() for match in re.finditer(statement, text) if begin < match.start() < end]
    assert places
    schedule = Linear(start=0.1, end=0.01, length=1).past_end("error")
    for place in places:
        spoiled = Module(text[:place] + "//" + text[place:])
        with pytest.raises(Fault, match=r"data race in a (shared|global)|shared load .* that nobody has written"):
            run_without_values(spoiled, schedule, order)
    run_without_values(kernels(origin), schedule, order)


def run_without_values(module: Module, schedule: Schedule, order: str) -> None:
    """Two steps, after which many groups have no value."""
    groups = [{"params": [tensor(300, torch.float32, 0, g)], "lr": schedule, "momentum": 0.9} for g in range(70)]
    device = DeviceSgd(module, groups, order=order, seed=1)
    for _ in range(2):
        for param in device.params:
            set_gradient(param, gradient_like(param, 3))
        device.step()
    assert list(device.state.missing) == [70, 0]
