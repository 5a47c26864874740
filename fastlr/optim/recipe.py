"""What goes around a rule's update in the same pass: clipping, averaging, rounding, zeroing. Its options and state."""

from __future__ import annotations

import numbers
import sys
from typing import Any, TypedDict

import torch

from fastlr.optim import recording
from fastlr.schedules import Schedule, plateau


class RecipeOptions(TypedDict, total=False):
    r"""Keyword arguments of every optimizer here, and entries of every parameter group.

    An update of a parameter p with gradient g, rates and state as the rule has them, t the updates done before::

        norm = sqrt(sum(g * g)) / scale                             (scale: a gradient scaler's, else 1)
        x = g / scale * min(1, max_grad_norm / (norm + 1e-6))
        x = min(max(x, -max_grad_value), max_grad_value)
        w = the rule's update of w by x                             (w: the float32 master if there is one, else p)
        p = w, rounded
        ema = ema + (1 - ema_decay(t)) * (w - ema)                  (w: the master, else p as it is now, rounded)
        g = 0

    each line only where its option is given. An average begins as a copy of the weights before their first update.
    Arithmetic is float32, float64 for float64 parameters and for norms.

    Sources: torch.nn.utils.clip_grad_norm\_ and clip_grad_value\_, torch.optim.swa_utils, torch.amp.GradScaler; timm's
    ModelEmaV3 for a decay that changes; apex's ``master_weights`` and torchao's ``bf16_stochastic_round``.

    Attributes:
        max_grad_norm: Gradients are multiplied by ``min(1, max_grad_norm / (norm + 1e-6))``, a number > 0. The norm is
            the 2-norm over the gradients of all groups with a number here; ``optimizer.grad_norm`` has the last one.
            None: as they are.
        norm_per_group: The norm of this group is that of its own gradients, and not part of the others'.
        error_if_nonfinite: A norm that is not finite raises RuntimeError, for which a step on a GPU waits, and which
            cannot be captured. False: such a step is skipped, and neither counts nor changes parameters or state.
        max_grad_value: Gradients are clamped to ``[-max_grad_value, max_grad_value]``, a number > 0, after the norm's
            factor. None: as they are.
        ema_decay: The decay of a running average of the weights, in [0, 1], or a schedule of such. The average is
            ``state["ema"]``, in float32, of float64 parameters in float64; ``optimizer.averaged()`` puts it to use.
            None: no average.
        master_weights: Of float16 and bfloat16 parameters, ``state["master_param"]`` in float32 is updated, and the
            parameter is its rounding. Other parameters have none.
        stochastic_rounding: bfloat16 parameters are rounded up with the probability of what is cut off, so that their
            mean is exact; float32 and float64 parameters are as ever. Not together with ``master_weights``.
        rounding_seed: An int, 0 <= seed < 2**53. What is rounded up depends on it, the count of updates, the place of
            the parameter among the optimizer's and the place of the element in it, and on nothing else.
        state_dtype: The dtype of the rule's state: torch.float32, torch.bfloat16, torch.float16, for float64 parameters
            also torch.float64; or its name, as it stands in groups. None: the master's dtype, else the parameter's.
        zero_grad_in_step: Gradients are set to 0 once they are used, in their own memory; also by a skipped step.

    >>> import fastlr
    >>> weight = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = fastlr.SGD([weight], lr=1.0, max_grad_norm=0.5, ema_decay=0.75, zero_grad_in_step=True)
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> optimizer.step()
    >>> [round(value, 4) for value in weight.tolist()], optimizer.grad_norm
    ([0.7, 0.6], 5.0)
    >>> [round(value, 4) for value in optimizer.state[weight]["ema"].tolist()], weight.grad.tolist()
    ([0.925, 0.9], [0.0, 0.0])
    """

    max_grad_norm: float | None
    norm_per_group: bool
    error_if_nonfinite: bool
    max_grad_value: float | None
    ema_decay: float | Schedule | None
    master_weights: bool
    stochastic_rounding: bool
    rounding_seed: int
    state_dtype: torch.dtype | str | None
    zero_grad_in_step: bool


DEFAULTS: dict[str, Any] = {
    "max_grad_norm": None,
    "norm_per_group": False,
    "error_if_nonfinite": False,
    "max_grad_value": None,
    "ema_decay": None,
    "master_weights": False,
    "stochastic_rounding": False,
    "rounding_seed": 0,
    "state_dtype": None,
    "zero_grad_in_step": False,
}

# State that holds weights: what begins as a copy of the parameter.
WEIGHTS = ("master_param", "ema")

_FLAGS = [name for name, default in DEFAULTS.items() if default is False]
_LIMITS = ("max_grad_norm", "max_grad_value")
# The options that make an update more than the rule's own.
_AROUND = (*_LIMITS, "ema_decay", "master_weights", "stochastic_rounding", "state_dtype", "zero_grad_in_step")
_STATE_DTYPES = {str(dtype)[6:]: dtype for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)}
_DOUBLE = {torch.float64: torch.float64, torch.complex128: torch.complex128}

Group = dict[str, Any]


def defaults(options: RecipeOptions) -> Group:
    """All options, as groups hold them. Raises TypeError for a name that is none."""
    for name in options:
        if name not in DEFAULTS:
            raise TypeError(f"Unexpected keyword argument: {name!r}. Use one of {', '.join(DEFAULTS)}.")
    values: Group = {**DEFAULTS, **options}
    normalise(values)
    return values


def normalise(values: Group) -> None:
    """Make plain values of what options may be given as, which any checkpoint format holds; the rest is for check()."""
    for name in values.keys() & DEFAULTS.keys():
        value = values[name]
        if isinstance(value, numbers.Integral) and not isinstance(value, bool):
            values[name] = int(value)
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            values[name] = float(value)
        elif isinstance(value, torch.dtype):
            values[name] = str(value)[6:]


def check(values: Group) -> None:
    """Raise ValueError or TypeError for options that are out of range, by themselves or together."""
    values = {**DEFAULTS, **values}
    for name in _FLAGS:
        if not isinstance(values[name], bool):
            raise TypeError(f"Invalid {name}: {values[name]!r}. Give True or False.")
    for name in _LIMITS:
        if values[name] is not None:
            _require_number(name, values[name])
            if not 0.0 < values[name] <= sys.float_info.max:
                raise ValueError(
                    f"Invalid {name}: {values[name]!r}. Give a finite number > 0, or None for no limit; "
                    "one such as 1e300 limits nothing."
                )
    _check_decay(values["ema_decay"])
    seed = values["rounding_seed"]
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"Invalid rounding_seed: {seed!r}. Give an int.")
    if not 0 <= seed < 2**53:
        raise ValueError(f"Invalid rounding_seed: {seed}. Give an int, 0 <= rounding_seed < 2**53.")
    if values["master_weights"] and values["stochastic_rounding"]:
        raise ValueError("master_weights together with stochastic_rounding: both True. Use one of them.")
    _as_dtype(values["state_dtype"])
    given = [name for name in _AROUND if values[name] not in (None, False)]
    if values.get("differentiable") and given:
        raise ValueError(
            f"differentiable together with {given[0]}: {values[given[0]]!r}. "
            "Autograd follows an update that nothing stands around: leave one of them out."
        )


def _require_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"Invalid {name}: {value!r}. Give a number, or None.")


def _check_decay(decay: Any) -> None:
    plateau.require_outermost("ema_decay", decay, allowed=False)
    if decay is None:
        return
    if not isinstance(decay, Schedule):
        _require_number("ema_decay", decay)
    low, high = (decay.minimum_value, decay.peak) if isinstance(decay, Schedule) else (decay, decay)
    if not (low >= 0.0 and high <= 1.0):
        shown = f"{decay!r}, which goes from {low} to {high}" if isinstance(decay, Schedule) else f"{decay}"
        raise ValueError(f"Invalid ema_decay: {shown}. Give a number from 0 to 1, a schedule of such, or None.")


def _as_dtype(value: Any) -> torch.dtype | None:
    """The dtype that a group's state_dtype is. Raises ValueError or TypeError where it is none of a state."""
    if value is None:
        return None
    if not isinstance(value, (str, torch.dtype)):
        raise TypeError(f"Invalid state_dtype: {value!r}. Give a torch.dtype or its name, or None.")
    dtype = _STATE_DTYPES.get(str(value).removeprefix("torch."))
    if dtype is None:
        raise ValueError(f"Invalid state_dtype: {value}. Give one of {', '.join(_STATE_DTYPES)}, or None.")
    return dtype


def check_params(group: Group) -> None:
    """Raise ValueError where the options of a group with its list of parameters do not fit the parameters' dtypes."""
    options = {**DEFAULTS, **group}
    for param in group["params"]:
        if options["stochastic_rounding"] and param.dtype is torch.float16:
            raise ValueError(
                f"stochastic_rounding of a float16 parameter: shape {list(param.shape)}. "
                "Make it bfloat16, or use master_weights."
            )
        if options["max_grad_value"] is not None and param.is_complex():
            raise ValueError(
                f"max_grad_value of a complex parameter: shape {list(param.shape)}. "
                "Use max_grad_norm, or leave it at None there, in a group of its own."
            )
        state_dtype(param, options)


def has_master(param: torch.Tensor, group: Group) -> bool:
    """Whether a master stands for the parameter in updates."""
    return bool(group["master_weights"]) and param.dtype in (torch.float16, torch.bfloat16)


def state_dtype(param: torch.Tensor, group: Group) -> torch.dtype:
    """The dtype of new state of the rule. Raises ValueError for one that the parameter's state cannot have."""
    asked = _as_dtype(group["state_dtype"])
    if asked is None:
        return torch.float32 if has_master(param, group) else param.dtype
    if param.is_complex() or (asked is torch.float64 and param.dtype is not asked):
        raise ValueError(
            f"Invalid state_dtype: {asked} for a parameter of {param.dtype}. Leave it at None there, "
            "in a group of its own."
        )
    return asked


def average_dtype(param: torch.Tensor) -> torch.dtype:
    """The dtype of the running average of a parameter."""
    return _DOUBLE.get(param.dtype, torch.complex64 if param.is_complex() else torch.float32)


# The state that an update creates. With a stream (a CUstream) the work is done there, aside of a captured one.


def new_state(param: torch.Tensor, group: Group, *, read: bool, stream: int = 0) -> torch.Tensor:
    """State of the rule in the parameter's layout: zeros, or whatever the memory holds if nothing reads it."""
    make = torch.zeros_like if read else torch.empty_like
    with recording.aside(param, stream):
        return make(param, dtype=state_dtype(param, group), memory_format=torch.preserve_format)


def new_master(param: torch.Tensor, stream: int = 0) -> torch.Tensor:
    """The parameter in float32, in its layout."""
    with recording.aside(param, stream):
        return param.detach().to(torch.float32, copy=True)


def new_average(weights: torch.Tensor, stream: int = 0) -> torch.Tensor:
    """The beginning of the running average of a parameter, or of its master: a copy."""
    with recording.aside(weights, stream):
        return weights.detach().to(average_dtype(weights), copy=True)


def adopt_dtype(param: torch.Tensor, value: torch.Tensor, key: Any, group: Group) -> torch.Tensor:
    """A loaded tensor of the parameter's state, on its device, in the dtype that the optimizer goes on in.

    What was saved wider than new state would be stays as it is, unless the group says otherwise: torch makes bfloat16
    of the float32 state of bfloat16 parameters.
    """
    if key == "ema":
        dtype = average_dtype(param)
    elif not param.is_floating_point():
        dtype = value.dtype
    elif key == "master_param":
        dtype = torch.float32
    else:
        dtype = _adopted(state_dtype(param, group), value.dtype, _as_dtype(group["state_dtype"]))
    return value.to(dtype=dtype, device=param.device)


def _adopted(new: torch.dtype, saved: torch.dtype, asked: torch.dtype | None) -> torch.dtype:
    if asked is not None or not saved.is_floating_point:
        return new
    return torch.float32 if saved is torch.float64 and new is not saved else torch.promote_types(new, saved)


def renew_weights(state: dict[torch.Tensor, Any]) -> None:
    """Make copies of the present parameters of masters and averages that no update has changed."""
    with torch.no_grad():
        for param, entries in state.items():
            for name in WEIGHTS:
                if name in entries:
                    entries[name].copy_(param if name == "master_param" else entries.get("master_param", param))


def drop_weights(state: dict[torch.Tensor, Any]) -> None:
    """Forget masters and averages that no update has changed."""
    for entries in state.values():
        for name in WEIGHTS:
            entries.pop(name, None)


def add_weights(param: torch.Tensor, group: Group, state: Any) -> None:
    """Create the master and the average that the group asks for in the optimizer's state, ahead of an update."""
    if has_master(param, group) and "master_param" not in state[param]:
        state[param]["master_param"] = new_master(param)
    if group["ema_decay"] is not None and "ema" not in state[param]:
        state[param]["ema"] = new_average(param)
