"""Parameters, gradients and comparisons shared by the tests of torch.amp.GradScaler."""

from collections.abc import Callable
from typing import Any

import torch
from adam_cases import params_of, states
from recipe_cases import CLASSES, FALLING, RATES
from sgd_cases import assert_same_bits, filled, gradient_like
from torch import Tensor
from torch.amp import GradScaler

Options = dict[str, Any]


def native() -> list[Tensor]:
    kinds = [("31", torch.float32), ("transposed", torch.float64), ("257", torch.bfloat16), ("0", torch.float32)]
    return [filled(layout, dtype, i) for i, (layout, dtype) in enumerate([*kinds, ("matrix", torch.float16)])]


def left_to_torch() -> list[Tensor]:
    wide = [filled("matrix", dtype, 7 + i).detach() for i, dtype in enumerate((torch.float32, torch.float64))]
    return [torch.nn.Parameter(tensor[:, :5]) for tensor in wide]


PARAMETERS: dict[str, Callable[[], list[Tensor]]] = {
    "native": native,
    "left to torch": left_to_torch,
    "both": lambda: [*left_to_torch(), *native()],
}


def make(rule: str, kind: str, **own: Any) -> Any:
    """The optimizer of all of a kind but the last parameter, which has a group of its own."""
    *first, last = PARAMETERS[kind]()
    groups = [{"params": first}, {"params": [last], "lr_scale": 0.5}]
    return CLASSES[rule](groups, **{**RATES[rule][0], "lr": FALLING, **own})


def scaler_of(scale: float, **options: Any) -> GradScaler:
    scaler = GradScaler("cpu", init_scale=scale, **options)
    scaler.scale(torch.zeros(()))  # which the loss is passed through
    return scaler


def give(optimizer: Any, step: int, scale: float = 1.0) -> list[Tensor]:
    """Gradients of a step, of a loss that is multiplied by a power of two: exact. Returns copies."""
    for index, param in enumerate(params_of(optimizer)):
        param.grad = gradient_like(param, 100 * index + step) * scale
    return [param.grad.clone() for param in params_of(optimizer) if param.grad is not None]


def gradients(optimizer: Any) -> list[Tensor]:
    return [param.grad for param in params_of(optimizer) if param.grad is not None]


def assert_same(ours: Any, theirs: Any, where: str) -> None:
    assert_same_bits(params_of(ours), params_of(theirs), f"parameter {where}")
    for own, other in zip(states(ours), states(theirs), strict=True):
        assert own.keys() == other.keys()
        assert_same_bits(own.values(), other.values(), f"state {where}")


def entries(optimizer: Any) -> list[Options]:
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
