"""Clipping: the norm against exact sums, which gradients it is taken over, and torch's own clipping."""

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from adam_cases import copied, needs_fma, params_of
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_cases import CLASSES, DTYPES, ODD, PAIRWISE, RATES, give, options_for, tensors
from sgd_cases import assert_same_bits, gradient_like
from torch import Tensor

import fastlr

# At most 16 squares a lane, 10 halvings, and as many again for chunks: 52 roundings of positive terms, 2^-53 each,
# which the root halves.
BOUND = 27 * 2.0**-53


def exact_norm(grads: list[Tensor]) -> float:
    """The root of the exact sum of squares."""
    total = sum((Fraction(value) ** 2 for grad in grads for value in grad.double().flatten().tolist()), Fraction())
    shift = 0 if total == 0 else max(0, 120 - (total.numerator.bit_length() - total.denominator.bit_length()))
    return math.isqrt(int(total * 4**shift)) / 2**shift


def with_gradients(grads: list[Tensor], **options: Any) -> Any:
    params = [torch.zeros_like(grad) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    return fastlr.SGD(params, **{"lr": 1.0, **options})


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 1, 2, 31, 257, 1023, 1025, 16385]), min_size=1, max_size=5),
    magnitude=st.integers(-30, 30),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_norm_of_any_gradients(sizes: list[int], magnitude: int, dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    grads = [torch.randn(size, generator=generator).mul(2.0**magnitude).to(dtype) for size in sizes]
    optimizer = with_gradients(grads, max_grad_norm=1.0)
    optimizer.step()
    expected = exact_norm(grads)
    assert abs(optimizer.grad_norm - expected) <= BOUND * expected


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nothing_is_lost_where_the_dtype_s_own_sum_overflows_or_stagnates(dtype: torch.dtype) -> None:
    largest = {torch.float64: 2.0**500}.get(dtype, torch.finfo(dtype).max)
    for grads in (
        [torch.full((4,), largest, dtype=dtype)],
        [torch.ones(70001, dtype=dtype)],
        [torch.tensor([1.0]).to(dtype), torch.full((16385,), 2.0**-9, dtype=dtype)],
    ):
        optimizer = with_gradients(grads, max_grad_norm=1.0, lr=0.0)
        optimizer.step()
        expected = exact_norm(grads)
        assert abs(optimizer.grad_norm - expected) <= BOUND * expected


TINY = {dtype: torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps for dtype in DTYPES}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_subnormal_gradients(dtype: torch.dtype) -> None:
    """The smallest of each: their squares are far inside of float64."""
    grads = [torch.tensor([0.0, TINY[dtype], -TINY[dtype], -0.0]).to(dtype), torch.full((1025,), TINY[dtype]).to(dtype)]
    assert bool(grads[1].all())
    optimizer = with_gradients(grads, max_grad_norm=1.0)
    optimizer.step()
    expected = exact_norm(grads)
    assert abs(optimizer.grad_norm - expected) <= BOUND * expected


@pytest.mark.parametrize(("value", "norm"), [(TINY[torch.float64], 0.0), (2.0**-600, 0.0), (2.0**600, math.inf)])
def test_float64_gradients_whose_squares_float64_does_not_hold(value: float, norm: float) -> None:
    """The norm is 0, and limits nothing, or infinite, and skips the step."""
    optimizer = with_gradients([torch.full((3,), value, dtype=torch.float64)], max_grad_norm=1e-300)
    optimizer.step()
    assert optimizer.grad_norm == norm
    assert optimizer.step_count == (0 if norm else 1)
    assert params_of(optimizer)[0].tolist() == [0.0 if norm else -value * min(1.0, 1e-300 / 1e-6)] * 3


@pytest.mark.parametrize("sizes", [[0], [0, 0, 0], [0, 5, 0], [2000]])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nothing_and_zeros_have_the_norm_0(dtype: torch.dtype, sizes: list[int]) -> None:
    optimizer = with_gradients([torch.zeros(size, dtype=dtype) for size in sizes], max_grad_norm=1.0)
    optimizer.step()
    assert (optimizer.grad_norm, optimizer.step_count) == (0.0, 1)
    assert not any(param.any() for param in params_of(optimizer))


@pytest.mark.parametrize("own", [{}, {"norm_per_group": True}])
def test_a_group_of_nothing_but_empty_or_absent_gradients(own: dict[str, Any]) -> None:
    """With a norm of its own it is 0; it adds nothing to the others'."""
    params = [torch.zeros(0), torch.zeros(3), torch.zeros(2)]
    groups = [{"params": params[:2], **own}, {"params": params[2:]}]
    optimizer = fastlr.SGD(groups, lr=1.0, max_grad_norm=1.0)
    params[0].grad, params[2].grad = torch.zeros(0), torch.tensor([3.0, 4.0])
    optimizer.step()
    assert optimizer.grad_norm == ((0.0, 5.0) if own else 5.0)


@pytest.mark.parametrize("groups", [[{}], [{}, {"norm_per_group": True}], [{"max_grad_norm": None}, {}]])
@pytest.mark.parametrize("left", [torch.zeros(4)[::2], torch.zeros(2, dtype=torch.complex64)], ids=["wide", "complex"])
def test_a_norm_found_by_torch_s_operators_is_the_core_s(left: Tensor, groups: list[dict[str, Any]]) -> None:
    """A parameter that the core does not take, with gradient 0: only the order of the last sum may differ."""
    found = []
    for last in ([], [left]):
        lists = [tensors(DTYPES, ODD, seed=40 * i) for i in range(len(groups))]
        lists[-1] += last
        given = [{"params": params, **own} for params, own in zip(lists, groups, strict=True)]
        optimizer = fastlr.SGD(given, lr=0.5, max_grad_norm=0.25)
        give(optimizer, 1)
        for param in last:
            param.grad = torch.zeros_like(param)
        optimizer.step()
        norm: Any = optimizer.grad_norm
        found.append(norm if isinstance(norm, tuple) else (norm,))
    assert found[1] == pytest.approx(found[0], rel=1e-14, abs=0.0, nan_ok=True)


@needs_fma
@pytest.mark.parametrize("rule", CLASSES)
def test_the_same_bits_from_any_number_of_threads(rule: str) -> None:
    row = {**PAIRWISE[0], "max_grad_norm": 0.5, "norm_per_group": False, "max_grad_value": None, "ema_decay": 0.9}
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            dtypes = [torch.float32, torch.bfloat16]
            params = [torch.linspace(-1, 1, size, dtype=dtypes[i % 2]) for i, size in enumerate((200_003, 31, 70_001))]
            optimizer = CLASSES[rule]([{**options_for(rule, row, 0, dtypes), "params": params}], lr=1.0)
            for step in range(2):
                give(optimizer, step)
                optimizer.step()
            state = [value for entries in optimizer.state.values() for value in entries.values()]
            found.append((optimizer.grad_norm, [*params, *state]))
    finally:
        torch.set_num_threads(before)
    for norm, results in found[1:]:
        assert norm == found[0][0]
        assert_same_bits(results, found[0][1])


def test_groups_that_do_not_clip_are_not_counted() -> None:
    params = [torch.zeros(2) for _ in range(5)]
    limits: list[dict[str, Any]] = [
        {"max_grad_norm": 1.0},
        {},
        {"max_grad_norm": 2.0, "norm_per_group": True},
        {"max_grad_norm": 10.0},
        {"norm_per_group": True},
    ]
    groups = [{"params": [param], **own} for param, own in zip(params, limits, strict=True)]
    optimizer = fastlr.SGD(groups, lr=1.0)
    assert optimizer.grad_norm is None
    for scale, param in zip([3.0, 1e30, 5.0, 4.0, 1e30], params, strict=True):
        param.grad = torch.tensor([scale, 0.0])
    optimizer.step()
    norm: Any = optimizer.grad_norm
    assert norm[0] == norm[3] == 5.0
    assert norm[2] == 5.0
    assert math.isnan(norm[1])
    assert math.isnan(norm[4])
    moved = [-float(param[0]) for param in params]
    assert moved == pytest.approx([3.0 / 5.0, 1e30, 2.0, 4.0, 1e30], rel=1e-6)


def test_before_any_step_and_after_loading() -> None:
    def make() -> Any:
        return with_gradients([torch.tensor([3.0, 4.0])], max_grad_norm=1.0)

    optimizer, loaded = make(), make()
    assert optimizer.grad_norm is None
    optimizer.step()
    loaded.load_state_dict(optimizer.state_dict())
    assert loaded.grad_norm is None
    loaded.step()
    assert optimizer.grad_norm == loaded.grad_norm == 5.0


def test_groups_that_came_or_changed_after_the_norm() -> None:
    optimizer = with_gradients([torch.tensor([3.0, 4.0])], max_grad_norm=1.0)
    optimizer.step()
    optimizer.add_param_group({"params": [torch.zeros(1)], "norm_per_group": True})
    first, second = optimizer.grad_norm
    assert first == 5.0
    assert math.isnan(second)
    optimizer.param_groups[0]["norm_per_group"] = True
    assert all(math.isnan(norm) for norm in optimizer.grad_norm)


def test_without_gradients_the_norm_is_0() -> None:
    optimizer = fastlr.SGD([torch.zeros(3)], lr=1.0, max_grad_norm=1.0)
    optimizer.step()
    assert optimizer.grad_norm == 0.0


@pytest.mark.parametrize("scale", [1.0, 1024.0, 3.0])
def test_the_norm_is_that_of_unscaled_gradients(scale: float) -> None:
    optimizer = with_gradients([torch.tensor([3.0, 4.0]) * scale], max_grad_norm=1.0)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(0.0)
    optimizer.step()
    assert optimizer.grad_norm == pytest.approx(5.0, rel=1e-15)
    assert params_of(optimizer)[0].tolist() == pytest.approx([-0.6, -0.8], rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    limit=st.floats(1e-8, 1e8),
    magnitude=st.integers(-20, 20),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 99),
)
def test_clip_grad_norm_before_the_step(
    sizes: list[int], limit: float, magnitude: int, dtype: torch.dtype, seed: int
) -> None:
    """torch adds n squares up and takes a root in the gradients' dtype: n + 4 roundings of its coefficient."""
    generator = torch.Generator().manual_seed(seed)
    grads = [torch.randn(size, generator=generator, dtype=dtype) * 2.0**magnitude for size in sizes]
    ours = with_gradients(grads, max_grad_norm=limit)
    theirs = with_gradients(grads)
    torch.nn.utils.clip_grad_norm_(params_of(theirs), limit, foreach=False)
    for optimizer in (ours, theirs):
        optimizer.step()
    epsilon = torch.finfo(dtype).eps / 2
    for a, b in zip(params_of(ours), params_of(theirs), strict=True):
        room = (sum(sizes) + 8) * epsilon * b.abs() + torch.finfo(dtype).tiny
        assert bool(((a - b).abs() <= room).all())


@pytest.mark.parametrize("limit", [1e-3, 0.02, 5.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("rule", CLASSES)
def test_clip_grad_value_before_the_step(rule: str, dtype: torch.dtype, limit: float) -> None:
    sides = [CLASSES[rule](tensors([dtype], ODD), **RATES[rule][0], **own) for own in ({"max_grad_value": limit}, {})]
    for step in range(4):
        for optimizer in sides:
            give(optimizer, step)
        torch.nn.utils.clip_grad_value_(params_of(sides[1]), limit)
        for optimizer in sides:
            optimizer.step()
        assert_same_bits(*map(params_of, sides), f"after update {step}")


def test_a_nan_is_clamped_to_a_nan_and_infinities_to_the_limit() -> None:
    optimizer = with_gradients([torch.tensor([math.nan, math.inf, -math.inf, -0.0])], max_grad_value=0.5)
    optimizer.step()
    values = params_of(optimizer)[0].tolist()
    assert math.isnan(values[0])
    assert values[1:] == [-0.5, 0.5, 0.0]


@pytest.mark.parametrize("rule", CLASSES)
def test_limits_that_limit_nothing_leave_every_bit(rule: str) -> None:
    sides = []
    for own in ({}, {"max_grad_norm": 1e300, "max_grad_value": 1e300}):
        optimizer = CLASSES[rule](tensors(DTYPES, ODD), **RATES[rule][0], **own)
        for step in range(4):
            give(optimizer, step)
            optimizer.step()
        sides.append(copied(optimizer))
    assert_same_bits(sides[0][0], sides[1][0])
    for ours, theirs in zip(sides[0][1], sides[1][1], strict=True):
        assert_same_bits(ours.values(), theirs.values())


def test_clipping_is_not_of_the_stored_gradient() -> None:
    optimizer = with_gradients([gradient_like(torch.zeros(31), 4)], max_grad_norm=1e-3, max_grad_value=1e-5)
    before = params_of(optimizer)[0].grad.clone()  # type: ignore[union-attr]
    optimizer.step()
    assert_same_bits([params_of(optimizer)[0].grad], [before])  # type: ignore[list-item]


def test_limits_may_change_between_updates() -> None:
    optimizer = with_gradients([torch.tensor([3.0, 4.0])])
    for limit, expected in ((None, -3.0), (1.0, -3.6), (None, -6.6)):
        optimizer.param_groups[0]["max_grad_norm"] = limit
        optimizer.step()
        assert float(params_of(optimizer)[0][0]) == pytest.approx(expected)
