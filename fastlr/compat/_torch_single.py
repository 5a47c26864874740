"""torch's schedulers that stand alone."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterable
from typing import Any

from fastlr.compat._pieces import listed, option, positive, sampled, share, table, tabulable, wave, whole
from fastlr.schedules import (
    Constant,
    CosineRestarts,
    Cyclic,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Polynomial,
    ReduceOnPlateau,
    Schedule,
    Step,
    Table,
    WithMomentum,
    checks,
)


def LambdaLR(base_lr: float, lr_lambda: Callable[[int], float], steps: int) -> Schedule:
    """``base_lr * lr_lambda(t)`` for so many steps, after which the last value holds.

    The function is called here, once for each step, and is no part of the schedule.

    >>> s = LambdaLR(0.5, lambda t: 1 / (t + 1), steps=3)
    >>> s(0), s(1), s.length
    (0.5, 0.25, 3)
    """
    return table(checks.real("base_lr", base_lr), sampled("lr_lambda", lr_lambda, steps))


def MultiplicativeLR(base_lr: float, lr_lambda: Callable[[int], float], steps: int) -> Schedule:
    """``base_lr * lr_lambda(1) * ... * lr_lambda(t)`` for so many steps, after which the last value holds.

    >>> s = MultiplicativeLR(1.0, lambda t: 0.5, steps=4)
    >>> [s(t) for t in (0, 1, 3, 9)]
    [1.0, 0.5, 0.125, 0.125]
    """
    count = tabulable("steps", steps)
    later = sampled("lr_lambda", lr_lambda, count - 1, first=1) if count > 1 else []
    return Table(tuple(itertools.accumulate(later, operator.mul, initial=checks.real("base_lr", base_lr))))


def StepLR(base_lr: float, step_size: int, gamma: float = 0.1) -> Schedule:
    """``base_lr * gamma**floor(t / step_size)``.

    >>> StepLR(0.1, step_size=30)
    Step(start=0.1, step_size=30, gamma=0.1)
    """
    size = whole("step_size", step_size, 1)
    return Piecewise((size,), (base_lr, 0.0)) if gamma == 0 else Step(base_lr, size, gamma)


def MultiStepLR(base_lr: float, milestones: Iterable[int], gamma: float = 0.1) -> Schedule:
    """``base_lr * gamma**(number of milestones <= t)``. Milestones may come in any order and more than once.

    >>> MultiStepLR(0.1, milestones=[80, 30])
    MultiStep(start=0.1, milestones=(30, 80), gamma=0.1)
    """
    steps = sorted(whole("milestone", one) for one in listed("milestones", milestones))
    at_start = steps.count(0)
    base, factor = checks.real("base_lr", base_lr), checks.real("gamma", gamma)
    start = checks.powered("MultiStepLR at step 0", base, factor, at_start)
    if gamma == 0 and len(steps) > at_start:
        return Piecewise((steps[at_start],), (start, 0.0))
    return MultiStep(start, tuple(steps[at_start:]), gamma) if len(steps) > at_start else Constant(start)


def ConstantLR(base_lr: float, factor: float = 1.0 / 3, total_iters: int = 5) -> Schedule:
    """``base_lr * factor`` for total_iters steps, then base_lr.

    Raises ValueError for a factor that is not between 0 and 1.

    >>> ConstantLR(0.5, factor=0.5, total_iters=3)
    Constant(value=0.25, length=3) >> Constant(value=0.5)
    """
    steps, base = whole("total_iters", total_iters), checks.real("base_lr", base_lr)
    reduced = base * share("factor", factor)
    return Constant(reduced, steps) >> Constant(base) if steps else Constant(base)


def LinearLR(base_lr: float, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5) -> Schedule:
    """A line from ``base_lr * start_factor`` to ``base_lr * end_factor``, reached at ``t = total_iters``.

    Raises ValueError for a start_factor that is not above 0 and at most 1, or an end_factor outside 0 to 1.

    >>> LinearLR(1.0, start_factor=0.25, total_iters=10)
    Linear(start=0.25, end=1.0, length=10)
    """
    base, steps = checks.real("base_lr", base_lr), whole("total_iters", total_iters)
    start = base * share("start_factor", positive("start_factor", start_factor))
    end = base * share("end_factor", end_factor)
    return Linear(start, end, steps) if steps else Constant(end)


def ExponentialLR(base_lr: float, gamma: float) -> Schedule:
    """``base_lr * gamma**t``.

    >>> ExponentialLR(0.1, gamma=0.9)
    Exponential(start=0.1, gamma=0.9)
    """
    return Piecewise((1,), (base_lr, 0.0)) if gamma == 0 else Exponential(base_lr, gamma)


def PolynomialLR(base_lr: float, total_iters: int = 5, power: float = 1.0) -> Schedule:
    """``base_lr * (1 - t / total_iters)**power``, 0 from total_iters on; with total_iters 0 base_lr stays, as in torch.

    >>> PolynomialLR(0.1, total_iters=100, power=2.0)
    Polynomial(start=0.1, end=0.0, length=100, power=2.0)
    """
    steps = whole("total_iters", total_iters)
    return Constant(base_lr) if steps == 0 or power == 0 else Polynomial(base_lr, 0.0, steps, power)


def CosineAnnealingLR(base_lr: float, T_max: int, eta_min: float = 0.0) -> Schedule:
    """``eta_min + (base_lr - eta_min) * (1 + cos(pi * t / T_max)) / 2``, which rises again past T_max.

    `fastlr.schedules.Cosine` is the one that holds its end.

    >>> s = CosineAnnealingLR(1.0, T_max=4)
    >>> [round(s(t), 12) for t in (0, 2, 4, 6, 8)]
    [1.0, 0.5, 0.0, 0.5, 1.0]
    """
    return wave(base_lr, eta_min, positive("T_max", T_max))


def CosineAnnealingWarmRestarts(base_lr: float, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> Schedule:
    """Half cosines of ``T_0 * T_mult**i`` steps, each from base_lr to eta_min.

    >>> s = CosineAnnealingWarmRestarts(1.0, T_0=5, T_mult=3)
    >>> s(0), s(5), s(20), s(605)
    (1.0, 1.0, 1.0, 1.0)
    """
    return CosineRestarts(base_lr, eta_min, whole("T_0", T_0, 1), growth=whole("T_mult", T_mult, 1))


def CyclicLR(
    base_lr: float,
    max_lr: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: str = "triangular",
    gamma: float = 1.0,
    scale_fn: Callable[[float], float] | None = None,
    scale_mode: str = "cycle",
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
    steps: int | None = None,
) -> Schedule:
    """Lines between base_lr and max_lr, whose height may shrink; ``.momentum`` is the momentum that cycles inversely.

    As in torch, scale_mode counts only with a scale_fn, and then mode does not. A scale_fn is called here, for every
    cycle or step up to `steps`, after which its last value holds. cycle_momentum has no effect: `.momentum` is there.

    Raises ValueError for another mode and for a scale_fn without `steps`.

    >>> s = CyclicLR(0.0, 1.0, step_size_up=2, step_size_down=4)
    >>> [s(t) for t in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    >>> round(s.momentum(2), 12)
    0.8
    """
    up = whole("step_size_up", step_size_up, 1)
    down = up if step_size_down is None else whole("step_size_down", step_size_down, 1)
    if scale_fn is None:
        return Cyclic(base_lr, max_lr, up, down, mode, gamma, None, base_momentum, max_momentum)
    if steps is None:
        raise ValueError(f"A scale_fn has no formula: {scale_fn!r}. Give steps, for which it is tabulated.")
    count = tabulable("steps", steps)
    if option("scale_mode", scale_mode, ("cycle", "iterations")) == "cycle":
        cycles = -(-count // (up + down))
        scale: Schedule = table(1.0, sampled("scale_fn", scale_fn, cycles, first=1)).per_epoch(up + down)
    else:
        scale = table(1.0, sampled("scale_fn", scale_fn, count))
    height = Cyclic(0.0, 1.0, up, down) * scale
    low, high = checks.real("base_lr", base_lr), checks.real("max_lr", max_lr)
    least, most = checks.real("base_momentum", base_momentum), checks.real("max_momentum", max_momentum)
    return WithMomentum(height * (high - low) + low, height * (least - most) + most)


def OneCycleLR(
    max_lr: float,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: str = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> OneCycle:
    """Up to max_lr and far down; ``.momentum`` is the momentum that cycles inversely, whatever cycle_momentum says.

    Raises ValueError without total_steps or both epochs and steps_per_epoch, and for what `OneCycle` refuses.

    >>> s = OneCycleLR(1.0, epochs=5, steps_per_epoch=2)
    >>> round(s(0), 12), s(2), s.momentum(2), s.length
    (0.04, 1.0, 0.85, 10)
    """
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError("No length: total_steps=None. Give it, or both epochs and steps_per_epoch.")
        total_steps = whole("epochs", epochs, 1) * whole("steps_per_epoch", steps_per_epoch, 1)
    return OneCycle(
        max_lr,
        whole("total_steps", total_steps, 1),
        pct_start,
        anneal_strategy,
        base_momentum,
        max_momentum,
        div_factor,
        final_div_factor,
        bool(three_phase),
    )


def ReduceLROnPlateau(base_lr: float, mode: str = "min", factor: float = 0.1, **options: Any) -> ReduceOnPlateau:
    """`fastlr.ReduceOnPlateau` with torch's arguments: patience, threshold, threshold_mode, cooldown, min_lr and eps.

    The metric goes to ``optimizer.report(loss)``.

    >>> ReduceLROnPlateau(0.1, patience=3)(0)
    0.1
    """
    return ReduceOnPlateau(Constant(base_lr), mode=mode, factor=factor, **options)


BUILDERS: dict[str, Callable[..., Schedule]] = {
    function.__name__: function
    for function in (
        LambdaLR,
        MultiplicativeLR,
        StepLR,
        MultiStepLR,
        ConstantLR,
        LinearLR,
        ExponentialLR,
        PolynomialLR,
        CosineAnnealingLR,
        CosineAnnealingWarmRestarts,
        CyclicLR,
        OneCycleLR,
    )
}
