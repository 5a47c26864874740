"""Steps of the kernels' PTX beside those of the CPU core."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import adam_cases
import cuda_structs as cuda
import sgd_cases
import torch
from ptx import Module
from ptx_step import DTYPES, DeviceOptimizer, entry
from sgd_cases import assert_same_bits, gradient_like

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


@dataclass(frozen=True)
class Case:
    """What a rule is tried with."""

    optimizer: Callable[..., torch.optim.Optimizer]
    always: dict[str, Any]  # entries of every group, where it has no others
    options: list[dict[str, Any]]  # every combination
    usual: dict[str, Any]  # reads and writes as much state as there is


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
        groups.append({"params": params, **option})
    return groups


def compare(
    module: Module,
    rule: str,
    make: Callable[[], Groups],
    *,
    steps: int,
    offsets: tuple[int, int] = (0, 0),
    absent: Callable[[int, int], bool] = lambda place, step: False,
    gradient: Callable[[torch.Tensor, int], torch.Tensor] = gradient_like,
    **how: Any,
) -> DeviceOptimizer:
    """The device's steps beside those of the CPU core. offsets: of gradients and of the state."""
    case = CASES[rule]
    ours, theirs = ([{"lr": 0.1, **case.always, **group} for group in make()] for _ in range(2))
    device = DeviceOptimizer(module, cuda.RULES[rule], ours, offset=offsets[1], **how)
    optimizer = case.optimizer(theirs, lr=0.1)
    params = [param for group in optimizer.param_groups for param in group["params"]]
    updates = [0] * len(params)
    for step in range(steps):
        for place, pair in enumerate(zip(device.params, params, strict=True)):
            for param in pair:
                param.grad = None
                if not absent(place, step):
                    set_gradient(param, gradient(param, 100 * place + step), offsets[0])
            keeps = optimizer.param_groups[device.group_of[place]].get("momentum", 1.0) != 0
            updates[place] += keeps and not absent(place, step)
        optimizer.step()
        device.step()
        assert_same_step(device, optimizer, params, step)
        assert list(device.updates) == updates
    return device


def assert_same_step(
    device: DeviceOptimizer, optimizer: torch.optim.Optimizer, params: list[torch.Tensor], step: int
) -> None:
    assert_same_bits(device.params, params, f"parameter, step {step}")
    for k, name in enumerate(device.rule.states):
        expected = {i: state[name] for i, p in enumerate(params) if name in (state := optimizer.state.get(p, {}))}
        assert_same_bits([device.kept[i][k] for i in expected], list(expected.values()), f"{name}, step {step}")
    assert (device.state.count, device.state.ticket, device.state.half) == (step + 1, 0, (step + 1) % 2)
    assert {(group.clock, group.updates) for group in device.groups} == {(step + 1, step + 1)}
    for values, group in zip(device.present_values(), optimizer.param_groups, strict=True):
        assert values.updates == step + 1
        for name in device.rule.scheduled:
            assert getattr(values.hyper, name) == entry(group, name)


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

_RATES: list[Any] = [
    Linear(start=0.1, end=0.01, length=3) >> Cosine(start=0.01, end=0.001, length=4),
    Constant(0.1),
    0.2,
    CosineRestarts(1.0, 0.1, 2, 2.0, 0.5),
    Table((0.3, 0.2, 0.1)),
    0.1,
]
# Of the averages' memories.
_RISING, _STEPPED, _FALLING = Linear(0.85, 0.95, 5), Piecewise((2,), (0.0, 0.9)), Exponential(0.9, 0.5, 1.0)
_DECAY = Exponential(0.1, 0.5, 1.0)
# For each of the rates.
SCHEDULED: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {},
        {"momentum": _RISING},
        {"momentum": _STEPPED, "weight_decay": _DECAY},
        {"momentum": 0.9, "nesterov": True, "lr_scale": 0.5},
        {"momentum": 0.5, "maximize": True, "weight_decay": 0.01},
        {},
    ],
    "adam": [
        {},
        {"betas": (_RISING, 0.99), "amsgrad": True},
        {"betas": (_STEPPED, _FALLING), "weight_decay": _DECAY},
        {"lr_scale": 0.5, "weight_decay": _DECAY, "decoupled_weight_decay": True},
        {"amsgrad": True, "maximize": True, "weight_decay": 0.01},
        {},
    ],
    "lion": [
        {},
        {"betas": (_RISING, 0.99)},
        {"betas": (_STEPPED, _FALLING), "weight_decay": _DECAY},
        {"lr_scale": 0.5, "weight_decay": _DECAY},
        {"maximize": True, "weight_decay": 0.01},
        {},
    ],
}


def scheduled_groups(rule: str) -> Groups:
    options = [{"lr": rate, **option} for rate, option in zip(_RATES, SCHEDULED[rule], strict=True)]
    return groups_with(options, itertools.cycle(DTYPES), 0)


_BOTH_DECAYS = adam_cases.combinations(decoupled_weight_decay=(False, True))
CASES = {
    "sgd": Case(
        fastlr.SGD,
        always={},
        options=sgd_cases.OPTIONS,
        usual={"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": Case(
        fastlr.Adam,
        always={"betas": (0.9, 0.999), "eps": 1e-8},
        options=[{**option, **decay} for option in adam_cases.OPTIONS for decay in _BOTH_DECAYS],
        usual={"amsgrad": True, "weight_decay": 0.01},
    ),
    "lion": Case(
        fastlr.Lion,
        always={"betas": (0.9, 0.99)},
        options=adam_cases.LION_OPTIONS,
        usual={"weight_decay": 0.01},
    ),
}
