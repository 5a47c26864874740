"""Steps of the kernels' PTX beside those of the CPU core."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import cuda_structs as cuda
import torch
from cuda_sgd import DTYPES, SCHEDULED, DeviceSgd
from ptx import Module
from sgd_cases import assert_same_bits, buffers, gradient_like

import fastlr
from fastlr.schedules import (
    Constant,
    Cosine,
    CosineCycles,
    CosineRestarts,
    Cyclic,
    Exponential,
    Geometric,
    InverseSqrt,
    InverseTime,
    Line,
    Linear,
    Logarithmic,
    Piecewise,
    Polynomial,
    Power,
    Step,
    Table,
    Tanh,
    maximum,
    minimum,
)

Groups = list[dict[str, Any]]


# Sizes in elements, around what a vector, a block's threads and a chunk of one tile hold.


def sizes(dtype: torch.dtype) -> list[int]:
    lanes = cuda.VECTOR_BYTES // dtype.itemsize
    chunk = cuda.TILE_BYTES // dtype.itemsize
    return [0, 1, lanes - 1, lanes, lanes + 1, 31, 257, chunk - 1, chunk, chunk + 1, 2 * chunk + 3]


def tensor(size: int, dtype: torch.dtype, offset: int, seed: int) -> torch.Tensor:
    """Normal values, `offset` elements after a boundary of 64 bytes."""
    values = torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.Parameter(torch.empty(offset + size, dtype=dtype)[offset:].copy_(values))


def set_gradient(param: torch.Tensor, gradient: torch.Tensor, offset: int = 0) -> None:
    param.grad = torch.empty(offset + param.numel(), dtype=param.dtype)[offset:].copy_(gradient)


def groups_with(
    options: list[dict[str, Any]], dtypes: Iterator[torch.dtype], offset: int, per_group: int = 2
) -> Groups:
    """A group for each set of options, with a few tensors each; sizes take turns."""
    groups: Groups = []
    turn = itertools.count()
    for option in options:
        params = []
        for dtype in itertools.islice(dtypes, per_group):
            i = next(turn)
            params.append(tensor(sizes(dtype)[i * 7 % 11], dtype, offset, i))
        groups.append({"params": params, "lr": 0.1, **option})
    return groups


def compare(
    module: Module,
    make: Callable[[], Groups],
    *,
    steps: int,
    offsets: tuple[int, int] = (0, 0),
    absent: Callable[[int, int], bool] = lambda place, step: False,
    gradient: Callable[[torch.Tensor, int], torch.Tensor] = gradient_like,
    **how: Any,
) -> DeviceSgd:
    """The device's steps beside those of the CPU core. offsets: of gradients and of buffers."""
    device = DeviceSgd(module, make(), offset=offsets[1], **how)
    sgd = fastlr.SGD(make(), lr=0.1)
    theirs = [param for group in sgd.param_groups for param in group["params"]]
    updates = [0] * len(theirs)
    for step in range(steps):
        for place, pair in enumerate(zip(device.params, theirs, strict=True)):
            for param in pair:
                param.grad = None
                if not absent(place, step):
                    set_gradient(param, gradient(param, 100 * place + step), offsets[0])
            momentum = sgd.param_groups[device.group_of[place]]["momentum"]
            updates[place] += momentum != 0 and not absent(place, step)
        sgd.step()
        device.step()
        assert_same_step(device, sgd, theirs, step)
        assert list(device.updates) == updates
    return device


def assert_same_step(device: DeviceSgd, sgd: fastlr.SGD, theirs: list[torch.Tensor], step: int) -> None:
    assert_same_bits(device.params, theirs, f"parameter, step {step}")
    expected = buffers(sgd)
    assert_same_bits([device.buffers[i] for i in expected], list(expected.values()), f"buffer, step {step}")
    assert (device.state.count, device.state.ticket, device.state.half) == (step + 1, 0, (step + 1) % 2)
    assert [group.clock for group in device.groups] == [step + 1] * len(device.groups)
    for values, group in zip(device.present_values(), sgd.param_groups, strict=True):
        assert {name: getattr(values.hyper, name) for name in SCHEDULED} == {name: group[name] for name in SCHEDULED}


# With values in [0, 1], so that each can be any hyper-parameter. Together they consist of every instruction.
SCHEDULES = [
    Constant(0.5, 3) >> Linear(start=0.2, end=0.1, length=3),
    Cosine(0.9, 0.1, 5),
    Cosine(0.9, 0.1, 5, 2.5),
    Polynomial(0.9, 0.1, 5, 2.5) >> Polynomial(0.9, 0.1, 5, 2.0),
    Power(0.1, 0.9, 5, 0.3),
    Tanh(0.9, 0.1, 5),
    Geometric(0.9, 0.1, 5),
    Logarithmic(0.9, 0.1, 5),
    Line(0.1, 0.2, 5),
    Exponential(0.9, 0.93, 2.5),
    Step(0.9, 2, 0.5),
    InverseSqrt(0.9, 3.0),
    InverseTime(0.9, 0.5),
    Piecewise((2, 4), (0.3, 0.2, 0.1)),
    Table((0.4, 0.3, 0.2)),
    CosineRestarts(0.9, 0.1, 2, 2.0, 0.5),
    Cyclic(0.1, 0.9, 2, 3, mode="exp_range", gamma=0.9),
    CosineCycles(0.9, 0.1, 2.5, True),
    minimum(Line(0.1, 0.9, 6), Cosine(0.9, 0.1, 5)),
    maximum(Line(0.1, 0.9, 6), 0.3 * Cosine(0.9, 0.1, 5)),
    Linear(start=0.1, end=0.9, length=4) / Line(1.0, 2.0, 3) + 0.01,
    Linear(start=0.1, end=0.9, length=4) ** 1.5,
    Linear(start=0.1, end=0.9, length=9).past_end("error"),
    (Cosine(0.9, 0.1, 3) >> Linear(start=0.1, end=0.2, length=2)).repeat(2).shift(1).hold(7),
    Piecewise((2, 4), (0.3, 0.2, 0.1)) * Step(0.9, 3, 0.5) + Piecewise((1, 5), (0.0, 0.4, 0.2)),
    Table((0.4, 0.3, 0.2)) * Table((0.9, 0.1)) >> (Table((0.4, 0.3)) >> Constant(0.2)),
    Linear(start=0.1, end=0.4, length=4).floor(2) * (Constant(0.5, 2) >> Cosine(0.9, 0.1, 3).per_epoch(2)),
]

SCHEDULED_GROUPS: list[dict[str, Any]] = [
    {"lr": Linear(start=0.1, end=0.01, length=3) >> Cosine(start=0.01, end=0.001, length=4)},
    {"lr": Constant(0.1), "momentum": Linear(start=0.85, end=0.95, length=5)},
    {"lr": 0.2, "momentum": Piecewise((2,), (0.0, 0.9)), "weight_decay": Exponential(0.1, 0.5, 1.0)},
    {"lr": CosineRestarts(1.0, 0.1, 2, 2.0, 0.5), "momentum": 0.9, "nesterov": True, "lr_scale": 0.5},
    {"lr": Table((0.3, 0.2, 0.1)), "momentum": 0.5, "maximize": True, "weight_decay": 0.01},
    {"lr": 0.1},
]


def scheduled_groups() -> Groups:
    return groups_with(SCHEDULED_GROUPS, itertools.cycle(DTYPES), 0)
