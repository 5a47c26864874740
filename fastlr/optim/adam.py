"""Adam and AdamW, as torch.optim's, in one native pass that follows schedules."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch.optim.adam import adam as torch_adam
from torch.optim.adamw import adamw as torch_adamw
from torch.optim.optimizer import ParamsT

from fastlr.optim import arguments, groups, recipe, recording
from fastlr.optim.scheduled import Left, ScheduledOptimizer
from fastlr.schedules import Schedule

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fastlr.optim.recipe import RecipeOptions

Beta = float | torch.Tensor | Schedule


class Adam(ScheduledOptimizer):
    r"""Adam: steps scaled by running averages of the gradient and of its square.

    With :math:`g` the gradient (negated for ``maximize``), :math:`p` the parameter, t the updates done before, n the
    updates of this parameter with this one, and 0 as the first m, v and w::

        x = g + weight_decay(t) * p                        (g with decoupled_weight_decay, which does instead
                                                            p = p * (1 - lr(t) * weight_decay(t)) )
        m = m + (1 - beta1(t)) * (x - m)
        v = beta2(t) * v + (1 - beta2(t)) * x * x
        w = max(w, v) if amsgrad, else v
        p = p - lr(t) / (1 - beta1(t)^n) * m / (sqrt(w) / sqrt(1 - beta2(t)^n) + eps)

    Source: torch.optim.Adam, whose arguments, defaults, errors and state (``step``, ``exp_avg`` m, ``exp_avg_sq`` v,
    ``max_exp_avg_sq`` w) these are. The averages have the bits of its ``foreach=False, fused=False``; so have the
    parameters but for square roots and powers, which are rounded right here: torch's on x86 are 1 ulp off at times,
    which moves a parameter by one rounding and 4 ulp of its change at most. 16-bit parameters are computed in float32
    and rounded once.

    Args:
        params: Parameters, named parameters, or dicts of groups.
        lr: A float >= 0, a tensor of 1 element, or a schedule of the number of updates done. Per group as well;
            ``lr_scale`` in a group multiplies its schedule.
        betas: Two floats in [0, 1), or two tensors of 1 element; in place of a float also a schedule of such. In a
            group they stand as floats, and their schedules as ``beta1_schedule`` and ``beta2_schedule``.
        eps: Added to the denominator, a float >= 0.
        weight_decay: L2 penalty, or the decay itself if decoupled: a float >= 0, a tensor, or a schedule.
        amsgrad: Divide by the largest v so far.
        foreach: Accepted for torch's sake; it says how torch's operators go through what the core does not take.
        maximize: Ascend instead.
        capturable: Accepted for torch's sake, as the core always is; it says where torch's operators keep ``step``.
        differentiable: Have autograd follow the step; torch's operators then do all of it.
        fused: Accepted for torch's sake; True refuses what only torch's operators could update.
        decoupled_weight_decay: Decay as AdamW does.
        **recipe_options: Clipping, averaging, precision and zeroing in the same pass: `fastlr.optim.RecipeOptions`.

    Raises:
        ValueError: A hyper-parameter is negative, not finite, or a schedule that goes below 0; a beta that reaches 1;
            tensors together with ``foreach`` and without ``capturable``; no parameters.
        RuntimeError: ``fused`` together with ``foreach`` or ``differentiable``. From ``step()``: a sparse gradient.
        TypeError: ``params`` is not an iterable of tensors or dicts.

    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = Adam([weight], lr=0.5, eps=0.0)
    >>> weight.grad = torch.tensor([3.0, -0.001])
    >>> optimizer.step()
    >>> weight.tolist(), float(optimizer.state[weight]["step"])
    ([0.5, 1.5], 1.0)
    """

    rule: ClassVar[str] = "adam"
    scheduled: ClassVar[tuple[str, ...]] = ("lr", "beta1", "beta2", "weight_decay")

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor | Schedule = 1e-3,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | torch.Tensor | Schedule = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        **recipe_options: Unpack[RecipeOptions],
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
            **recipe.defaults(recipe_options),
        }
        self._check_values(defaults)
        arguments.check_exclusive(fused, foreach, differentiable)
        super().__init__(params, {**defaults, "betas": tuple(_scalar(beta) for beta in betas)})

    def __setstate__(self, state: dict[str, Any]) -> None:
        for group in state.get("param_groups", ()):
            for name, default in _TORCH_DEFAULTS.items():
                group.setdefault(name, default)
            if isinstance(group.get("betas"), list):  # what some formats make of a tuple
                group["betas"] = tuple(group["betas"])
            for param in group["params"]:
                _make_step_a_tensor(state["state"].get(param, {}))
        super().__setstate__(state)

    def _check_numbers(self, values: dict[str, Any]) -> None:
        groups.check_number("lr", values["lr"], "learning rate")
        if not values["eps"] >= 0.0 or not math.isfinite(values["eps"]):
            raise ValueError(f"Invalid epsilon value: {values['eps']}. Give eps as a finite number >= 0.")
        arguments.check_betas(values)
        groups.check_number("weight_decay", values["weight_decay"], "weight_decay value")
        groups.check_own({**groups.OWN_DEFAULTS, **values})
        recipe.check(values)

    def _check_values(self, values: dict[str, Any]) -> None:
        betas, steps_are_scalars = arguments.betas(values), values["foreach"] and not values["capturable"]
        if isinstance(values["lr"], torch.Tensor) and steps_are_scalars:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        arguments.check_rate_tensor(values["lr"])
        self._check_numbers(values)
        tensors = [isinstance(beta, torch.Tensor) for beta in betas]
        if not all(tensors) and (any(tensors) or not all(isinstance(beta, (float, Schedule)) for beta in betas)):
            raise ValueError(f"betas must be either both floats or both Tensors: {betas!r}. Schedules count as floats.")
        if tensors[0] and steps_are_scalars:
            raise ValueError("betas[0] as a Tensor is not supported for capturable=False and foreach=True")

    def _check_group(self, group: dict[str, Any]) -> None:
        self._check_values({**group, **groups.followed(group, self.all_scheduled)})

    def _create_state(self, with_grad: list[tuple[dict[str, Any], torch.Tensor]]) -> None:
        for group, param in with_grad:
            self._complete_state(group, param)

    def _complete_state(self, group: dict[str, Any], param: torch.Tensor) -> dict[str, Any]:
        """The parameter's state, with what it lacks as zeros."""
        state: dict[str, Any] = self.state[param]
        if not isinstance(state.get("step"), torch.Tensor):
            state["step"] = recording.as_step(state.get("step"))
        for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")[: 3 if group["amsgrad"] else 2]:
            if name not in state:
                state[name] = recipe.new_state(param, group, read=True)
        return state

    def _fallback(self, left: Left) -> None:
        for index, _, params in left:
            if any(param.grad.is_sparse for param in params):  # type: ignore[union-attr]
                raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")
            if self.param_groups[index]["fused"]:
                arguments.check_fused(params)
        for index, values, params in left:
            group = self.param_groups[index]
            states = [self._complete_state(group, param) for param in params]
            capturable = group["capturable"] and not any(param.is_cpu for param in params)
            for param, state in zip(params, states, strict=True):
                if capturable:
                    state["step"] = state["step"].to(param.device)
                elif not group["fused"]:
                    state["step"] = state["step"].cpu()
            function = torch_adamw if group["decoupled_weight_decay"] else torch_adam
            function(
                params,
                [param.grad for param in params],  # type: ignore[misc]
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [state["max_exp_avg_sq"] for state in states] if group["amsgrad"] else [],
                [state["step"] for state in states],
                foreach=False if group["differentiable"] else group["foreach"],
                capturable=capturable,
                differentiable=group["differentiable"],
                fused=False if group["differentiable"] or group["foreach"] is not None else None,
                has_complex=any(param.is_complex() for param in params),
                amsgrad=group["amsgrad"],
                eps=group["eps"],
                maximize=group["maximize"],
                **arguments.in_use(group, values),
            )


class AdamW(Adam):
    """Adam whose weight decay does not enter the averages: it shrinks the parameter by ``1 - lr * weight_decay``.

    Source: torch.optim.AdamW, whose arguments, defaults, errors and state these are; formula, arguments and errors are
    those of `Adam` with ``decoupled_weight_decay=True``.

    Args:
        params: Parameters, named parameters, or dicts of groups.
        lr: As `Adam`'s.
        betas: As `Adam`'s.
        eps: As `Adam`'s.
        weight_decay: A float >= 0, a tensor, or a schedule. The decay of an update is ``lr * weight_decay``.
        amsgrad: As `Adam`'s.
        maximize: As `Adam`'s.
        foreach: As `Adam`'s.
        capturable: As `Adam`'s.
        differentiable: As `Adam`'s.
        fused: As `Adam`'s.
        **recipe_options: As `Adam`'s.

    Raises:
        ValueError: As `Adam`.
        RuntimeError: As `Adam`.
        TypeError: As `Adam`.

    >>> import fastlr
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = AdamW([weight], lr=fastlr.warmup_cosine(0.5, 100, warmup=1), weight_decay=0.1)
    >>> weight.grad = torch.zeros(2)
    >>> optimizer.param_groups[0]["lr"]
    0.5
    >>> optimizer.step()
    >>> weight.tolist()
    [0.949999988079071, 0.949999988079071]
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | torch.Tensor | Schedule = 1e-3,
        betas: tuple[Beta, Beta] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | torch.Tensor | Schedule = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        **recipe_options: Unpack[RecipeOptions],
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
            **recipe_options,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A state of Adam's, or of a torch whose AdamW did not note it.
        for group in state.get("param_groups", ()):
            group["decoupled_weight_decay"] = True
        super().__setstate__(state)


_TORCH_DEFAULTS: dict[str, Any] = {
    "amsgrad": False,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
    "decoupled_weight_decay": False,
}


def _scalar(beta: Beta) -> Beta:
    """A tensor of 1 element without dimensions, as torch keeps it."""
    return beta.squeeze() if isinstance(beta, torch.Tensor) else beta


def _make_step_a_tensor(state: dict[str, Any]) -> None:
    """Old checkpoints, and those of other formats, count in plain numbers."""
    if isinstance(state.get("step"), numbers.Real):
        state["step"] = recording.as_step(state["step"])
