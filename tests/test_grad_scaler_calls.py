"""What callers do around torch.amp.GradScaler's step: unscale first, share it, disable it, hook into it."""

import math
from typing import Any

import pytest
import torch
from adam_cases import copied, params_of
from recipe_cases import CLASSES, FALLING, RATES
from scaler_cases import PARAMETERS, Options, assert_same, give, gradients, make, native, scaler_of
from sgd_cases import assert_same_bits
from torch.amp import GradScaler

import fastlr


@pytest.mark.parametrize("own", [{}, {"max_grad_norm": 0.25}], ids=["", "with max_grad_norm"])
@pytest.mark.parametrize("kind", ["left to torch", "native without float16"])
@pytest.mark.parametrize("rule", CLASSES)
def test_gradients_that_the_caller_has_unscaled(rule: str, kind: str, own: Options) -> None:
    """They are clipped by torch in between, and not divided again. torch unscales no float16."""

    def build() -> Any:
        if kind == "left to torch":
            return make(rule, kind, **own)
        return CLASSES[rule](native()[:4], **RATES[rule][0], **own)

    optimizer, plain = build(), build()
    scaler = scaler_of(2.0**10)
    for step in range(4):
        give(optimizer, step, scaler.get_scale())
        scaler.unscale_(optimizer)
        give(plain, step)
        for side in (optimizer, plain):
            torch.nn.utils.clip_grad_norm_(params_of(side), 0.5)
        if step == 2:
            gradients(optimizer)[0].view(-1)[0] = math.nan  # after the search: not seen by the scaler
            gradients(plain)[0].view(-1)[0] = math.nan
        scaler.step(optimizer)
        scaler.update()
        plain.step()
        assert_same(optimizer, plain, f"after update {step}")
        assert_same_bits(gradients(optimizer), gradients(plain), "gradient")
    assert scaler.get_scale() == 2.0**10
    assert optimizer.step_count == (3 if own else 4)


def test_an_overflow_that_unscale_finds() -> None:
    optimizer, scaler = fastlr.SGD(native()[:4], lr=FALLING, momentum=0.9), scaler_of(8.0)
    before = copied(optimizer)
    give(optimizer, 0, math.inf)
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match=r"unscale_\(\) has already been called"):
        scaler.unscale_(optimizer)
    for grad in gradients(optimizer):
        grad.zero_()
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"step\(\) has already been called"):
        scaler.step(optimizer)
    scaler.update()
    assert_same_bits(copied(optimizer)[0], before[0])
    assert not optimizer.state
    assert (optimizer.step_count, scaler.get_scale()) == (0, 4.0)


@pytest.mark.parametrize("kind", PARAMETERS)
def test_zeroing_keeps_the_gradients_memory_also_where_a_step_is_skipped(kind: str) -> None:
    optimizer, scaler = make("SGD", kind, zero_grad_in_step=True), scaler_of(2.0)
    for factor in (math.nan, 1.0, math.inf, 1.0):
        give(optimizer, 0, factor)
        held = gradients(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert all(now is grad for now, grad in zip(gradients(optimizer), held, strict=True))
        assert_same_bits(held, [torch.zeros_like(grad) for grad in held])
    assert optimizer.step_count == 2


def test_one_scaler_for_two_optimizers() -> None:
    """Each skips what it has found itself; the scale backs off for both."""
    first, second = make("AdamW", "both"), make("Lion", "both")
    scaler = scaler_of(16.0)
    give(first, 0, math.inf)
    give(second, 0, 16.0)
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert (first.step_count, second.step_count, scaler.get_scale()) == (0, 1, 8.0)
    assert not first.state


def test_the_product_of_the_caller_s_scale_and_the_scaler_s() -> None:
    weight = torch.zeros(1)
    optimizer, scaler = fastlr.SGD([weight], lr=1.0), scaler_of(2.0)
    weight.grad = torch.tensor([8.0])
    optimizer.grad_scale = torch.tensor(4.0)  # type: ignore[attr-defined]
    scaler.step(optimizer)
    assert weight.tolist() == [-1.0]
    assert not optimizer.__dict__.keys() & {"grad_scale", "found_inf"}


def test_without_gradients_there_is_nothing_to_skip() -> None:
    optimizer, scaler = fastlr.SGD([torch.zeros(3)], lr=FALLING, max_grad_norm=1.0), scaler_of(2.0)
    scaler.step(optimizer)
    assert (optimizer.step_count, optimizer.grad_norm) == (1, 0.0)


def test_closures_are_refused_as_for_torch_s_optimizers() -> None:
    optimizer, scaler = make("SGD", "both"), scaler_of(2.0)
    give(optimizer, 0, 2.0)
    before = copied(optimizer)
    with pytest.raises(RuntimeError, match="Closure use is not currently supported"):
        scaler.step(optimizer, closure=lambda: 1.0)
    assert_same_bits(copied(optimizer)[0], before[0])


def test_a_scaler_that_is_not_enabled() -> None:
    optimizer, plain = make("AdamW", "both"), make("AdamW", "both")
    scaler = GradScaler("cpu", enabled=False)
    for side in (optimizer, plain):
        give(side, 0)
    assert scaler.step(optimizer, closure=lambda: 7.0) == 7.0
    plain.step()
    assert_same(optimizer, plain, "after the update")


def test_hooks_see_skipped_steps_as_those_of_torch_s_fused_optimizers_do() -> None:
    seen = []
    for build in (fastlr.SGD, lambda params, lr: torch.optim.SGD(params, lr=lr, fused=True)):
        calls: list[str] = []
        weight = torch.zeros(1)
        optimizer, scaler = build([weight], lr=1.0), scaler_of(2.0)
        optimizer.register_step_pre_hook(lambda *_, calls=calls: calls.append("before"))
        optimizer.register_step_post_hook(lambda *_, calls=calls: calls.append("after"))
        for value in (math.inf, 1.0):
            weight.grad = torch.tensor([value])
            scaler.step(optimizer)
            scaler.update()
        seen.append(calls)
    assert seen == [["before", "after"] * 2] * 2
