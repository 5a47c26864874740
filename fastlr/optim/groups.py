"""Parameter groups whose hyper-parameters may follow schedules: what stands in them, in memory and in checkpoints."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fastlr import _core
from fastlr.optim import recipe
from fastlr.schedules import Schedule, plateau
from fastlr.schedules.plateau import ReduceOnPlateau

# What fastlr keeps in every group beside torch's own entries. Checkpointing tools carry entries of groups along, and
# drop what stands anywhere else.
OWN_DEFAULTS: dict[str, Any] = {
    "lr_scale": 1.0,
    "plateau": None,
    "step_count": 0,
    "held_steps": 0,
    "unwritten": [],
    "differentiable": False,
    **recipe.DEFAULTS,
}

# Hyper-parameters that are elements of an entry, a tuple: the entry and the index.
PARTS: dict[str, tuple[str, int]] = {"beta1": ("betas", 0), "beta2": ("betas", 1)}

Group = dict[str, Any]


def value(group: Group, name: str) -> Any:
    """The hyper-parameter's entry, or its element of one."""
    entry, index = PARTS.get(name, (name, None))
    whole = group[entry]
    if index is None:
        return whole
    if not isinstance(whole, (tuple, list)) or index >= len(whole):
        raise ValueError(f"Invalid {entry}: {whole!r}. Give a pair of numbers or schedules.")
    return whole[index]


def put(group: Group, name: str, value: Any) -> None:
    """Write the hyper-parameter where `value` finds it."""
    entry, index = PARTS.get(name, (name, None))
    group[entry] = value if index is None else (*group[entry][:index], value, *group[entry][index + 1 :])


def with_own_defaults(defaults: Group) -> Group:
    """What a new group holds unless it says otherwise."""
    return {**defaults, **{name: default for name, default in OWN_DEFAULTS.items() if name not in defaults}}


def split(values: Group, names: Sequence[str]) -> None:
    """Move schedules to their place; what they have at the first update stands in theirs."""
    for name in names:
        given = value(values, name)
        values[schedule_key(name)] = given if isinstance(given, Schedule) else None
        if isinstance(given, Schedule):
            put(values, name, given(0))


def schedule_key(name: str) -> str:
    """Where a group keeps the schedule of the hyper-parameter."""
    return f"{name}_schedule"


def prepare(group: Group, defaults: Group, names: Sequence[str], check: Callable[[Group], None]) -> None:
    """Move the group's own schedules to their place and check what the group will hold, before it is added.

    A group's own number is constant, whatever schedule the optimizer has.
    """
    own: Group = {}
    complete = {**defaults, **group}
    for name in names:
        key, (entry, _) = schedule_key(name), PARTS.get(name, (name, None))
        given = value(group, name) if entry in group else None
        schedule = given if isinstance(given, Schedule) else group.get(key)
        if isinstance(schedule, Schedule):
            put(complete, name, schedule(0))
            own[entry] = complete[entry]
            own[key] = schedule
        elif schedule is not None:
            raise TypeError(f"Not a schedule in {key!r}: {schedule!r}. Give a fastlr schedule, or None for a constant.")
        elif entry in group or key in group:
            own[key] = None
    check({**OWN_DEFAULTS, **defaults, **group, **own})
    group.update(own, unwritten=[])


def check_counts(group: Group) -> None:
    """Raise ValueError unless the group's counts are numbers of updates."""
    done, held = group["step_count"], group["held_steps"]
    if type(done) is not int or type(held) is not int or not 0 <= held <= done <= 2**62:
        raise ValueError(
            f"Invalid step_count {done!r} with held_steps {held!r}. Give ints, 0 <= held_steps <= step_count <= 2**62."
        )


def check_step(groups: list[Group], names: Sequence[str], count: int) -> None:
    """Raise ValueError unless the count is a number of updates at which every schedule has a value."""
    check_counts({"step_count": count, "held_steps": 0})
    for group in groups:
        for schedule in followed(group, names).values():
            schedule(count)


def check_own(group: Group) -> None:
    """Raise ValueError unless what fastlr keeps in a group is sound."""
    check_counts(group)
    scale = group["lr_scale"]
    if not isinstance(scale, (int, float)) or not math.isfinite(scale) or scale < 0:
        raise ValueError(f"Invalid lr_scale: {scale!r}. Give a finite number >= 0.")
    if group["plateau"] is not None:
        plateau.PlateauState.loaded(group["plateau"])


def rate(group: Group) -> float:
    """What the next update uses of the schedule of the learning rate."""
    t = group["step_count"] - group["held_steps"]
    return float(group["lr_schedule"](t) * (group["lr_scale"] * plateau.scale_of(group["plateau"])))


def mirror(group: Group, names: Sequence[str]) -> None:
    """Write what the next update uses of each schedule into the group."""
    t = group["step_count"] - group["held_steps"]
    for name in names:
        schedule = group[schedule_key(name)]
        if schedule is not None:
            put(group, name, rate(group) if name == "lr" else schedule(t))
            if name == "lr":
                group["initial_lr"] = schedule.peak * group["lr_scale"]


def report(group: Group, metric: float) -> None:
    """Feed the rule that the group's rate follows. A rate that was written from outside stays."""
    rule, follows = group["lr_schedule"], group["lr"] == rate(group)
    group["plateau"] = plateau.observed(rule, group["plateau"], metric, rule.peak * group["lr_scale"])
    if follows:
        mirror(group, ("lr",))


def followed(group: Group, names: Sequence[str]) -> Group:
    """Each hyper-parameter that follows a schedule, as the schedule."""
    schedules = {name: group.get(schedule_key(name)) for name in names}
    return {name: schedule for name, schedule in schedules.items() if schedule is not None}


def replaced(group: Group, values: Group) -> Group:
    """The group with other schedules or constants; its parameters are shared. Another rule starts anew."""
    entries = dict(group)
    if "lr" in values and not (isinstance(values["lr"], Schedule) and values["lr"] == group["lr_schedule"]):
        entries["plateau"] = None
    for name, given in values.items():
        constant = not isinstance(given, Schedule)
        entries[schedule_key(name)] = None if constant else given
        if constant:
            put(entries, name, given)
    return entries


def pack(group: Group, names: Sequence[str]) -> None:
    """Schedules as JSON strings: plain values that any checkpoint format holds."""
    for name in names:
        schedule = group[schedule_key(name)]
        group[schedule_key(name)] = None if schedule is None else schedule.to_json()


def initialised(param_groups: list[Group]) -> list[tuple[Group, torch.Tensor]]:
    """The parameters with gradients, if this step only creates their state, as torch.distributed.checkpoint asks for.

    It steps with every rate and every gradient set to 0: parameters cannot change, and it is no update.
    """
    with_grad: list[tuple[Group, torch.Tensor]] = []
    for group in param_groups:
        lr = group["lr"]
        # One on a GPU is none of checkpointing's, and asking for its value would wait.
        if (isinstance(lr, torch.Tensor) and not lr.is_cpu) or lr != 0:
            return []
        with_grad += [(group, param) for param in group["params"] if param.grad is not None]
    if any(_core.is_captured(param) for _, param in with_grad[:1]):
        return []  # an update, and nothing may wait for the gradients
    # All are asked, since a DTensor's ranks have to ask together.
    grads = [param.grad for _, param in with_grad if param.grad is not None]
    real = [grad.is_sparse or _has_elements(grad) for grad in grads]
    return [] if any(real) else with_grad


def _has_elements(tensor: torch.Tensor) -> bool:
    """Whether an element is not 0; for a DTensor on any of its ranks, where bool() tells of one."""
    found = tensor.any()
    return bool(found.full_tensor() if hasattr(found, "full_tensor") else found)


def note_unwritten(groups: list[Group], params: set[torch.Tensor]) -> None:
    """Write into each group the places of the parameters whose state is allocated, but no update has written it."""
    for group in groups:
        places = enumerate(group["params"]) if params else ()
        group["unwritten"] = [place for place, param in places if param in params]


def unwritten(groups: list[Group], state: dict[Any, Any]) -> set[torch.Tensor]:
    """The parameters that note_unwritten() noted, unless another library's optimizer has written their state since."""
    noted = {group["params"][place] for group in groups for place in group["unwritten"]}
    return {param for param in noted if not any(bool(value.any()) for value in _rule_state(state.get(param, {})))}


def _rule_state(entries: Group) -> list[torch.Tensor]:
    return [value for name, value in entries.items() if name not in recipe.WEIGHTS]


def keep_in_place(present: dict[Any, Any], loaded: dict[Any, Any]) -> set[torch.Tensor]:
    """Move loaded tensors into the present ones, which captured graphs write to.

    Returns the parameters whose present tensors nothing was loaded for: zeros, no update has written their state.
    """
    left = set()
    for param, entries in present.items():
        for name, tensor in entries.items():
            if not isinstance(tensor, torch.Tensor):
                continue
            value = loaded.setdefault(param, {}).get(name)
            if value is None and name in recipe.WEIGHTS:
                tensor.copy_(param.detach())
            elif value is None:
                left.add(param)
                tensor.zero_()
            elif value is not tensor:
                tensor.copy_(value)
            loaded[param][name] = tensor
    return left


def check_state(saved: list[Group], state: dict[Any, Any]) -> None:
    """Raise ValueError where a loaded tensor has not the shape of its parameter.

    Distributed checkpointing puts an empty dict where a flat checkpoint lacks an entry: taken out.
    """
    for group in saved:
        for param in group["params"]:
            entries = state.get(param, {})
            for name in [name for name, value in entries.items() if isinstance(value, dict) and not value]:
                del entries[name]
            for name, value in entries.items():
                if isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape != param.shape:
                    raise ValueError(
                        f"A loaded {name} has another shape than its parameter: {list(value.shape)} for "
                        f"{list(param.shape)}. Load the state of a model of the same architecture."
                    )


def _unpacked(entry: Any) -> Schedule | None:
    return Schedule.from_json(entry) if isinstance(entry, str) else entry


def adopt(saved: list[Group], known: list[Group] | None, names: Sequence[str], *, keep: bool) -> list[str]:
    """Make loaded groups complete: their schedules as objects, and what they lack from the groups known so far.

    Returns a line for each schedule of the known groups that another one replaces.
    """
    replacements = []
    for index, group in enumerate(saved):
        own = known[index] if known is not None and index < len(known) else None
        for name in names:
            key = schedule_key(name)
            loaded, mine = _unpacked(group.get(key)), None if own is None else own[key]
            group[key] = mine if loaded is None or (keep and mine is not None) else loaded
            if mine is not None and mine != group[key]:
                replacements.append(f"{loaded!r} in place of {mine!r} (group {index}, {name})")
        for name, default in OWN_DEFAULTS.items():
            group.setdefault(name, copy.copy(default) if own is None or name == "unwritten" else own[name])
        if not isinstance(group["lr_schedule"], ReduceOnPlateau):
            group["plateau"] = None
    return replacements


def check_number(name: str, value: Any, label: str) -> None:
    """Raise ValueError unless the value (a schedule: all its values) is a finite number >= 0."""
    plateau.require_outermost(name, value, allowed=name == "lr")
    value = value.detach() if isinstance(value, torch.Tensor) else value
    low = value.minimum_value if isinstance(value, Schedule) else value
    if not low >= 0.0 or (not isinstance(value, Schedule) and not math.isfinite(value)):
        shown = f"{value!r}, which goes down to {low}" if isinstance(value, Schedule) else f"{value}"
        raise ValueError(f"Invalid {label}: {shown}. Give {name} as a finite number >= 0 or a schedule of such.")
