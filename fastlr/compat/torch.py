"""torch's schedulers (2.13), with the base rate in the optimizer's place.

The values are those of ``step()`` without an epoch, one step an update. torch computes most of them from the rate of
the step before; these have the formula that it follows, whose rounding does not add up.

Where torch goes astray, this is what is given:

- ``ConstantLR(factor=0)`` and ``LinearLR(total_iters=0)``, where torch divides by 0 or stays at the start factor: the
  formula, 0 up to total_iters and base_lr after it, or end_factor at once.
- ``OneCycleLR``: the last value holds past total_steps, where torch's rate rebounds; a phase without a step is left
  out, where torch divides by 0; three_phase with pct_start above 0.5, after which torch ends far too high, is refused.
- ``SequentialLR``: every scheduler has base_lr for its base, also beside a ``OneCycleLR``, which changes the others'
  base in torch. A composite inside it begins at its first step; torch lets one that comes first begin or hand over a
  step early, and raises for one that comes later.
- ``ChainedScheduler``: a ``CyclicLR`` that is not the first begins at its own base_lr, in torch at the optimizer's.
- ``CosineAnnealingWarmRestarts``: counted, so it is exact where ``step(epoch)`` takes a logarithm and is late.
"""

from fastlr.compat._torch_composite import ChainedScheduler, SequentialLR
from fastlr.compat._torch_single import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    StepLR,
)

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
