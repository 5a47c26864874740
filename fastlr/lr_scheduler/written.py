"""Schedules over any other optimizer: their values are written into its groups between its updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from fastlr.lr_scheduler import arguments
from fastlr.lr_scheduler.arguments import Given
from fastlr.lr_scheduler.updates import Updates
from fastlr.schedules import plateau
from fastlr.schedules.plateau import PlateauState, ReduceOnPlateau


class Written:
    """Evaluates schedules and writes plain numbers, or into the caller's tensors in place."""

    def __init__(self, optimizer: Optimizer, given: Given, last_epoch: int) -> None:
        found = optimizer.param_groups
        for index, group in enumerate(found):
            if last_epoch >= 0 and "initial_lr" not in group:
                raise KeyError(
                    f"No initial_lr in parameter group {index}: last_epoch={last_epoch}. Load the optimizer's state "
                    "first, or write initial_lr there; or leave last_epoch out and load the scheduler's state."
                )
        self.optimizer = optimizer
        self.given = given
        self.base_lrs: list[float] = []
        self.states: list[list[float] | None] = []  # of the rules, one a group
        rates = self._checked_rates()
        arguments.check_values(given, last_epoch + 1)
        self._counter = Updates(optimizer)
        self._adopt(rates)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._counter.attach(self.optimizer)

    def _checked_rates(self) -> list[float]:
        """The initial rates of all groups, if the schedules fit them."""
        found = self.optimizer.param_groups
        arguments.check(self.given, found)
        added = found[len(self.base_lrs) :]
        rates = self.base_lrs + [arguments.initial_rate(group) for group in added]
        if "lr" in self.given and not isinstance(self.given["lr"], list):
            arguments.check_same_rates(rates)
        return rates

    def _adopt(self, rates: list[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group.setdefault("initial_lr", rate)
        self.states += [None] * (len(rates) - len(self.states))
        self.base_lrs[:] = rates

    def _columns(self, t: int) -> dict[str, list[float]]:
        """What the update at t uses, by hyper-parameter, one value a group."""
        count, columns = len(self.base_lrs), {}
        for name, value in self.given.items():
            if isinstance(value, list):
                columns[name] = [arguments.schedule_of(self.given, name, index, count)(t) for index in range(count)]
            else:
                columns[name] = [value(t)] * count
        for name, bases in (("lr", [1.0] * count), ("factor", self.base_lrs)):
            if name in columns:
                scales = [base * plateau.scale_of(state) for base, state in zip(bases, self.states, strict=True)]
                columns["lr"] = [value * scale for value, scale in zip(columns.pop(name), scales, strict=True)]
        return columns

    def write(self, t: int) -> list[float]:
        """Give every group the values of the update at t. Returns the rates."""
        taken: set[int] = set()
        columns = self._columns(t)  # all of them first: a schedule may have no value there
        for name, column in columns.items():
            for group, value in zip(self.optimizer.param_groups, column, strict=True):
                if name.startswith("beta") or (name == "momentum" and "momentum" not in group):
                    place, betas = int(name == "beta2"), list(group["betas"])
                    betas[place] = _put(betas[place], value, taken)
                    group["betas"] = tuple(betas)
                else:
                    group[name] = _put(group[name], value, taken)
        return self._rates(columns)

    def updates(self) -> int:
        """The updates seen so far."""
        return self._counter.count

    def advance(self, t: int, pending: int, epoch: int | None) -> tuple[int, list[float]]:
        """Write the values of t plus the updates done since, or of the step that the caller names, and return both."""
        if len(self.optimizer.param_groups) != len(self.base_lrs):
            self._adopt(self._checked_rates())
        t = t + pending if epoch is None else epoch
        return t, self.write(t)

    def missed(self, t: int, pending: int) -> bool:
        """Whether the last of several pending updates should have used other values than the one at t."""
        steps = np.arange(t, t + pending)
        every = arguments.schedules(self.given) if pending > 1 else []
        return any(bool((schedule(steps) != schedule(t)).any()) for schedule in every)

    def rates(self, t: int) -> list[float]:
        """The rates of the update at t, as the groups would hold them."""
        return self._rates(self._columns(t))

    def _rates(self, columns: dict[str, list[float]]) -> list[float]:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        if "lr" not in columns:
            return [arguments.number(rate) for rate in rates]
        return [_rounded(rate, value) for rate, value in zip(rates, columns["lr"], strict=False)]

    def report(self, metric: float, t: int) -> list[float]:
        """Feed the rules, and write the rates that they reduced."""
        rules = [self._rule(index) for index in range(len(self.base_lrs))]
        if not any(rules):
            raise ValueError(f"No group's rate has a rule: report({metric}). Give lr= or factor=ReduceOnPlateau(...).")
        for index, rule in enumerate(rules):
            if rule is not None:
                peak = rule.peak * (self.base_lrs[index] if "factor" in self.given else 1.0)
                self.states[index] = plateau.observed(rule, self.states[index], metric, peak)
        return self.write(t)

    def _rule(self, index: int) -> ReduceOnPlateau | None:
        name = "lr" if "lr" in self.given else "factor"
        rate = arguments.schedule_of(self.given, name, index, len(self.base_lrs)) if name in self.given else None
        return rate if isinstance(rate, ReduceOnPlateau) else None

    def state(self) -> dict[str, Any]:
        """Plain values from which the schedules go on."""
        return {
            "base_lrs": list(self.base_lrs),
            "schedules": arguments.pack(self.given),
            "plateau": [None if state is None else list(state) for state in self.states],
        }

    def load(self, state: dict[str, Any], given: Given | None) -> list[str]:
        """Take a state and schedules, None for those there are. Returns a line for each that is replaced."""
        given, count = self.given if given is None else given, len(self.optimizer.param_groups)
        bases, states = state.get("base_lrs", self.base_lrs), state.get("plateau", [None] * count)
        if not len(bases) == len(states) == count:
            raise ValueError(
                f"The state has another number of parameter groups than the optimizer: {len(bases)} for {count}. "
                "Add the groups before loading."
            )
        arguments.check(given, self.optimizer.param_groups)
        arguments.check_values(given, state["last_epoch"])
        states = [None if one is None else list(PlateauState.loaded(one)) for one in states]
        bases = [arguments.number(rate) for rate in bases]
        replaced = arguments.differences(given, self.given)
        self.given, self.base_lrs[:] = given, bases
        self.states = [None if self._rule(index) is None else one for index, one in enumerate(states)]
        return replaced

    def resume(self, t: int, state: dict[str, Any]) -> list[float]:
        """Write the values of the update at t, and return the rates."""
        return self.write(t)


def _put(own: Any, value: float, taken: set[int]) -> Any:
    """The value, or the tensor that stood there with the value in it; a copy where another group has that tensor."""
    if not isinstance(own, Tensor):
        return value
    own = own.detach().clone() if id(own) in taken else own
    taken.add(id(own))
    with torch.no_grad():
        own.fill_(value)
    return own


def _rounded(own: Any, value: float) -> float:
    """The value as a tensor of that type holds it, without asking a device."""
    return float(torch.tensor(value, dtype=own.dtype)) if isinstance(own, Tensor) else value
