"""Stochastic gradient descent, as torch.optim.SGD, in one native pass that follows a schedule."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.optim.optimizer import ParamsT
from torch.optim.sgd import sgd as torch_sgd

from fastlr.optim import arguments, groups, recipe
from fastlr.optim.scheduled import Left, ScheduledOptimizer
from fastlr.schedules import Schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastlr.optim.recipe import RecipeOptions


class SGD(ScheduledOptimizer):
    r"""Stochastic gradient descent, optionally with momentum.

    With :math:`g` the gradient (negated for ``maximize``), :math:`p` the parameter, :math:`\lambda` weight decay,
    :math:`\mu` momentum, :math:`\tau` dampening and :math:`\gamma_t` the rate of update t (t = updates done before)::

        x = g + weight_decay * p                       (g with decoupled_weight_decay)
        b = x at a parameter's first update, else momentum * b + (1 - dampening) * x
        x = x + momentum * b if nesterov, else b       (x as it is without momentum)
        p = p - lr(t) * x

    Source: torch.optim.SGD, whose arguments, defaults, errors and state these are; in float32 and float64 the results
    are the bits of its ``foreach=False, fused=False``. 16-bit parameters are computed in float32 and rounded once.

    Args:
        params: Parameters, named parameters, or dicts of groups.
        lr: A float >= 0, a tensor of 1 element, or a schedule of the number of updates done. Per group as well;
            ``lr_scale`` in a group multiplies its schedule.
        momentum: A float >= 0 or a schedule.
        dampening: Weight taken from the gradient once there is a buffer.
        weight_decay: L2 penalty, a float >= 0, a tensor, or a schedule.
        nesterov: Nesterov momentum; needs momentum and no dampening.
        maximize: Ascend instead.
        foreach: Accepted for torch's sake; it says how torch's operators go through what the core does not take.
        differentiable: Have autograd follow the step; torch's operators then do all of it.
        fused: Accepted for torch's sake; True refuses what only torch's operators could update.
        decoupled_weight_decay: Decay as `fastlr.AdamW` does: ``weight_decay`` is no part of x, and instead p is
            multiplied by ``1 - lr(t) * weight_decay`` before its update. That is timm's SGDW.
        **recipe_options: Clipping, averaging, precision and zeroing in the same pass: `fastlr.optim.RecipeOptions`.

    Raises:
        ValueError: A hyper-parameter is negative, not finite, or a schedule that goes below 0; nesterov without
            momentum; no parameters.
        RuntimeError: ``fused`` together with ``foreach`` or ``differentiable``.
        TypeError: ``params`` is not an iterable of tensors or dicts.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = SGD([weight], lr=0.5)
    >>> weight.grad = torch.ones(2)
    >>> optimizer.step()
    >>> weight.tolist(), optimizer.step_count
    ([0.5, 0.5], 1)
    """

    rule: ClassVar[str] = "sgd"
    scheduled: ClassVar[tuple[str, ...]] = ("lr", "momentum", "weight_decay")

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor | Schedule = 1e-3,
        momentum: float | Schedule = 0,
        dampening: float = 0,
        weight_decay: float | torch.Tensor | Schedule = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        **recipe_options: Unpack[RecipeOptions],
    ) -> None:
        arguments.check_rate_tensor(lr)
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
            **recipe.defaults(recipe_options),
        }
        self._check_values(defaults)
        arguments.check_exclusive(fused, foreach, differentiable)
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        present: list[dict[str, Any]] = self.__dict__.get("param_groups", [])
        for index, group in enumerate(state.get("param_groups", ())):
            own = present[index] if index < len(present) else {}
            for name, default in _TORCH_DEFAULTS.items():
                # What torch's state does not say stays as it is.
                group.setdefault(name, own.get(name, False) if name == "decoupled_weight_decay" else default)
        super().__setstate__(state)

    def _check_numbers(self, values: dict[str, Any]) -> None:
        groups.check_number("lr", values["lr"], "learning rate")
        groups.check_number("momentum", values["momentum"], "momentum value")
        groups.check_number("weight_decay", values["weight_decay"], "weight_decay value")
        if not math.isfinite(values["dampening"]):
            raise ValueError(f"Invalid dampening: {values['dampening']}. Give a finite number.")
        groups.check_own({**groups.OWN_DEFAULTS, **values})
        recipe.check(values)

    def _check_values(self, values: dict[str, Any]) -> None:
        self._check_numbers(values)
        momentum, dampening = values["momentum"], values["dampening"]
        highest = momentum.peak if isinstance(momentum, Schedule) else momentum
        if values["nesterov"] and (highest <= 0 or dampening != 0):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening: "
                f"momentum {momentum!r}, dampening {dampening}. Give momentum > 0 and dampening=0."
            )

    def _check_group(self, group: dict[str, Any]) -> None:
        self._check_values({**group, **groups.followed(group, self.all_scheduled)})

    def _create_state(self, with_grad: list[tuple[dict[str, Any], torch.Tensor]]) -> None:
        for group, param in with_grad:
            if group["momentum"] != 0:
                self.state[param]["momentum_buffer"] = recipe.new_state(param, group, read=True)

    def _fallback(self, left: Left) -> None:
        for index, _, params in left:
            if self.param_groups[index]["fused"]:
                arguments.check_fused(params)
        for index, values, params in left:
            group = self.param_groups[index]
            used = arguments.in_use(group, values)
            if group["decoupled_weight_decay"]:
                _decay(params, used["lr"], used["weight_decay"])
                used["weight_decay"] = 0
            buffers = [self._buffer(param) for param in params]
            torch_sgd(
                params,
                [param.grad for param in params],  # type: ignore[misc]
                buffers,
                has_sparse_grad=any(param.grad.is_sparse for param in params),  # type: ignore[union-attr]
                foreach=False if group["differentiable"] else group["foreach"],
                fused=False if group["differentiable"] or group["foreach"] is not None else None,
                **used,
                dampening=group["dampening"],
                nesterov=group["nesterov"],
                maximize=group["maximize"],
            )
            if values["momentum"] != 0:
                for param, buffer in zip(params, buffers, strict=True):
                    self.state[param]["momentum_buffer"] = buffer

    def _buffer(self, param: torch.Tensor) -> torch.Tensor | None:
        return None if param in self._unwritten else self.state.get(param, {}).get("momentum_buffer")


def _decay(params: list[torch.Tensor], lr: float | torch.Tensor, weight_decay: float | torch.Tensor) -> None:
    kept = 1 - lr * weight_decay
    kept = kept.reshape(()) if isinstance(kept, torch.Tensor) else kept
    for param in params if weight_decay != 0 else ():
        param.mul_(kept)


_TORCH_DEFAULTS: dict[str, Any] = {
    "nesterov": False,
    "maximize": False,
    "foreach": None,
    "differentiable": False,
    "fused": None,
    "decoupled_weight_decay": False,
}
