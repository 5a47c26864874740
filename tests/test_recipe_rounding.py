"""Stochastic rounding: the same bits by the core and by torch's operators, right in the mean, decided by its key."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import recipe_reference
import torch
from adam_cases import needs_fma, params_of
from recipe_cases import ODD, tensors
from sgd_cases import assert_same_bits, filled, gradient_like
from torch import Tensor

import fastlr
from fastlr.optim import rounding

BFLOAT16 = torch.bfloat16
LAST_SEED = 2**53 - 1
SPECIAL = [math.nan, -math.nan, math.inf, -math.inf, 0.0, -0.0, 3.4e38, -3.4e38, 1e-40, -1e-45, 2.0**-126, 1.00390625]


def bits(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(torch.int16)


def sum_of(params: list[Tensor], grads: list[Tensor]) -> list[Tensor]:
    """What an update at the rate 1 makes of them before it is rounded."""
    return [p.detach().float() - g.float() for p, g in zip(params, grads, strict=True)]


def make(params: list[Tensor], **options: Any) -> fastlr.SGD:
    return fastlr.SGD(params, **{"lr": 1.0, "stochastic_rounding": True, **options})


def update(optimizer: fastlr.SGD, step: int) -> list[Tensor]:
    for index, param in enumerate(params_of(optimizer)):
        param.grad = gradient_like(param, 100 * index + step)
    grads = [param.grad for param in params_of(optimizer) if param.grad is not None]
    optimizer.step()
    return grads


def watch(optimizer: Any) -> list[int]:
    """A list that grows with each update in which torch's operators help."""
    calls: list[int] = []
    inner = optimizer._fallback
    optimizer._fallback = lambda left: (calls.append(len(left)), inner(left))
    return calls


# The fallback's function.


@pytest.mark.parametrize("seed", [0, 1, LAST_SEED])
@pytest.mark.parametrize("count", [0, 1, 2**31, 2**53])
def test_keys(seed: int, count: int) -> None:
    for place in (0, 1, 1000):
        assert rounding.key(seed, count, place) == recipe_reference.rounding_key(seed, count, place)


@pytest.mark.parametrize("key", [0, 1, 2**31, 2**63 + 5, 2**64 - 1])
def test_bits_of_the_fallback(key: int) -> None:
    spread = torch.randn(70_001, generator=torch.Generator().manual_seed(1)) * 10.0 ** torch.linspace(-40, 38, 70_001)
    nans = torch.tensor([0x7F800001, -0x7FFFFF], dtype=torch.int32).view(torch.float32)  # NaNs by cut off bits
    values = torch.cat([torch.tensor(SPECIAL), spread, nans, torch.tensor(SPECIAL)])
    assert_same_bits([rounding.stochastic(values, key)], [recipe_reference.stochastic(values.numpy(), key)])


@pytest.mark.parametrize("element", [0, 1, 2**32 - 1, 2**32, 2**40 + 7, 2**62])
@pytest.mark.parametrize("key", [0, 12345, 2**64 - 1])
def test_random_bits_of_far_elements(element: int, key: int) -> None:
    """In Python's own integers."""
    word = 2**32
    x = (element % word * 0x9E3779B1 + key % word) % word ^ (element // word * 0x85EBCA77 + key // word) % word
    x = (x ^ x >> 16) * 0x7FEB352D % word
    x = (x ^ x >> 15) * 0x846CA68B % word
    assert rounding._random(torch.tensor([element]), key).item() == (x ^ x >> 16) >> 16


# Layouts, and who computes.


@needs_fma
@pytest.mark.parametrize("seed", [0, LAST_SEED])
def test_the_core_in_every_layout(seed: int) -> None:
    params = [*tensors([BFLOAT16], ODD), torch.linspace(-1, 1, 1_048_583).to(BFLOAT16)]
    optimizer = make(params, rounding_seed=seed)
    for step in range(3):
        before = [param.detach().clone() for param in params]
        values = sum_of(before, update(optimizer, step))
        expected = [rounding.stochastic(v, rounding.key(seed, step, place)) for place, v in enumerate(values)]
        assert_same_bits(params, expected, f"after update {step}")


def strided(values: Tensor) -> Tensor:
    return torch.stack([values, values], dim=-1)[..., 1]


def gap_between_rows(values: Tensor) -> Tensor:
    return torch.cat([values, values], dim=-1)[..., : values.shape[-1]]


def turned(values: Tensor) -> Tensor:
    """Dense, but its order in memory takes two transpositions."""
    return values.permute(1, 0, 3, 2).contiguous().permute(1, 0, 3, 2)


# And whether the core takes it.
LAYOUTS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "contiguous": (lambda values: values, True),
    "transposed": (lambda values: values.transpose(2, 3).contiguous().transpose(2, 3), True),
    "channels last": (lambda values: values.contiguous(memory_format=torch.channels_last), True),
    "strided": (strided, False),
    "gap between rows": (gap_between_rows, False),
    "turned": (turned, False),
}


@needs_fma
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "state_dtype": torch.float32}], ids=["", "momentum"])
def test_the_same_bits_in_any_layout_and_by_torch_s_operators(options: dict[str, Any]) -> None:
    """Each layout in an optimizer of its own, so that all have the same place."""
    values = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0)).to(BFLOAT16)
    results = {}
    for name, (layout, native) in LAYOUTS.items():
        param = torch.nn.Parameter(layout(values.clone()))
        optimizer = make([param], lr=0.25, **options)
        left = watch(optimizer)
        for step in range(4):
            param.grad = gradient_like(values, step)
            optimizer.step()
        assert len(left) == (0 if native else 4), name
        results[name] = param.detach()
    for name, result in results.items():
        assert_same_bits([result], [results["contiguous"]], name)


# In the mean.


def share_of_ups(rounded: Tensor) -> float:
    """How many of values between 1 and the next number went up."""
    assert set(bits(rounded).unique().tolist()) <= {0x3F80, 0x3F81}
    return float((bits(rounded) == 0x3F81).double().mean())


ONE = torch.ones(1 << 16)
AXES: dict[str, Callable[[float], Tensor]] = {
    "elements": lambda value: rounding.stochastic(ONE * value, rounding.key(3, 1, 4)),
    "updates": lambda value: rounded_each(value, lambda i: rounding.key(3, i, 4)),
    "places": lambda value: rounded_each(value, lambda i: rounding.key(3, 1, i)),
    "seeds": lambda value: rounded_each(value, lambda i: rounding.key(i, 1, 4)),
}


def rounded_each(value: float, key: Callable[[int], int]) -> Tensor:
    one = torch.tensor([value])
    return torch.cat([rounding.stochastic(one, key(i)) for i in range(1 << 10)])


@pytest.mark.parametrize("cut", [1 / 100, 1 / 3, 1 / 2, 99 / 100])
@pytest.mark.parametrize("axis", AXES)
def test_the_chance_is_what_is_cut_off(axis: str, cut: float) -> None:
    """Of n draws with that chance the share is off by more than 5 deviations once in 2 million cases."""
    cut = round(cut * 65536) / 65536
    rounded = AXES[axis](1.0 + cut / 128)
    deviation = math.sqrt(cut * (1 - cut) / rounded.numel())
    assert abs(share_of_ups(rounded) - cut) <= 5 * deviation


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("apart", [1, 2, 16, 512])
def test_draws_do_not_hang_together(axis: str, apart: int) -> None:
    """Of two draws with the chance 1/2 both go the same way half of the time."""
    ups = bits(AXES[axis](1.0 + 1 / 256))
    same = float((ups[apart:] == ups[:-apart]).double().mean())
    assert abs(same - 0.5) <= 5 * 0.5 / math.sqrt(ups.numel() - apart)


@pytest.mark.parametrize("kind", ["native", "left to torch"])
def test_many_small_updates_add_up(kind: str) -> None:
    """By an update 1/64 of a step; the nearest number would stay where it is. 5 deviations of the mean as bound."""
    size, steps, unit = 4096, 64, 2.0**-7
    param = torch.ones(size, 1 if kind == "native" else 2, dtype=BFLOAT16)[:, :1]
    optimizer = make([param], lr=unit / 64)
    for _ in range(steps):
        param.grad = -torch.ones_like(param)
        optimizer.step()
    moved = float(param.double().mean()) - 1.0
    deviation = unit * math.sqrt(steps * (1 / 64) * (63 / 64) / size)
    assert abs(moved - steps * unit / 64) <= 5 * deviation


# What it depends on.


def run(params: list[Tensor], updates: int = 3, **options: Any) -> list[Tensor]:
    optimizer = make(params, **options)
    for step in range(updates):
        update(optimizer, step)
    return [param.detach() for param in params]


def three() -> list[Tensor]:
    return [filled(layout, BFLOAT16, i) for i, layout in enumerate(("257", "matrix", "31"))]


def test_it_does_not_depend_on_groups_state_or_threads() -> None:
    expected = run(three())
    a, b, c = three()
    optimizer = fastlr.SGD(
        [{"params": [a]}, {"params": [b, c], "momentum": 0.0, "ema_decay": 0.5, "zero_grad_in_step": True}],
        lr=1.0,
        stochastic_rounding=True,
    )
    for step in range(3):
        update(optimizer, step)
    assert_same_bits([a, b, c], expected)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(run([torch.linspace(-1, 1, 200_003).to(BFLOAT16)], 2))
    finally:
        torch.set_num_threads(before)
    for results in found[1:]:
        assert_same_bits(results, found[0])


def test_it_goes_on_from_a_checkpoint() -> None:
    whole = run(three(), 6)
    params = three()
    first = make(params)
    for step in range(3):
        update(first, step)
    resumed = make(params)
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    for step in range(3, 6):
        update(resumed, step)
    assert_same_bits(params, whole)


def test_an_update_without_a_gradient_counts_for_the_others() -> None:
    """The key has the optimizer's count, and not the parameter's own."""
    param, other = torch.ones(257, dtype=BFLOAT16), torch.ones(1)
    optimizer = make([param, other], lr=2.0**-10)
    for value in (None, torch.ones_like(param)):
        param.grad, other.grad = value, torch.ones(1)
        optimizer.step()
    assert_same_bits([param], [rounding.stochastic(torch.full((257,), 1 - 2.0**-10), rounding.key(0, 1, 0))])


@pytest.mark.parametrize("kind", ["native", "left to torch"])
@pytest.mark.parametrize("changed", ["seed", "count", "place", "element"])
def test_it_depends_on_each_part_of_the_key(kind: str, changed: str) -> None:
    def rounded(seed: int = 0, count: int = 0, place: int = 0, element: int = 0) -> Tensor:
        size = 2048
        param = torch.ones(size + element, 1 if kind == "native" else 2, dtype=BFLOAT16)[:, :1]
        optimizer = make([torch.zeros(1) for _ in range(place)] + [param], lr=2.0**-8, rounding_seed=seed)
        optimizer.step_count = count
        param.grad = -torch.ones_like(param)
        optimizer.step()
        return param[element:].clone()

    first, second = rounded(), rounded(**{changed: 1})
    assert_same_bits([first], [rounded()])
    same = float((bits(first) == bits(second)).double().mean())
    assert abs(same - 0.5) <= 5 * 0.5 / math.sqrt(2048)


# Values that are not numbers, and those beyond the largest.


@pytest.mark.parametrize("kind", ["native", "left to torch"])
def test_special_values(kind: str) -> None:
    """NaNs stay NaNs, infinities infinities, 0 has its sign, and what is stored already is not moved."""
    special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.5, -(2.0**-130), 3.3895313892515355e38])
    param = special.to(BFLOAT16).repeat(50)[:, None].repeat(1, 1 if kind == "native" else 2)[:, :1]
    optimizer = make([param], lr=0.0)
    for _ in range(3):
        param.grad = torch.zeros_like(param)
        optimizer.step()
    assert_same_bits([param], [special.to(BFLOAT16).repeat(50)[:, None]])


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("kind", ["native", "left to torch"])
def test_beyond_the_largest_number_it_is_an_infinity_with_the_chance_of_what_is_cut_off(kind: str, sign: float) -> None:
    size, largest = 4096, torch.finfo(BFLOAT16).max
    param = torch.full((size, 1 if kind == "native" else 2), sign * largest, dtype=BFLOAT16)[:, :1]
    param.grad = torch.full_like(param, -sign)
    make([param], lr=2.0**118).step()  # a quarter of the last step
    share = float(param.isinf().double().mean())
    assert abs(share - 0.25) <= 5 * math.sqrt(0.25 * 0.75 / size)
    assert bool((param.isinf() | (param == sign * largest)).all())
    assert bool((param.sign() == sign).all())
