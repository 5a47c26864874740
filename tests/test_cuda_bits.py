"""fastlr.SGD on GPUs against the same on the CPU: the same bits."""

from typing import Any

import pytest
import torch
from cuda_places import GpuPlace, Place, Sides, StandinPlace, dense, normal
from sgd_cases import LAYOUTS, OPTIONS, cast, describe, filled, gradient_like
from standin_driver import Standin, run_configured
from torch import Tensor

import fastlr
from fastlr import schedules

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# A tile has 8192 bytes; all but the first are primes or next to borders.
SIZES = [1, 31, 257, 1021, 1024, 1025, 2047, 2048, 2049, 4095, 4096, 4097, 8191, 8193, 16381]
BIG = 1048583
RATE = schedules.Warmup(0.1, 3) >> schedules.Cosine(0.1, 0.01, 40)


def tensors(*dtypes: torch.dtype) -> list[Tensor]:
    return [filled(layout, dtype, seed) for dtype in dtypes for seed, layout in enumerate(LAYOUTS)]


def some_late(params: Any, step: int) -> None:
    """Gradients that appear late, vanish, and come in another layout than their parameter."""
    for i, param in enumerate(params):
        absent = (i % 7 == 3 and step < 2) or i % 7 == 4 or (i % 7 == 5 and step % 3 == 1)
        grad = gradient_like(param, 1000 * i + step)
        turned = grad.dim() > 1 and i % 2 == 0
        param.grad = None if absent else grad.t().contiguous().t() if turned and grad.dim() == 2 else grad


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_combination_on_every_layout(options: dict[str, Any], dtype: torch.dtype, place: Place) -> None:
    sides = Sides(place, tensors(dtype), lambda params: fastlr.SGD(params, lr=RATE, **options))
    sides.updates(range(5), some_late)
    assert sides.gpu.step_count == 5


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1], OPTIONS[-4]], ids=describe)
def test_all_dtypes_in_one_group(options: dict[str, Any], place: Place) -> None:
    sides = Sides(place, tensors(*DTYPES), lambda params: fastlr.SGD(params, lr=RATE, **options))
    sides.updates(range(6), some_late)


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes_around_the_borders_of_tiles(dtype: torch.dtype, momentum: float, place: Place) -> None:
    params = [normal(size, dtype=dtype, seed=size) for size in SIZES]
    sides = Sides(place, params, lambda params: fastlr.SGD(params, lr=0.1, momentum=momentum))
    sides.updates(range(3), dense)


def sliced(size: int, offset: int, dtype: torch.dtype) -> Tensor:
    whole = torch.zeros(size + offset, dtype=dtype)
    return whole[offset:]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_offsets_that_are_equal_or_differ(dtype: torch.dtype, place: Place) -> None:
    """Slices of flat buffers, as sharded training has them: parameter, gradient and buffer off by any elements."""
    offsets = [(0, 0, 0), (1, 1, 1), (3, 3, 3), (1, 0, 0), (0, 1, 0), (0, 0, 1), (3, 2, 1), (7, 7, 0), (9, 1, 1)]
    sizes = [5, 2049, 4111]
    cases = [(size, *three) for size in sizes for three in offsets]
    params = [sliced(size, p, dtype).copy_(normal(size, dtype=dtype, seed=p).detach()) for size, p, _, _ in cases]
    sides = Sides(place, params, lambda params: fastlr.SGD(params, lr=0.1, momentum=0.9))
    for optimizer, held in ((sides.cpu, sides.params), (sides.gpu, sides.copies)):
        for i, (size, _, _, b) in enumerate(cases):
            buffer = sliced(size, b, dtype).copy_(normal(size, dtype=dtype, seed=99 + i).detach())
            optimizer.state[held[i]]["momentum_buffer"] = buffer if optimizer is sides.cpu else place.put(buffer)
    for step in range(2):
        for i, (size, _, g, _) in enumerate(cases):
            values = gradient_like(params[i], 1000 * i + step)
            sides.params[i].grad = sliced(size, g, dtype).copy_(values)
        sides.copy_gradients()
        sides.step()
        sides.check(f"after update {step}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_big_tensor(dtype: torch.dtype, place: Place) -> None:
    sides = Sides(place, [normal(BIG, dtype=dtype)], lambda params: fastlr.SGD(params, lr=0.1, momentum=0.9))
    sides.updates(range(2), dense)


def go_over_several_tiles(place: Place, size: int) -> None:
    """Chunks of several tiles, of a tensor that is not aligned at its first element and of a short one beside it."""
    for dtype in DTYPES:
        whole = torch.empty(size + 7, dtype=dtype).uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
        sides = Sides(
            place, [whole[1:], normal(4097, dtype=dtype)], lambda params: fastlr.SGD(params, lr=0.1, momentum=0.9)
        )
        sides.updates(range(2), dense)


@pytest.mark.gpu
def test_chunks_of_several_tiles_on_a_gpu() -> None:
    go_over_several_tiles(GpuPlace(), 1 << 25)


def test_chunks_of_several_tiles_on_one_multiprocessor(standin: Standin) -> None:
    code = """
from cuda_places import StandinPlace
from test_cuda_bits import go_over_several_tiles

go_over_several_tiles(StandinPlace(standin), 200_003)
grids = [launch["grid"][0] for launch in standin.launches() if launch["kernel"].startswith("fastlr_sgd")]
print(grids[::2])
"""
    # 24 blocks and their remainders: chunks of 4, 8, 2 and 2 tiles; one more for the next rates.
    assert run_configured(code, multiprocessors=1) == "[27, 27, 27, 27]\n"


def strided(dtype: torch.dtype) -> list[Tensor]:
    return [cast(torch.empty(40)[::2], dtype), cast(torch.empty(7, 9)[:, 1:5], dtype), cast(torch.empty(5), dtype)]


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_views_with_gaps_are_left_to_torch(dtype: torch.dtype, standin: Standin) -> None:
    """Its operators on a GPU do not give the bits of those on the CPU."""
    params = [param.copy_(normal(*param.shape, dtype=dtype, seed=i).detach()) for i, param in enumerate(strided(dtype))]
    sides = Sides(StandinPlace(standin), params, lambda params: fastlr.SGD(params, lr=RATE, momentum=0.9))
    sides.updates(range(4), dense)


def in_groups(params: list[Tensor], groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"params": params[i :: len(groups)], **options} for i, options in enumerate(groups)]


GROUPS: list[dict[str, Any]] = [
    {"lr": schedules.Exponential(0.5, 0.7), "momentum": 0.9, "nesterov": True},
    {},
    {"weight_decay": 0.1, "maximize": True, "lr_scale": 0.25},
    {"lr": 0.0},
    {"momentum": schedules.Linear(0.0, 0.9, 4), "dampening": 0.7},
    {"momentum": 0, "weight_decay": schedules.Step(0.1, 2, 0.5)},
    {"lr": schedules.MultiStep(1.0, (1, 3), 0.1), "lr_scale": 3.0, "momentum": schedules.MultiStep(0.9, (2,), 0.5)},
]


@pytest.mark.parametrize("dtypes", [DTYPES[:1], DTYPES], ids=["float32", "all dtypes"])
def test_groups_with_their_own_options(dtypes: list[torch.dtype], place: Place) -> None:
    def make(params: list[Tensor]) -> fastlr.SGD:
        return fastlr.SGD(in_groups(params, GROUPS), lr=RATE, momentum=0.3, weight_decay=0.02)

    sides = Sides(place, tensors(*dtypes), make)
    sides.updates(range(7), some_late)


@pytest.mark.parametrize("count", [752, 753, 1600])
def test_more_tensors_than_a_launch_takes(count: int, place: Place) -> None:
    params = [normal(1 + i % 5, seed=i) for i in range(count)]
    sides = Sides(place, params, lambda params: fastlr.SGD(params, lr=RATE, momentum=0.9))
    sides.updates(range(3), dense)
    assert sides.gpu.step_count == 3


def test_three_hundred_groups(place: Place) -> None:
    groups = [
        {"lr": schedules.Linear(0.1 * i, 0.0, 5), "weight_decay": 1e-3 * i, "momentum": 0.9 * (i % 2)}
        for i in range(300)
    ]
    params = [normal(3, seed=i) for i in range(300)]
    sides = Sides(place, params, lambda params: fastlr.SGD(in_groups(params, groups)))
    sides.updates(range(4), dense)


VALUES = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-45, 6e-8, 65504.0, 3e38, torch.inf, -torch.inf, torch.nan])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_small_and_infinite_values(dtype: torch.dtype, place: Place) -> None:
    params, grads = (values.flatten().to(dtype) for values in torch.meshgrid(VALUES, VALUES, indexing="ij"))
    sides = Sides(place, [params], lambda params: fastlr.SGD(params, lr=0.5, momentum=0.5, weight_decay=0.25))
    sides.params[0].grad = grads
    sides.copy_gradients()
    for step in range(3):
        sides.step()
        sides.check(f"after update {step}")
