"""Every optimizer on GPUs against the same on the CPU: the same bits."""

from typing import Any

import pytest
import torch
from adam_cases import LION_OPTIONS, SOME, describe
from cuda_cases import DTYPES, RULES, Rule, counts, each_rule
from cuda_places import GpuPlace, Place, Sides, StandinPlace, dense, normal
from sgd_cases import LAYOUTS, OPTIONS, cast, filled, gradient_like
from standin_driver import Standin, run_configured
from torch import Tensor

from fastlr import schedules
from fastlr.optim import ScheduledOptimizer

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


EVERY = [("SGD", options) for options in OPTIONS] + [("Lion", options) for options in LION_OPTIONS[::5]]
EVERY += [(name, options) for name in ("Adam", "AdamW") for options in SOME]


@pytest.mark.parametrize("case", EVERY, ids=describe)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_combination_on_every_layout(case: tuple[str, dict[str, Any]], dtype: torch.dtype, place: Place) -> None:
    name, options = case
    sides = Sides(place, tensors(dtype), lambda params: RULES[name].kind(params, lr=RATE, **options))
    sides.updates(range(5), some_late)
    assert sides.gpu.step_count == 5
    if RULES[name].counts:
        assert {*counts(sides.gpu)} == {3, 5}  # some tensors have another count than their group


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1], OPTIONS[-4]], ids=describe)
def test_all_dtypes_in_one_group(options: dict[str, Any], place: Place) -> None:
    sides = Sides(place, tensors(*DTYPES), lambda params: RULES["SGD"].kind(params, lr=RATE, **options))
    sides.updates(range(6), some_late)


@each_rule
def test_all_dtypes_in_one_group_that_follows_schedules(rule: Rule, place: Place) -> None:
    sides = Sides(place, tensors(*DTYPES), lambda params: rule(params, lr=RATE, **rule.scheduled))
    sides.updates(range(6), some_late)


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes_around_the_borders_of_tiles(dtype: torch.dtype, momentum: float, place: Place) -> None:
    params = [normal(size, dtype=dtype, seed=size) for size in SIZES]
    sides = Sides(place, params, lambda params: RULES["SGD"](params, lr=0.1, momentum=momentum))
    sides.updates(range(3), dense)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Lion"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes_around_the_borders_of_tiles_with_other_rules(dtype: torch.dtype, name: str, place: Place) -> None:
    params = [normal(size, dtype=dtype, seed=size) for size in SIZES]
    sides = Sides(place, params, lambda params: RULES[name](params, lr=0.01))
    sides.updates(range(2), dense)


def sliced(size: int, offset: int, dtype: torch.dtype) -> Tensor:
    whole = torch.zeros(size + offset, dtype=dtype)
    return whole[offset:]


# Of parameter, gradient, the first array of state and the others.
OFFSETS = [(0, 0, 0, 0), (1, 1, 1, 1), (3, 3, 3, 3), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
OFFSETS += [(3, 2, 1, 0), (7, 7, 0, 7), (9, 1, 1, 1)]


@each_rule
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_offsets_that_are_equal_or_differ(dtype: torch.dtype, rule: Rule, place: Place) -> None:
    """Slices of flat buffers, as sharded training has them: parameter, gradient and state off by any elements."""
    cases = [(size, *offsets) for size in (5, 2049, 4111) for offsets in OFFSETS]
    params = [sliced(size, p, dtype).copy_(normal(size, dtype=dtype, seed=p).detach()) for size, p, *_ in cases]
    sides = Sides(place, params, lambda params: rule(params, lr=0.01))
    sides.updates(range(1), dense)
    for optimizer, held in ((sides.cpu, sides.params), (sides.gpu, sides.copies)):
        for param, (size, _, _, *offsets) in zip(held, cases, strict=True):
            state = optimizer.state[param]
            for name, offset in zip(rule.state, (offsets[0], offsets[1], offsets[1]), strict=False):
                moved = sliced(size, offset, dtype).copy_(place.back(state[name]))
                state[name] = moved if optimizer is sides.cpu else place.put(moved)
    for step in range(2):
        for i, (size, _, g, *_) in enumerate(cases):
            sides.params[i].grad = sliced(size, g, dtype).copy_(gradient_like(params[i], 1000 * i + step))
        sides.copy_gradients()
        sides.step()
        sides.check(f"after update {step}")


BIG_CASES = [("SGD", dtype, 2) for dtype in DTYPES] + [("Adam", DTYPES[0], 1), ("Lion", DTYPES[3], 1)]


@pytest.mark.parametrize(("name", "dtype", "updates"), BIG_CASES)
def test_one_big_tensor(name: str, dtype: torch.dtype, updates: int, place: Place) -> None:
    sides = Sides(place, [normal(BIG, dtype=dtype)], lambda params: RULES[name](params, lr=0.1))
    sides.updates(range(updates), dense)


def go_over_several_tiles(place: Place, size: int) -> None:
    """Chunks of several tiles, of a tensor that is not aligned at its first element and of a short one beside it."""
    for rule, dtypes in ((RULES["SGD"], DTYPES), (RULES["Adam"], DTYPES[::3])):
        for dtype in dtypes:
            whole = torch.empty(size + 7, dtype=dtype).uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
            params = [whole[1:], normal(4097, dtype=dtype)]
            sides = Sides(place, params, lambda params, rule=rule: rule(params, lr=0.1))  # type: ignore[misc]
            sides.updates(range(2 if rule.name == "sgd" else 1), dense)


@pytest.mark.gpu
def test_chunks_of_several_tiles_on_a_gpu() -> None:
    go_over_several_tiles(GpuPlace(), 1 << 25)


def test_chunks_of_several_tiles_on_one_multiprocessor(standin: Standin) -> None:
    code = """
from cuda_places import StandinPlace
from test_cuda_bits import go_over_several_tiles

go_over_several_tiles(StandinPlace(standin), 200_003)
print({launch["grid"][0] for launch in standin.launches() if not launch["kernel"].endswith("prepare")})
"""
    # 24 blocks and their remainders: chunks of 4, 8, 2 and 2 tiles; one more for the next rates.
    assert run_configured(code, multiprocessors=1) == "{27}\n"


def strided(dtype: torch.dtype) -> list[Tensor]:
    return [cast(torch.empty(40)[::2], dtype), cast(torch.empty(7, 9)[:, 1:5], dtype), cast(torch.empty(5), dtype)]


@each_rule
@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_views_with_gaps_are_left_to_torch(dtype: torch.dtype, rule: Rule, standin: Standin) -> None:
    """Its operators on a GPU do not give the bits of those on the CPU."""
    params = [param.copy_(normal(*param.shape, dtype=dtype, seed=i).detach()) for i, param in enumerate(strided(dtype))]
    sides = Sides(StandinPlace(standin), params, lambda params: rule(params, lr=RATE))
    sides.updates(range(4), dense)


def in_groups(params: list[Tensor], groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"params": params[i :: len(groups)], **options} for i, options in enumerate(groups)]


SGD_GROUPS: list[dict[str, Any]] = [
    {"lr": schedules.Exponential(0.5, 0.7), "momentum": 0.9, "nesterov": True, "dampening": 0},
    {},
    {"weight_decay": 0.1, "maximize": True, "lr_scale": 0.25},
    {"lr": 0.0},
    {"momentum": schedules.Linear(0.0, 0.9, 4), "dampening": 0.7},
    {"momentum": 0, "weight_decay": schedules.Step(0.1, 2, 0.5)},
    {"lr": schedules.MultiStep(1.0, (1, 3), 0.1), "lr_scale": 3.0, "momentum": schedules.MultiStep(0.9, (2,), 0.5)},
]
LION_GROUPS: list[dict[str, Any]] = [
    {"lr": schedules.Exponential(0.5, 0.7), "betas": (0.3, schedules.Linear(0.2, 0.9, 4))},
    {},
    {"weight_decay": 0.1, "maximize": True, "lr_scale": 0.25},
    {"lr": 0.0, "betas": (schedules.Linear(0.9, 0.1, 3), 0.5)},
    {"weight_decay": schedules.Step(0.1, 2, 0.5)},
]
ADAM_GROUPS = [*LION_GROUPS, {"amsgrad": False, "eps": 0.1}, {"amsgrad": True}, {"decoupled_weight_decay": True}]
GROUPS = {"SGD": SGD_GROUPS, "Adam": ADAM_GROUPS, "AdamW": ADAM_GROUPS[:-1], "Lion": LION_GROUPS}


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("dtypes", [DTYPES[:1], DTYPES], ids=["float32", "all dtypes"])
def test_groups_with_their_own_options(dtypes: list[torch.dtype], name: str, place: Place) -> None:
    def make(params: list[Tensor]) -> ScheduledOptimizer:
        return RULES[name](in_groups(params, GROUPS[name]), lr=RATE, weight_decay=0.02)

    sides = Sides(place, tensors(*dtypes), make)
    sides.updates(range(7), some_late)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lion"])
@pytest.mark.parametrize("count", [0, 1, 1600])
def test_more_tensors_than_a_launch_takes(count: int, name: str, place: Place) -> None:
    """Below 2: so many more than fit."""
    rule = RULES[name]
    params = [normal(1 + i % 5, seed=i) for i in range(count if count > 1 else rule.capacity + count)]
    sides = Sides(place, params, lambda params: rule(params, lr=RATE))
    sides.updates(range(2), dense)
    assert sides.gpu.step_count == 2


@each_rule
def test_three_hundred_groups(rule: Rule, place: Place) -> None:
    groups = [{"lr": schedules.Linear(0.1 * i, 0.0, 5), "weight_decay": 1e-3 * i} for i in range(300)]
    params = [normal(3, seed=i) for i in range(300)]
    sides = Sides(place, params, lambda params: rule(in_groups(params, groups)))
    sides.updates(range(4), dense)


VALUES = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-45, 6e-8, 65504.0, 3e38, torch.inf, -torch.inf, torch.nan])


@each_rule
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_small_and_infinite_values(dtype: torch.dtype, rule: Rule, place: Place) -> None:
    params, grads = (values.flatten().to(dtype) for values in torch.meshgrid(VALUES, VALUES, indexing="ij"))
    sides = Sides(place, [params], lambda params: rule(params, lr=0.5, weight_decay=0.25))
    sides.params[0].grad = grads
    sides.copy_gradients()
    for step in range(3):
        sides.step()
        sides.check(f"after update {step}")
