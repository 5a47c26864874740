"""Defects that users report of scaling, clipping and fused updates in torch, each as a regression test.

Where it costs nothing, torch's own result stands beside it.
"""

import math
import warnings
from typing import Any

import pytest
import torch
from adam_cases import needs_fma, params_of, states
from compile_cases import SCHEDULE, Sides
from recipe_cases import CLASSES, RATES, RISING
from sgd_cases import assert_same_bits, gradient_like
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import fastlr

every_rule = pytest.mark.parametrize("rule", CLASSES)
WHOLE: dict[str, Any] = {
    "max_grad_norm": 1.0,
    "max_grad_value": 0.5,
    "ema_decay": RISING,
    "master_weights": True,
    "zero_grad_in_step": True,
}


def make(rule: str, params: list[Tensor], **options: Any) -> Any:
    return CLASSES[rule](params, **{**RATES[rule][0], **options})


def scaler(scale: float = 2.0) -> torch.amp.GradScaler:
    """Ready for step(): it makes its scale when the first loss is scaled."""
    made = torch.amp.GradScaler("cpu", init_scale=scale)
    made.scale(torch.zeros(()))
    return made


def clipped_by_torch(grad: Tensor, limit: float = 1.0) -> tuple[float, list[float]]:
    """clip_grad_norm_'s norm, and what it makes of the gradient."""
    param = torch.zeros_like(grad)
    param.grad = grad.clone()
    norm = torch.nn.utils.clip_grad_norm_([param], limit)
    return norm.item(), param.grad.tolist()


def clipped(grad: Tensor, limit: float = 1.0) -> tuple[Any, list[float]]:
    """The same of the option: an update by rate 1 from 0 on."""
    param = torch.zeros_like(grad)
    optimizer = fastlr.SGD([param], lr=1.0, max_grad_norm=limit)
    param.grad = grad.clone()
    optimizer.step()
    return optimizer.grad_norm, [-value for value in param.tolist()]


# Scaling.


@every_rule
def test_no_uninitialised_state_when_the_scaler_skips_the_first_step(rule: str) -> None:
    """torch's fused SGD allocates the momentum before it looks at the overflow, and keeps what was in memory."""
    sides = [make(rule, [torch.ones(31, dtype=torch.bfloat16)], **WHOLE) for _ in range(2)]
    by = scaler()
    for side, value in ((0, math.inf), (0, 3.0), (1, 3.0)):
        (param,) = params_of(sides[side])
        param.grad = torch.full_like(param, 2.0 * value)
        if side == 1:
            param.grad.mul_(0.5)
            sides[1].step()
            continue
        by.step(sides[0])
        by.update(2.0)
        assert bool(sides[0].state) == math.isfinite(value)
    assert_same_bits(params_of(sides[0]), params_of(sides[1]))
    for ours, expected in zip(*map(states, sides), strict=True):
        assert_same_bits(ours.values(), [expected[name] for name in ours])


@pytest.mark.parametrize("overflow", [math.inf, math.nan])
def test_a_step_that_is_skipped_advances_neither_the_rate_nor_the_average_s_decay(overflow: float) -> None:
    """torch's schedulers advance with their call, whatever the scaler has made of the step."""
    theirs = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.5)
    ours = fastlr.SGD([torch.zeros(1)], lr=fastlr.schedules.Exponential(1.0, 0.5), max_grad_norm=1.0, ema_decay=RISING)
    by = scaler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a scheduler's step before an optimizer's, which was skipped
        for optimizer in (theirs, ours):
            (param,) = params_of(optimizer)
            param.grad = torch.full((1,), overflow)
            by.step(optimizer)
        scheduler.step()
    assert theirs.param_groups[0]["lr"] == 0.5
    assert (ours.param_groups[0]["lr"], ours.param_groups[0]["ema_decay"]) == (1.0, RISING(0))
    params_of(ours)[0].grad = torch.full((1,), overflow)
    ours.step()  # nor without a scaler, by the norm alone
    assert (ours.param_groups[0]["lr"], ours.param_groups[0]["ema_decay"], ours.step_count) == (1.0, RISING(0), 0)


def test_clipping_of_scaled_gradients_needs_no_unscaling_before() -> None:
    """clip_grad_norm_ without scaler.unscale_() clips by the scaled norm: the update is smaller by the scale."""
    grad = torch.tensor([3.0, 4.0]) * 1024.0
    params = [torch.zeros(2), torch.zeros(2)]
    theirs = torch.optim.SGD([params[0]], lr=1.0)
    ours = fastlr.SGD([params[1]], lr=1.0, max_grad_norm=1.0)
    by = scaler(1024.0)
    for optimizer, param in ((theirs, params[0]), (ours, params[1])):
        param.grad = grad.clone()
        if optimizer is theirs:
            torch.nn.utils.clip_grad_norm_([param], 1.0)
        by.step(optimizer)
    assert max(params[0].abs().tolist()) < 1e-3
    assert (-params[1]).tolist() == pytest.approx([0.6, 0.8], rel=1e-6)
    assert ours.grad_norm == 5.0


# Clipping.


def test_one_infinite_gradient_spoils_no_parameter() -> None:
    """clip_grad_norm_ makes NaN of it and 0 of all others, and says nothing."""
    _, theirs = clipped_by_torch(torch.tensor([math.inf, 1.0, 1.0]))
    assert math.isnan(theirs[0])
    assert theirs[1:] == [0.0, 0.0]
    norm, ours = clipped(torch.tensor([math.inf, 1.0, 1.0]))
    assert (norm, ours) == (math.inf, [0.0, 0.0, 0.0])


EXTREMES: list[tuple[torch.dtype, float, int]] = [
    (torch.float32, 1e30, 4),
    (torch.float32, 1e-30, 4),
    (torch.float16, 300.0, 100_000),
    (torch.float16, 6e-8, 100),
    (torch.bfloat16, 1e30, 4),
]
OVERFLOWING = [(torch.float32, 1e30), (torch.float16, 300.0)]


@pytest.mark.parametrize(("dtype", "value", "size"), EXTREMES, ids=str)
def test_norms_whose_squares_the_dtype_does_not_hold(dtype: torch.dtype, value: float, size: int) -> None:
    """torch's norm is inf or 0 in some of these, and all gradients are then 0 or unclipped."""
    grad = torch.full((size,), value, dtype=dtype)
    exact = float(grad[0]) * math.sqrt(size)
    norm, moved = clipped(grad, exact / 4)
    assert norm == pytest.approx(exact, rel=1e-14)
    room = torch.finfo(dtype).eps
    factor = (exact / 4) / (exact + 1e-6)
    assert moved[0] == pytest.approx(float(grad[0]) * factor, rel=room, abs=torch.finfo(dtype).smallest_normal * room)
    if (dtype, value) in OVERFLOWING:
        assert clipped_by_torch(grad, exact / 4) == (math.inf, [0.0] * size)


def test_a_norm_of_many_small_terms_beside_a_large_one() -> None:
    """Added up one after another in float32 they would be lost."""
    grad = torch.full((2**16 + 1,), 2.0**-13)
    grad[0] = 1.0
    assert clipped(grad)[0] == pytest.approx(math.sqrt(1.0 + 2.0**-10), rel=1e-15)


# Fused kernels.


@needs_fma
@every_rule
def test_a_first_gradient_that_arrives_late(rule: str) -> None:
    """torch's fused SGD raises TypeError: one momentum is there and the other is not."""
    pairs = [[torch.linspace(-1, 1, 31), torch.linspace(1, 2, 31)] for _ in range(2)]
    together = make(rule, pairs[0], **{**WHOLE, "max_grad_norm": None, "ema_decay": 0.9})
    apart = [make(rule, [param], **{**WHOLE, "max_grad_norm": None, "ema_decay": 0.9}) for param in pairs[1]]
    for step in range(4):
        for index, own in enumerate(apart):
            if step < 2 * index:
                continue
            for param in (pairs[0][index], pairs[1][index]):
                param.grad = gradient_like(param, 10 * index + step)
            own.step()
        together.step()
    assert_same_bits(*pairs)
    for ours, expected in zip(states(together), [states(own)[0] for own in apart], strict=True):
        assert_same_bits(ours.values(), [expected[name] for name in ours])


@needs_fma
@pytest.mark.parametrize("options", [{}, {"master_weights": True}, {"stochastic_rounding": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_element_of_16_bit_tensors_is_updated(dtype: torch.dtype, options: dict[str, Any]) -> None:
    """torch's fused CPU kernel leaves out vector blocks in 2.12.1 and 2.13.0."""
    own = {} if dtype is torch.float16 and "stochastic_rounding" in options else options
    for size in (*range(1, 131), 511, 512, 513, 4097):
        param = torch.zeros(size, dtype=dtype)
        param.grad = torch.ones(size, dtype=dtype)
        optimizer = fastlr.SGD([param], lr=0.5, ema_decay=0.5, zero_grad_in_step=True, max_grad_value=1.0, **own)
        optimizer.step()
        assert bool((param == -0.5).all()), size
        assert bool((optimizer.state[param]["ema"] == -0.25).all()), size
        assert not param.grad.any(), size


class Counted(TorchDispatchMode):
    """The operators of torch that are called, each of which would be a launch and perhaps an allocation."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append(str(func))
        return func(*args, **(kwargs or {}))


@needs_fma
@every_rule
def test_2000_tensors_clipped_averaged_and_zeroed_call_no_operator_of_torch(rule: str) -> None:
    """clip_grad_norm_ and a foreach average do host work for each tensor, and hold temporaries of all of them."""
    params = [torch.zeros(1 + i % 3, dtype=torch.bfloat16) for i in range(2000)]
    optimizer = make(rule, params, **WHOLE)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    with Counted() as counted:
        optimizer.step()
        assert optimizer.grad_norm == 0.0
    assert counted.calls == []
    with Counted() as counted:
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=False)
    assert len(counted.calls) > 2000


def test_a_changing_decay_compiles_nothing_anew() -> None:
    """A number that changes is a guard to torch.compile, and each value of it another graph."""
    torch._dynamo.reset()
    sides = Sides(lambda params: fastlr.SGD(params, lr=SCHEDULE, ema_decay=RISING, max_grad_norm=1.0))
    for t in range(5):
        sides.step(t)
    assert len(sides.backend.graphs) == 1
