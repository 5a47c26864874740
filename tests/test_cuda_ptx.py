"""The kernels' PTX, executed without a GPU: the bits of the CPU core, in every dtype, size, alignment and order."""

import ctypes
import itertools
import re
from typing import Any

import cuda_structs as cuda
import numpy as np
import pytest
import torch
from kernel_ptx import ORIGINS, kernel_text, kernels
from ptx import ORDERS, Fault, Module
from ptx_step import DTYPES, DeviceOptimizer
from ptx_step_cases import CASES, SCHEDULES, Groups, compare, groups_with, scheduled_groups, set_gradient, sizes, tensor
from sgd_cases import BITS, NATIVE, assert_same_bits, gradient_like

from fastlr.schedules import Linear, Schedule

every_rule = pytest.mark.parametrize("rule", CASES)
pytestmark = pytest.mark.skipif(not NATIVE, reason="this CPU has no native update to compare with: it lacks FMA")


@pytest.fixture(scope="module", params=ORIGINS)
def module(request: pytest.FixtureRequest) -> Module:
    return kernels(request.param)


def assert_sizes(module: Module, image: int) -> None:
    """Loading a kernel refuses it if it has an instruction that the interpreter does not know."""
    structs = {"fastlr_evaluate": cuda.evaluate_arguments(cuda.PROGRAMS[image])}
    structs["fastlr_norm"] = cuda.norm_arguments(cuda.BYTES[image])
    for rule in cuda.RULES.values():
        for part in ("float32", "bfloat16", "mixed"):
            structs[f"fastlr_{rule.name}_{part}"] = cuda.step_arguments(rule, cuda.BYTES[image])
        structs[f"fastlr_{rule.name}_recipe"] = cuda.recipe_arguments(rule, cuda.BYTES[image])
        structs[f"fastlr_{rule.name}_prepare"] = cuda.PrepareArguments
    found = {name: module.kernel(name).parameter_bytes for name in module.names()}
    assert found == {name: ctypes.sizeof(struct) for name, struct in structs.items()}


def test_structs_have_the_kernels_sizes(module: Module) -> None:
    assert_sizes(module, 0)


@every_rule
def test_older_devices_and_drivers(rule: str) -> None:
    """4096 bytes of arguments, so that a step is more launches, and bfloat16 without the device's conversion."""
    module = kernels("nvcc old")
    assert_sizes(module, 1)

    def make() -> Groups:
        return groups_with(CASES[rule].options, itertools.cycle(DTYPES), 0, per_group=4)

    most = cuda.RULES[rule].tensors(cuda.BYTES[1])
    compare(module, rule, make, steps=2, tensors_per_launch=most, order="random", seed=1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0, 1, 3])
@every_rule
def test_every_option(module: Module, rule: str, dtype: torch.dtype, offset: int) -> None:
    """One launch a step over groups with every combination of options."""

    def make() -> Groups:
        return groups_with(CASES[rule].options, itertools.repeat(dtype), offset)

    compare(module, rule, make, steps=3, offsets=(offset, offset), order="together")


@pytest.mark.parametrize("offsets", [(0, 0), (1, 0), (0, 1)], ids=str)
@every_rule
def test_mixed_dtypes_in_one_launch(module: Module, rule: str, offsets: tuple[int, int]) -> None:
    """Gradients and state that are aligned like the parameter, and others."""

    def make() -> Groups:
        return groups_with(CASES[rule].options, itertools.cycle(DTYPES), 0, per_group=3)

    compare(module, rule, make, steps=2, offsets=offsets, order="random", seed=sum(offsets))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("order", ORDERS)
@every_rule
def test_every_order(module: Module, rule: str, dtype: torch.dtype, order: str) -> None:
    """Sizes at every boundary, with a first and a later update."""

    def make() -> Groups:
        return [{"params": [tensor(n, dtype, 1, n) for n in sizes(dtype)], **CASES[rule].usual}]

    compare(module, rule, make, steps=2, offsets=(1, 1), order=order, seed=7)


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
@every_rule
def test_any_bits(module: Module, rule: str, dtype: torch.dtype, maximize: bool) -> None:
    """Fewer in float64: products of extreme numbers take the interpreter longer."""
    count = {2: 2**16, 4: 5000, 8: 1000}[dtype.itemsize]
    options = {**CASES[rule].usual, "maximize": maximize}

    def make() -> Groups:
        return [{"params": [torch.nn.Parameter(any_bits(torch.empty(count, dtype=dtype), 7))], **options}]

    compare(module, rule, make, steps=2, gradient=any_bits, order="together")


@pytest.mark.parametrize("tiles", [1, 2, 3])
@every_rule
def test_chunks_of_several_tiles(module: Module, rule: str, tiles: int) -> None:
    chunk = tiles * cuda.TILE_BYTES // 4

    def make() -> Groups:
        params = [tensor(n, torch.float32, offset, n) for n in (chunk - 1, 2 * chunk + 1) for offset in (0, 1)]
        return [{"params": params, **CASES[rule].usual}]

    compare(module, rule, make, steps=2, offsets=(1, 1), tiles=tiles, order="together")


@pytest.mark.parametrize(("tensors_per_launch", "seed"), [(None, 1), (5, 2), (1, 3)])
@every_rule
def test_schedules_go_on_by_themselves(module: Module, rule: str, tensors_per_launch: int | None, seed: int) -> None:
    """Nothing is written between the steps, also where one step is several launches."""
    how: dict[str, Any] = {"tensors_per_launch": tensors_per_launch, "order": "random", "seed": seed}
    compare(module, rule, lambda: scheduled_groups(rule), steps=6, **how)


@every_rule
def test_more_groups_and_tensors_than_threads(module: Module, rule: str) -> None:
    def make() -> Groups:
        rates = [Linear(start=0.1 * (g + 1), end=0.0, length=9) for g in range(cuda.THREADS + 9)]
        usual = CASES[rule].usual
        return [{"params": [tensor(2, torch.float32, 0, g)], **usual, "lr": rate} for g, rate in enumerate(rates)]

    compare(module, rule, make, steps=3, order="random", seed=4)


@every_rule
def test_every_schedule(module: Module, rule: str) -> None:
    """As every hyper-parameter that may follow one."""

    def make() -> Groups:
        same = [{"lr": each, "weight_decay": each, **memory(rule, each)} for each in SCHEDULES]
        return groups_with(same, itertools.repeat(torch.float32), 0, per_group=1)

    compare(module, rule, make, steps=9, order="together")


def memory(rule: str, schedule: Schedule) -> dict[str, Any]:
    """What an average keeps of the one before, which has to stay below 1."""
    return {"momentum": schedule} if rule == "sgd" else {"betas": (schedule.hold(5), schedule.hold(5))}


@every_rule
def test_parameters_without_gradients(module: Module, rule: str) -> None:
    """A first gradient that comes late is a first update; no gradient at all is a step nevertheless. Where updates are
    counted, a tensor with another count than its group takes scalars of its own."""

    def absent(place: int, step: int) -> bool:
        return step == 2 or (place % 3 == 0 and step < 4)

    for order in ("together", "random"):
        compare(module, rule, lambda: scheduled_groups(rule), steps=6, absent=absent, order=order)


def device_of(
    module: Module, rule: str, rate: Any, params: list[torch.Tensor], clock: dict[str, int] | None = None, **how: Any
) -> DeviceOptimizer:
    """With one group."""
    group = {**CASES[rule].always, **CASES[rule].usual, "lr": rate, "params": params, **(clock or {})}
    return DeviceOptimizer(module, cuda.RULES[rule], [group], **how)


@every_rule
def test_a_step_without_a_value_changes_nothing(module: Module, rule: str) -> None:
    schedule = Linear(start=0.1, end=0.0, length=1).past_end("error")
    device = device_of(module, rule, schedule, [tensor(300, torch.float32, 0, 1)], order="random")
    for _ in range(2):
        set_gradient(device.params[0], gradient_like(device.params[0], 3))
        device.step()
    assert (device.state.count, list(device.state.missing)) == (2, [1, 0])
    before = [device.params[0].detach().clone(), *(each.clone() for each in device.kept[0])]
    state = bytes(device.state), bytes(device.groups), bytes(device.updates)
    device.step()
    assert_same_bits([device.params[0].detach(), *device.kept[0]], before)
    assert (bytes(device.state), bytes(device.groups), bytes(device.updates)) == state


@every_rule
def test_a_held_clock_stands(module: Module, rule: str) -> None:
    schedule = Linear(start=0.5, end=0.0, length=5)
    device = device_of(module, rule, schedule, [tensor(9, torch.float32, 0, 1)], {"clock": 3, "held": 1})
    for count in (1, 2):
        set_gradient(device.params[0], gradient_like(device.params[0], 3))
        device.step()
        assert (device.state.count, device.groups[0].clock) == (count, 3)
        assert device.present_values()[0].hyper.lr == schedule(3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0, 1])
@every_rule
def test_every_byte_is_moved_once(module: Module, rule: str, dtype: torch.dtype, offset: int) -> None:
    """Each input is read once and each output written once; SGD's first update reads no state."""
    param = tensor(3 * cuda.TILE_BYTES // dtype.itemsize + 5, dtype, offset, 1)
    device = device_of(module, rule, 0.1, [param], offset=offset, order="together")
    size = param.numel() * param.element_size()
    for step in (1, 2):
        set_gradient(param, gradient_like(param, step), offset)
        device.step()
        assert device.memory.traffic(param.data_ptr()) == (step * size, step * size)
        unread = 1 if device.rule.writes_first else 0
        for state in device.kept[0]:
            assert device.memory.traffic(state.data_ptr()) == ((step - unread) * size, step * size)


@pytest.mark.parametrize(("origin", "order"), [("shipped", "random"), ("nvcc", "forward")])
@pytest.mark.parametrize("statement", ["bar.sync", "membar.gl"])
@every_rule
def test_every_barrier_is_needed(origin: str, order: str, statement: str, rule: str) -> None:
    """A barrier or fence that is taken away leaves a data race, whatever the order of execution."""
    text = kernel_text(origin)
    begin = text.index(f".entry fastlr_{rule}_float32(")
    end = text.index(".entry", begin + 1)
    places = [match.start() for match in re.finditer(statement, text) if begin < match.start() < end]
    assert places
    schedule = Linear(start=0.1, end=0.01, length=1).past_end("error")
    for place in places:
        spoiled = Module(text[:place] + "//" + text[place:])
        with pytest.raises(Fault, match=r"data race in a (shared|global)|shared load .* that nobody has written"):
            run_without_values(spoiled, rule, schedule, order)
    run_without_values(kernels(origin), rule, schedule, order)


def run_without_values(module: Module, rule: str, schedule: Schedule, order: str) -> None:
    """Two steps, after which many groups have no value. A parameter gets its first gradient in the second."""
    same = {**CASES[rule].always, **CASES[rule].usual, "lr": schedule}
    groups = [{"params": [tensor(300, torch.float32, 0, g)], **same} for g in range(9)]
    device = DeviceOptimizer(module, cuda.RULES[rule], groups, order=order, seed=1)
    for step in range(2):
        for param in device.params[1 - step :]:
            set_gradient(param, gradient_like(param, 3))
        device.step()
    assert list(device.state.missing) == [9, 0]
