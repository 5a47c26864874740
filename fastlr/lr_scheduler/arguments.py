"""What a scheduler is given: a schedule for all groups or a list with one for each, by hyper-parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from fastlr.optim.groups import check_number
from fastlr.schedules import Schedule
from fastlr.schedules.operators import operand

# Under "lr", "factor", "momentum", "beta1", "beta2" and "weight_decay". "momentum" is beta1 where a group has betas.
Given: TypeAlias = "dict[str, Schedule | list[Schedule]]"
Group: TypeAlias = "dict[str, Any]"

LABELS = {
    "lr": "learning rate",
    "factor": "factor of the learning rate",
    "momentum": "momentum value",
    "beta1": "first beta",
    "beta2": "second beta",
    "weight_decay": "weight_decay value",
}


def collect(groups: Sequence[Group], arguments: dict[str, Any]) -> Given:
    """The arguments of a scheduler that are not None, checked against the groups.

    Raises TypeError for what is no schedule, ValueError for values out of range, a list of another length than the
    groups, arguments that exclude each other, and groups without such a hyper-parameter.
    """
    passed = {name: value for name, value in arguments.items() if value is not None}
    for one, other in (("lr", "factor"), ("momentum", "betas")):
        if one in passed and other in passed:
            raise ValueError(f"Two schedules for the same value: {one}= and {other}=. Give one of them.")
    given: Given = {}
    for name, value in passed.items():
        if name == "betas":
            given["beta1"], given["beta2"] = _pairs(value)
        else:
            given[name] = [_schedule(name, one) for one in value] if _listed(value) else _schedule(name, value)
    check(given, groups)
    return given


def _listed(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _schedule(name: str, value: Any) -> Schedule:
    schedule = operand(value)
    if schedule is None:
        raise TypeError(f"Not a schedule: {name}={value!r}. Give a schedule or a number, or a list with one per group.")
    return schedule


def _pairs(value: Any) -> tuple[Any, Any]:
    if not _listed(value) or not value or any(_listed(one) != _listed(value[0]) for one in value):
        raise TypeError(
            f"Not betas: {value!r}. Give a pair of schedules or numbers, or a list with one pair per group."
        )
    pairs = value if _listed(value[0]) else [value]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"Not a pair of betas: {value!r}. Give two schedules or numbers for each group.")
    first, second = ([_schedule("betas", one) for one in column] for column in zip(*pairs, strict=True))
    return (first, second) if _listed(value[0]) else (first[0], second[0])


def check(given: Given, groups: Sequence[Group]) -> None:
    """Raise ValueError where the schedules do not fit the groups."""
    for name in given:
        for schedule in schedules({name: given[name]}):
            _check_range(name, schedule)
        for index, group in enumerate(groups):
            schedule_of(given, name, index, len(groups))
            _check_entry(name, index, group)


def _check_range(name: str, schedule: Schedule) -> None:
    check_number("lr" if name == "factor" else name, schedule, LABELS[name])
    if name.startswith("beta") and schedule.peak >= 1.0:
        raise ValueError(f"Invalid {LABELS[name]}: {schedule!r}, which reaches {schedule.peak}. Keep it below 1.")


def _check_entry(name: str, index: int, group: Group) -> None:
    entries = {"lr": ("lr",), "factor": ("lr",), "momentum": ("momentum", "betas"), "weight_decay": ("weight_decay",)}
    needed = entries.get(name, ("betas",))
    if not any(entry in group for entry in needed):
        own = ", ".join(entry for entry in group if entry != "params")
        raise ValueError(f"Parameter group {index} has no {' or '.join(needed)}: it has {own}. Leave {name} out.")


def initial_rate(group: Group) -> float:
    """The group's rate before any schedule."""
    return number(group["initial_lr" if "initial_lr" in group else "lr"])


def number(value: Any) -> float:
    """A number or a tensor of one element as a float."""
    return float(value.detach() if isinstance(value, Tensor) else value)


def check_values(given: Given, t: int) -> None:
    """Raise ValueError where a schedule has no value at t."""
    for schedule in schedules(given):
        schedule(t)


def check_same_rates(rates: Sequence[float]) -> None:
    """Raise ValueError where one absolute schedule would make different rates the same."""
    if len(set(rates)) > 1:
        raise ValueError(
            f"One absolute schedule for groups with different rates: {', '.join(map(repr, rates))}. "
            "Give factor=, which multiplies each group's rate, or lr= a list with one schedule per group."
        )


def schedules(given: Given) -> list[Schedule]:
    """All that were given."""
    return [one for value in given.values() for one in (value if isinstance(value, list) else [value])]


def differences(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """A line for each hyper-parameter that gets another schedule, or loses its own."""
    names = [name for name in LABELS if new.get(name) != old.get(name)]
    return [f"{new.get(name)!r} in place of {old.get(name)!r} ({name})" for name in names]


def schedule_of(given: Given, name: str, index: int, count: int) -> Schedule:
    """The schedule of one of the groups."""
    value = given[name]
    if not isinstance(value, list):
        return value
    if len(value) != count:
        raise ValueError(
            f"{len(value)} schedules of {name} for another number of groups: {count}. Give one schedule per group, "
            "and make a new scheduler after a group has been added."
        )
    return value[index]


def pack(given: Given) -> dict[str, Any]:
    """Schedules as JSON strings: plain values that any checkpoint format holds."""
    return _mapped(given, lambda schedule: schedule.to_json())


def unpack(packed: dict[str, Any]) -> Given:
    """What `pack` returned, as schedules."""
    unknown = [name for name in packed if name not in LABELS]
    if unknown:
        raise ValueError(f"Unknown schedules in the state: {', '.join(unknown)}. Load what state_dict() returned.")
    return _mapped(packed, Schedule.from_json)


def _mapped(values: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        name: [change(one) for one in value] if isinstance(value, list) else change(value)
        for name, value in values.items()
    }
