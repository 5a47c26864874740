"""Schedules over an optimizer of fastlr, which follows them itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastlr.lr_scheduler import arguments
from fastlr.lr_scheduler.arguments import Given, Group
from fastlr.optim import groups
from fastlr.optim.scheduled import ScheduledOptimizer
from fastlr.schedules import Schedule


class Native:
    """Installs schedules in the optimizer's groups, and reads there what the next update uses."""

    def __init__(self, optimizer: ScheduledOptimizer, given: Given, last_epoch: int) -> None:
        for name in given:
            if name != "factor" and name not in optimizer.scheduled:
                raise ValueError(f"{type(optimizer).__name__} takes no schedule of {name}: leave it out.")
        if last_epoch >= 0 and optimizer.step_count not in (0, last_epoch + 1):
            raise ValueError(
                f"last_epoch={last_epoch} contradicts the optimizer's count of updates: {optimizer.step_count}. "
                "Leave last_epoch out: the count is read from the optimizer."
            )
        if "lr" in given and not isinstance(given["lr"], list):
            arguments.check_same_rates([_rate(group) for group in optimizer.param_groups])
        self.optimizer = optimizer
        self.given = given
        self._install(range(len(optimizer.param_groups)))
        if last_epoch >= 0:
            optimizer.step_count = last_epoch + 1
        self.base_lrs = [arguments.initial_rate(group) for group in optimizer.param_groups]

    def _install(self, indices: Iterable[int], scales: list[float] | None = None) -> None:
        """Have groups follow the schedules. A factor's base goes into ``lr_scale``: the given scales, or the rates."""
        found = self.optimizer.param_groups
        changed = {}
        for index in indices if self.given else ():
            group = found[index]
            schedules = {name: arguments.schedule_of(self.given, name, index, len(found)) for name in self.given}
            factor = schedules.pop("factor", None)
            if factor is not None:
                schedules["lr"] = factor
            changed[index] = groups.replaced(group, schedules)
            if factor is not None and scales is not None:
                changed[index]["lr_scale"] = scales[index]
            elif factor is not None and factor != group["lr_schedule"]:
                changed[index]["lr_scale"] = group["lr_scale"] * _rate(group)
        if changed:
            self.optimizer._install(changed)

    def advance(self, t: int, pending: int, epoch: int | None) -> tuple[int, list[float]]:
        """The updates that the optimizer has done, and its rates; groups that were added follow from now on."""
        added = self.optimizer.param_groups[len(self.base_lrs) :]
        if added:
            self._install(range(len(self.base_lrs), len(self.optimizer.param_groups)))
            self.base_lrs += [arguments.initial_rate(group) for group in added]
        return self.optimizer.step_count, self.rates(t)

    def missed(self, t: int, pending: int) -> bool:
        """Never: the optimizer follows by itself."""
        return False

    def updates(self) -> int:
        """Nothing is pending: the optimizer's count is the truth."""
        return 0

    def rates(self, t: int) -> list[float]:
        """The rates of the next update."""
        return [arguments.number(group["lr"]) for group in self.optimizer.param_groups]

    def report(self, metric: float, t: int) -> list[float]:
        """Hand the metric to the optimizer."""
        self.optimizer.report(metric)
        return self.rates(t)

    def state(self) -> dict[str, Any]:
        """The schedules that were given, and a factor's bases; the optimizer's state has the rest."""
        if not self.given:
            return {}
        scales = [float(group["lr_scale"]) for group in self.optimizer.param_groups] if "factor" in self.given else None
        return {"schedules": arguments.pack(self.given), "lr_scales": scales}

    def load(self, state: dict[str, Any], given: Given | None) -> list[str]:
        """Follow the schedules, None for those there are. Counts and states of rules are those of the optimizer."""
        if not self.given or given is None:
            return []
        indices = range(len(self.optimizer.param_groups))
        now = {name: [self._followed(name, index) for index in indices] for name in given}
        new = {name: [arguments.schedule_of(given, name, index, len(indices)) for index in indices] for name in given}
        self.given = given
        if new != now:
            self._install(indices, state.get("lr_scales"))
        return arguments.differences(new, now)

    def resume(self, t: int, state: dict[str, Any]) -> list[float]:
        """The rates of the update at t: those that were saved, while the optimizer is still to be loaded."""
        unknown = self.optimizer.step_count != t
        if unknown and self.optimizer.step_count == 0:  # new, or with a state of torch's, which has no count
            self.optimizer.step_count = t
            unknown = not self.optimizer.state
        rates = self.rates(t)
        return list(state.get("_last_lr", rates)) if unknown else rates

    def _followed(self, name: str, index: int) -> Any:
        return self.optimizer.param_groups[index][groups.schedule_key("lr" if name == "factor" else name)]


def _rate(group: Group) -> float:
    """The group's rate without any schedule, factor or scale."""
    schedule: Schedule | None = group["lr_schedule"]
    return arguments.initial_rate(group) if schedule is None else schedule.peak
