"""torch's Adam and AdamW, operator after operator, with correctly rounded square roots and powers: the standard.

On x86 torch takes square roots from a library that is 1 ulp off in a sixth of all float32 values. Powers are those of
the C library, which is almost always right.
"""

from typing import Any

import numpy as np
import torch
from adam_reference import power
from torch.overrides import TorchFunctionMode


class ExactRoots(TorchFunctionMode):
    """Tensor.sqrt rounds once."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.sqrt and type(args[0]) is torch.Tensor and not args[0].requires_grad:
            return torch.from_numpy(np.asarray(np.sqrt(args[0].numpy())))
        return func(*args, **(kwargs or {}))


class ExactBeta(float):
    """A float whose powers, and the square roots of what they leave of 1, round once."""

    def __pow__(self, exponent: Any, modulus: Any = None) -> "ExactBeta":
        return ExactBeta(power(float(self), exponent))

    def __rsub__(self, other: float) -> "ExactBeta":
        return ExactBeta(other - float(self))


class _Exact(torch.optim.Optimizer):
    def step(self, closure: Any = None) -> Any:
        given = [group["betas"] for group in self.param_groups]
        for group in self.param_groups:
            group["betas"] = tuple(ExactBeta(beta) if isinstance(beta, float) else beta for beta in group["betas"])
        try:
            with ExactRoots():
                return super().step(closure)
        finally:
            for group, betas in zip(self.param_groups, given, strict=True):
                group["betas"] = betas


class StandardAdam(_Exact, torch.optim.Adam):
    pass


class StandardAdamW(_Exact, torch.optim.AdamW):
    pass


def torch_adam(params: Any, **options: Any) -> StandardAdam:
    return StandardAdam(params, **{"foreach": False, "fused": False, **options})


def torch_adamw(params: Any, **options: Any) -> StandardAdamW:
    return StandardAdamW(params, **{"foreach": False, "fused": False, **options})
