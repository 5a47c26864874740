"""The decay of timm's averaged weights."""

from __future__ import annotations

from fastlr.compat._pieces import joined, positive, share, whole
from fastlr.schedules import Constant, InverseTime, Schedule, maximum, minimum


def ema_decay(
    decay: float = 0.9999,
    *,
    warmup: bool = False,
    warmup_gamma: float = 1.0,
    warmup_power: float = 2 / 3,
    min_decay: float = 0.0,
    update_after_step: int = 0,
) -> Schedule:
    """The decay of ``timm.utils.ModelEmaV3``, for ``ema_decay=`` of an optimizer.

    Formula: with ``s = t - update_after_step``: 0 for ``s <= 0``, so that the average is a copy of the weights until
    then; after it decay or, with warmup, ``max(min(1 - (1 + s / warmup_gamma)**-warmup_power, decay), min_decay)``.

    timm's training script counts an update before it averages: ``get_decay(step)`` is the value at ``t = step - 1``,
    and 0 at the first update also with update_after_step 0. ``ModelEmaV3.update`` without a step takes decay at all
    of them: that is the number itself. As in timm, min_decay counts during a warm-up only, and there wins over decay.

    Args:
        warmup: timm's ``use_warmup``, ``--model-ema-warmup``.

    Raises ValueError for decays outside of [0, 1], a warmup_gamma or warmup_power that is not above 0, and an
    update_after_step below 0.

    >>> s = ema_decay(0.9998, warmup=True)
    >>> s(0), round(s(1), 4), round(s(999), 4), s(10**7)
    (0.0, 0.37, 0.99, 0.9998)
    """
    last, lowest = share("decay", decay), share("min_decay", min_decay)
    gamma, power = positive("warmup_gamma", warmup_gamma), positive("warmup_power", warmup_power)
    after: Schedule = Constant(last)
    if warmup:
        after = minimum(1.0 - InverseTime(1.0, 1.0 / gamma) ** power, last)
        after = (maximum(after, lowest) if lowest > 0.0 else after).shift(-1)
    copies = whole("update_after_step", update_after_step) + 1
    return joined([(copies, Constant(0.0, copies))], after)
