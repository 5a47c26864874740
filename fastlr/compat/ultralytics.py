"""What Ultralytics' trainer (8.4) follows. Its schedule has two clocks: epochs (decay) and batches (warm-up)."""

from __future__ import annotations

import math
from typing import Any

from fastlr.compat._pieces import positive, share, whole
from fastlr.schedules import Constant, Cosine, Exponential, Linear, Schedule, WithMomentum, checks

__all__ = ["ema_decay", "schedule"]


def schedule(
    lr0: float,
    lrf: float,
    epochs: int,
    steps_per_epoch: int,
    cos_lr: bool = False,
    warmup_epochs: float = 3.0,
    warmup_bias_lr: float = 0.1,
    warmup_momentum: float = 0.8,
    momentum: float = 0.937,
    bias: bool = False,
    minimum_warmup: int | None = None,
) -> WithMomentum:
    """Rate and momentum of one parameter group; ``bias=True`` is that of the biases. Steps count batches.

    Formula: with ``e = floor(t / steps_per_epoch)``, ``D = lr0 * (1 - (1 - lrf) * e / epochs)``, or its cosine with
    cos_lr, and ``u = min(t / nw, 1)``: ``D * u + w * (1 - u)``, where w is warmup_bias_lr for biases and 0 for others;
    momentum ``warmup_momentum * (1 - u) + momentum * u``. The warm-up takes
    ``nw = round(min(warmup_epochs, epochs - 1) * steps_per_epoch)`` batches.

    Args:
        minimum_warmup: The rule of earlier releases, ``nw = max(round(warmup_epochs * steps_per_epoch), 100)`` where
            warmup_epochs is above 0, is ``minimum_warmup=100``.

    Raises ValueError for epochs or steps_per_epoch below 1 and numbers that are not finite.

    >>> s = schedule(0.01, 0.01, epochs=100, steps_per_epoch=10)
    >>> s(0), round(s(30), 6), s.momentum(0), s.momentum(30)
    (0.0, 0.009703, 0.8, 0.937)
    """
    total, steps = whole("epochs", epochs, 1), whole("steps_per_epoch", steps_per_epoch, 1)
    rate, last = checks.real("lr0", lr0), checks.real("lrf", lrf)
    shape: Any = Cosine if cos_lr else Linear
    decay: Schedule = shape(rate, rate * last, total).per_epoch(steps)
    epochs_warm = max(checks.real("warmup_epochs", warmup_epochs), 0.0)
    if minimum_warmup is None:
        count = round(min(epochs_warm, total - 1) * steps)
    else:
        batches = round(checks.real("warmup_epochs * steps_per_epoch", epochs_warm * steps))
        count = max(batches, whole("minimum_warmup", minimum_warmup)) if epochs_warm else 0
    if count == 0:
        return WithMomentum(decay, Constant(momentum))
    warm = decay * Linear(0.0, 1.0, count)
    if bias:
        warm = warm + Linear(warmup_bias_lr, 0.0, count)
    return WithMomentum(warm, Linear(warmup_momentum, momentum, count))


def ema_decay(decay: float = 0.9999, tau: float = 2000.0) -> Schedule:
    """The decay of Ultralytics' ``ModelEMA``, for ``ema_decay=`` of an optimizer. Steps count updates, not batches.

    Formula: ``decay * (1 - exp(-(t + 1) / tau))``: the class counts an update before it averages.

    Its trainer averages, and counts, also after an update that a gradient scaler skipped; fastlr's optimizers do
    neither then.

    Raises ValueError for a decay outside of [0, 1] and a tau that is not above 0.

    >>> s = ema_decay()
    >>> round(s(0), 6), round(s(1999), 6), round(s(10**6), 6)
    (0.0005, 0.632057, 0.9999)
    """
    falling = Exponential(1.0, math.exp(-1.0), positive("tau", tau)).shift(-1)
    return share("decay", decay) * (1.0 - falling)
