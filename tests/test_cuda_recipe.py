"""The training recipe on GPUs against the same on the CPU: the same bits, for every option and every pair of them."""

from typing import Any

import pytest
import torch
from adam_cases import needs_fma
from cuda_places import Place, Sides, dense, normal
from cuda_recipe_cases import check_all, follow, group_sides
from recipe_cases import ALONE, CLASSES, DTYPES, PAIRWISE, RATES, RISING, describe
from sgd_cases import gradient_like
from test_cuda_bits import BIG, OFFSETS, VALUES, sliced, some_late
from torch import Tensor

pytestmark = needs_fma
SCALES = [None, 1024.0, 3.0]


@pytest.mark.parametrize("row", ALONE, ids=describe)
@pytest.mark.parametrize("rule", CLASSES)
def test_each_option_alone(rule: str, row: dict[str, Any], place: Place) -> None:
    """A group for each dtype, and one of all of them."""
    follow(group_sides(place, rule, [row] * 5, [[dtype] for dtype in DTYPES] + [DTYPES]), range(3))


@pytest.mark.parametrize("number", range(len(PAIRWISE)), ids=[describe(row) for row in PAIRWISE])
@pytest.mark.parametrize("rule", CLASSES)
def test_pairs_of_options(rule: str, number: int, place: Place) -> None:
    """In groups of all dtypes, beside one without any option."""
    row = PAIRWISE[number]
    dtypes = DTYPES[:3] if row["stochastic_rounding"] else DTYPES
    rows = [row, {}, PAIRWISE[(number + 7) % len(PAIRWISE)]]
    follow(group_sides(place, rule, rows, [dtypes] * 3), range(4), SCALES[number % 3])


# A tile has 2048 elements, a chunk of the norm 16384, a row of its lanes 1024.
SIZES = [1, 3, 257, 1023, 1025, 2047, 2048, 2049, 4097, 16383, 16384, 16385, 3 * 16384 + 5]
WHOLE: dict[str, Any] = {"max_grad_norm": 0.5, "max_grad_value": 0.01, "ema_decay": 0.9, "zero_grad_in_step": True}
NARROW = [{"master_weights": True}, {"stochastic_rounding": True}, {"state_dtype": "float32"}]
KINDS = [("SGD", torch.float32, {}), ("AdamW", torch.float64, {}), ("Adam", torch.float16, NARROW[0])]
KINDS += [(rule, torch.bfloat16, own) for rule, own in zip(("Lion", "Adam", "SGD"), NARROW, strict=True)]
each_kind = pytest.mark.parametrize(("rule", "dtype", "own"), KINDS)


@each_kind
def test_sizes_around_the_borders_of_tiles_and_chunks(
    rule: str, dtype: torch.dtype, own: dict[str, Any], place: Place
) -> None:
    params = [normal(size, dtype=dtype, seed=size) for size in SIZES]
    sides = Sides(place, params, lambda params: CLASSES[rule](params, **RATES[rule][0], **WHOLE, **own))
    for step in range(2):
        sides.give(step, dense)
        sides.step()
        check_all(sides, f"after update {step}")


@each_kind
def test_offsets_that_are_equal_or_differ(rule: str, dtype: torch.dtype, own: dict[str, Any], place: Place) -> None:
    """Parameter, gradient, state, average and master off by any elements, as slices of flat buffers are."""
    cases = [(size, *offsets) for size in (5, 2049, 4111) for offsets in OFFSETS]
    params = [sliced(size, p, dtype).copy_(normal(size, dtype=dtype, seed=p).detach()) for size, p, *_ in cases]
    sides = Sides(place, params, lambda params: CLASSES[rule](params, **RATES[rule][0], **WHOLE, **own))
    sides.updates(range(1), dense)
    for optimizer, held in ((sides.cpu, sides.params), (sides.gpu, sides.copies)):
        for param, (size, _, _, *offsets) in zip(held, cases, strict=True):
            state = optimizer.state[param]
            for i, name in enumerate(name for name in state if name != "step"):
                moved = sliced(size, offsets[(i + 1) % 2], state[name].dtype).copy_(place.back(state[name]))
                state[name] = moved if optimizer is sides.cpu else place.put(moved)
    for step in range(2):
        for i, (size, _, g, *_) in enumerate(cases):
            sides.params[i].grad = sliced(size, g, dtype).copy_(gradient_like(params[i], 1000 * i + step))
        sides.copy_gradients()
        sides.step()
        check_all(sides, f"after update {step}")


@pytest.mark.parametrize(("rule", "dtype"), [("SGD", torch.float32), ("Adam", torch.bfloat16)])
def test_one_big_tensor(rule: str, dtype: torch.dtype, place: Place) -> None:
    own = {"stochastic_rounding": dtype is torch.bfloat16}
    sides = Sides(
        place, [normal(BIG, dtype=dtype)], lambda params: CLASSES[rule](params, **RATES[rule][0], **WHOLE, **own)
    )
    sides.give(0, dense)
    sides.step()
    check_all(sides)


@pytest.mark.parametrize("groups", [1, 3, 300])
def test_more_tensors_than_a_launch_takes(groups: int, place: Place) -> None:
    """And more chunks than the norm has lanes; every third group has a norm of its own, every fourth none."""
    params = [normal(1 + i % 3, dtype=DTYPES[i % 4], seed=i) for i in range(1500)]

    def make(params: list[Tensor]) -> Any:
        rows = [
            {"norm_per_group": i % 3 == 2, **({"max_grad_norm": None} if i % 4 == 3 else {})} for i in range(groups)
        ]
        return CLASSES["SGD"](
            [{"params": params[i::groups], **row} for i, row in enumerate(rows)], **{**RATES["SGD"][0], **WHOLE}
        )

    sides = Sides(place, params, make)
    for step in range(2):
        sides.give(step, some_late)
        sides.step()
        check_all(sides, f"after update {step}")


def test_options_that_change_between_updates(place: Place) -> None:
    rows: list[dict[str, Any]] = [{}, {"max_grad_norm": 0.3}]
    sides = group_sides(place, "AdamW", rows, [DTYPES] * 2)
    changes: list[dict[str, Any]] = [
        {},
        {"max_grad_norm": 0.7},
        {"ema_decay": 0.5},
        {"max_grad_norm": None, "max_grad_value": 1e-3},
        {"master_weights": True},
        {"max_grad_norm": 0.1, "norm_per_group": True},
        {"ema_decay": None, "zero_grad_in_step": True},
        {"master_weights": False, "max_grad_value": None},
        {"ema_decay": 1.0, "norm_per_group": False, "zero_grad_in_step": False},
    ]
    for turn, change in enumerate(changes):
        for side in (sides.cpu, sides.gpu):
            side.param_groups[turn % 2].update(change)
        follow(sides, range(2 * turn, 2 * turn + 2))
    for side in (sides.cpu, sides.gpu):
        side.set_schedule(ema_decay=RISING)
    follow(sides, range(20, 22))


def test_values_that_are_not_finite_or_vanish(place: Place) -> None:
    """Without a norm they go through, as on the CPU."""
    params, grads = (values.flatten() for values in torch.meshgrid(VALUES, VALUES, indexing="ij"))
    for dtype in DTYPES:
        own = {"max_grad_value": 2.0, "ema_decay": 0.5, "stochastic_rounding": dtype is torch.bfloat16}
        sides = Sides(place, [params.to(dtype)], lambda params, own=own: CLASSES["SGD"](params, lr=0.5, **own))
        sides.params[0].grad = grads.to(dtype)
        sides.copy_gradients()
        for step in range(2):
            sides.step()
            check_all(sides, f"after update {step}")
