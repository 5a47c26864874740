"""Lion, in one native pass that follows schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.optim.optimizer import ParamsT

from fastlr.optim import arguments, groups, recipe
from fastlr.optim.scheduled import Left, ScheduledOptimizer
from fastlr.schedules import Schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastlr.optim.recipe import RecipeOptions


class Lion(ScheduledOptimizer):
    r"""Lion: the sign of an average of the gradients, with decoupled weight decay.

    With :math:`g` the gradient (negated for ``maximize``), :math:`p` the parameter, t the updates done before, and 0 as
    the first m::

        c = beta1(t) * m + (1 - beta1(t)) * g
        p = p * (1 - lr(t) * weight_decay(t)) - lr(t) * sign(c)        (sign of 0 is 0, of NaN it is NaN)
        m = beta2(t) * m + (1 - beta2(t)) * g

    Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, https://arxiv.org/abs/2302.06675, algorithm
    2; torch has no Lion. The results are the bits of torch's operators, one after another. 16-bit parameters are
    computed in float32 and rounded once. A complex number is two real ones.

    Every element moves by the rate: one of a tenth of AdamW's, with ten times its weight decay, is usual.

    Args:
        params: Parameters, named parameters, or dicts of groups.
        lr: A float >= 0, a tensor of 1 element, or a schedule of the number of updates done. Per group as well;
            ``lr_scale`` in a group multiplies its schedule.
        betas: Two floats in [0, 1), or schedules of such. In a group they stand as floats, and their schedules as
            ``beta1_schedule`` and ``beta2_schedule``.
        weight_decay: A float >= 0 or a schedule. The decay of an update is ``lr * weight_decay``.
        maximize: Ascend instead.
        foreach: Accepted because torch's optimizers have it; it changes nothing.
        differentiable: Have autograd follow the step; torch's operators then do all of it.
        **recipe_options: Clipping, averaging, precision and zeroing in the same pass: `fastlr.optim.RecipeOptions`.

    Raises:
        ValueError: A hyper-parameter is negative, not finite, or a schedule that goes below 0; a beta that reaches 1;
            no parameters.
        RuntimeError: From ``step()``: a sparse gradient.
        TypeError: ``params`` is not an iterable of tensors or dicts.

    >>> weight = torch.nn.Parameter(torch.zeros(3))
    >>> optimizer = Lion([weight], lr=0.25)
    >>> weight.grad = torch.tensor([1e-9, 0.0, -7.0])
    >>> optimizer.step()
    >>> weight.tolist()
    [-0.25, 0.0, 0.25]
    """

    rule: ClassVar[str] = "lion"
    scheduled: ClassVar[tuple[str, ...]] = ("lr", "beta1", "beta2", "weight_decay")

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor | Schedule = 1e-4,
        betas: tuple[float | Schedule, float | Schedule] = (0.9, 0.99),
        weight_decay: float | Schedule = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        **recipe_options: Unpack[RecipeOptions],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            **recipe.defaults(recipe_options),
        }
        self._check_numbers(defaults)
        super().__init__(params, {**defaults, "betas": tuple(betas)})

    def __setstate__(self, state: dict[str, Any]) -> None:
        for group in state.get("param_groups", ()):
            group.setdefault("maximize", False)
            group.setdefault("foreach", None)
            group.setdefault("differentiable", False)
            if isinstance(group.get("betas"), list):  # what some formats make of a tuple
                group["betas"] = tuple(group["betas"])
        super().__setstate__(state)

    def _check_numbers(self, values: dict[str, Any]) -> None:
        arguments.check_rate_tensor(values["lr"])
        groups.check_number("lr", values["lr"], "learning rate")
        arguments.check_betas(values)
        groups.check_number("weight_decay", values["weight_decay"], "weight_decay value")
        groups.check_own({**groups.OWN_DEFAULTS, **values})
        recipe.check(values)

    def _check_group(self, group: dict[str, Any]) -> None:
        self._check_numbers({**group, **groups.followed(group, self.all_scheduled)})

    def _create_state(self, with_grad: list[tuple[dict[str, Any], torch.Tensor]]) -> None:
        for group, param in with_grad:
            self._average(group, param)

    def _average(self, group: dict[str, Any], param: torch.Tensor) -> torch.Tensor:
        """The average in the parameter's state, zeros at first."""
        state = self.state[param]
        if "exp_avg" not in state:
            state["exp_avg"] = recipe.new_state(param, group, read=True)
        average: torch.Tensor = state["exp_avg"]
        return average

    def _fallback(self, left: Left) -> None:
        for _, _, params in left:
            for param in params:
                if param.grad.is_sparse:  # type: ignore[union-attr]
                    raise RuntimeError(
                        f"Lion does not support sparse gradients: one of shape {list(param.shape)}. "
                        "Make it dense, or give the parameter to fastlr.SGD or torch.optim.SparseAdam."
                    )
        for index, values, params in left:
            group = self.param_groups[index]
            used = arguments.in_use(group, values)
            for param in params:
                grad = -param.grad if group["maximize"] else param.grad  # type: ignore[operator]
                _update(*(_real(tensor) for tensor in (param, grad, self._average(group, param))), **used)  # type: ignore[arg-type]


def _update(
    param: torch.Tensor,
    grad: torch.Tensor,
    average: torch.Tensor,
    *,
    lr: float | torch.Tensor,
    beta1: float,
    beta2: float,
    weight_decay: float,
) -> None:
    """One update with torch's operators, in their order."""
    if weight_decay != 0:
        param.mul_(1 - lr * weight_decay)
    mixed = average.mul(beta1).add_(grad, alpha=1 - beta1)
    direction = torch.where(mixed.isnan(), mixed, mixed.sign())  # whose sign of NaN is 0
    if isinstance(lr, torch.Tensor):
        param.sub_(lr * direction)
    else:
        param.add_(direction, alpha=-lr)
    average.mul_(beta2).add_(grad, alpha=1 - beta2)


def _real(tensor: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor
