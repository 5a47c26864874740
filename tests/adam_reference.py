"""Naive Adam, AdamW and Lion updates in NumPy, used as oracles. They share no code with the library or torch's kernels.

Each operation is rounded once and fused multiply-adds are computed exactly, so the results are defined by IEEE 754.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import torch
from sgd_reference import Array, fma, widen

State = dict[str, Array]


@dataclass(frozen=True)
class Hyper:
    """The scalars of one update, in float64 as the user gives them."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    maximize: bool = False
    decoupled_weight_decay: bool = False


def power(base: float, exponent: float) -> float:
    """base^exponent, rounded once."""
    with mpmath.workprec(400):
        return float(mpmath.mpf(base) ** exponent)


@np.errstate(all="ignore")
def adam(hyper: Hyper, param: Array, grad: Array, state: State, count: int) -> tuple[Array, State]:
    """Update number `count` (from 1) of a parameter in float32 or float64; what the state lacks is 0."""
    scalar = param.dtype.type
    beta1, beta2 = hyper.betas
    x = -grad if hyper.maximize else grad
    if hyper.weight_decay != 0 and hyper.decoupled_weight_decay:
        param = param * scalar(1 - hyper.lr * hyper.weight_decay)
    elif hyper.weight_decay != 0:
        x = fma(param, scalar(hyper.weight_decay), x)
    m, v, w = (state.get(name, np.zeros_like(param)) for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"))
    weight = scalar(1 - beta1)
    m = fma(x - m, weight, m) if weight < 0.5 else fma(x - m, weight - scalar(1), x)
    v = fma(scalar(1 - beta2) * x, x, scalar(beta2) * v)
    new = {"exp_avg": m, "exp_avg_sq": v}
    if hyper.amsgrad:
        new["max_exp_avg_sq"] = v = np.maximum(w, v)
    step_size = scalar(-(hyper.lr / (1 - power(beta1, count))))
    root = scalar(power(1 - power(beta2, count), 0.5))
    return param + step_size * m / (np.sqrt(v) / root + scalar(hyper.eps)), {**state, **new}


@np.errstate(all="ignore")
def lion(hyper: Hyper, param: Array, grad: Array, state: State, count: int) -> tuple[Array, State]:
    """As adam(); the count is not used."""
    m = state.get("exp_avg", np.zeros_like(param))
    x = -grad if hyper.maximize else grad
    scalar, (beta1, beta2) = param.dtype.type, hyper.betas
    if hyper.weight_decay != 0:
        param = param * scalar(1 - hyper.lr * hyper.weight_decay)
    direction = np.sign(fma(x, scalar(1 - beta1), scalar(beta1) * m))
    return fma(direction, scalar(-hyper.lr), param), {"exp_avg": fma(x, scalar(1 - beta2), scalar(beta2) * m)}


Update = Callable[[Hyper, Array, Array, State, int], tuple[Array, State]]


class Oracle:
    """Parameters beside an optimizer's, of any floating type; 16-bit ones are computed in float32 and rounded once."""

    def __init__(self, update: Update, params: list[torch.Tensor], hyper: Hyper) -> None:
        self.update, self.hyper = update, hyper
        self.params = [p.detach().clone() for p in params]
        self.states: list[dict[str, torch.Tensor]] = [{} for _ in params]
        self.counts = [0] * len(params)

    def step(self, grads: list[torch.Tensor | None]) -> None:
        for index, grad in enumerate(grads):
            if grad is not None:
                self.counts[index] += 1
                self._advance(index, grad)

    def _advance(self, index: int, grad: torch.Tensor) -> None:
        param = self.params[index]
        read = widen if param.element_size() == 2 else lambda tensor: tensor.numpy()
        state = {name: read(tensor) for name, tensor in self.states[index].items()}
        new, state = self.update(self.hyper, read(param), read(grad), state, self.counts[index])
        self.params[index] = rounded(new, param)
        self.states[index] = {name: rounded(array, param) for name, array in state.items()}


def rounded(values: Any, like: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values)).to(like.dtype)
