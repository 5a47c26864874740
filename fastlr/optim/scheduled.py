"""The base of fastlr's optimizers: torch's manners, and hyper-parameters that may follow schedules."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, cast

import torch
from torch.optim import Optimizer

from fastlr import _core
from fastlr.optim import groups, link, loading, recipe
from fastlr.optim.averages import Averages
from fastlr.optim.notices import notify, warn_replaced
from fastlr.optim.stepping import Left as Left
from fastlr.optim.stepping import SteppingOptimizer
from fastlr.schedules import Schedule, plateau
from fastlr.schedules.plateau import ReduceOnPlateau


class ScheduledOptimizer(Averages, SteppingOptimizer):
    """An optimizer whose step evaluates schedules natively.

    ``group["lr"]`` is always a float (or the caller's tensor): what the next update uses. The schedules stand beside
    it in ``group["lr_schedule"]``, ``group["momentum_schedule"]`` and so on.
    """

    # The native rule: the name of its header in csrc/rules/.
    rule: ClassVar[str]
    # The hyper-parameters that may follow a schedule; the first is the learning rate.
    scheduled: ClassVar[tuple[str, ...]] = ("lr",)

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self._forget_plan()
        self._unwritten = set()
        self._noticed = set()
        self._keep_schedule = False
        self._replaced: list[str] = []  # what the last load replaced
        self._loading: list[dict[str, Any]] = []  # the state dict at hand
        groups.split(defaults, self.all_scheduled)
        super().__init__(params, groups.with_own_defaults(defaults))
        self._register_packing()

    @property
    def all_scheduled(self) -> tuple[str, ...]:
        """The rule's, and what follows a schedule under every rule."""
        return (*self.scheduled, "ema_decay")

    # To be given by each rule.

    @abstractmethod
    def _check_group(self, group: dict[str, Any]) -> None:
        """Raise ValueError for hyper-parameters that the rule does not take, by themselves or together."""

    @abstractmethod
    def _check_numbers(self, values: dict[str, Any]) -> None:
        """Raise ValueError for hyper-parameters, each a number or a schedule, that are out of range by themselves."""

    # Groups and schedules.

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; ``lr`` (and what else may be scheduled) takes a schedule, a group's own float is constant."""
        if isinstance(param_group, dict):
            recipe.normalise(param_group)
            groups.prepare(param_group, self.defaults, self.all_scheduled, self._check_group)
            if self.param_groups:
                param_group["step_count"] = self.step_count
                param_group["held_steps"] = 0
        super().add_param_group(param_group)
        try:
            recipe.check_params(self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise
        groups.mirror(self.param_groups[-1], self.all_scheduled)
        self._forget_plan()

    @property
    def step_count(self) -> int:
        """The number of updates done. Settable, for state that does not carry it, such as torch's own."""
        self.sync()
        return int(self.param_groups[0]["step_count"])

    @step_count.setter
    def step_count(self, count: int) -> None:
        groups.check_step(self.param_groups, self.all_scheduled, count)
        self.sync()  # what has been replayed is not added later
        for group in self.param_groups:
            group["step_count"] = count
            group["held_steps"] = 0
            groups.mirror(group, self.all_scheduled)
        self._forget_plan()

    def sync(self) -> None:
        """Bring the groups' counts and rates up to date with replayed CUDA graphs, and the graphs with the groups.

        A graph that recorded ``step()`` follows the schedule by itself, and the host does not see it. ``step_count``,
        ``state_dict()``, ``set_schedule()`` and ``report()`` call this; code that reads or writes ``param_groups``
        between replays calls it itself. Waits for the GPUs, unless no graph recorded a step or one is being captured.
        """
        if self._plan.may_differ():
            self._plan.sync(self.param_groups, self.state, self._unwritten)
            notify(self._plan.tell(self.param_groups, self.state, self._unwritten), self._noticed, self._plan)

    def set_schedule(self, *, group: int | None = None, **values: Schedule | float) -> None:
        """Replace schedules, keeping the count: the next update uses the new schedule at ``step_count``.

        Args:
            group: The index of a parameter group; None for all.
            **values: ``lr=``, and the rule's other hyper-parameters that may be scheduled. A float makes it constant.

        Raises:
            TypeError: A name that cannot be scheduled.
            ValueError: A value that the rule does not take. Nothing has been changed.
        """
        for name in values:
            if name not in self.all_scheduled:
                raise TypeError(
                    f"Not a scheduled hyper-parameter: {name!r}. Use one of {', '.join(self.all_scheduled)}."
                )
        self.sync()
        targets = range(len(self.param_groups)) if group is None else [group]
        self._install({index: groups.replaced(self.param_groups[index], values) for index in targets})

    def _install(self, changed: dict[int, dict[str, Any]]) -> None:
        """Give groups other entries, all or none."""
        for entries in changed.values():
            self._check_group(entries)
            groups.mirror(entries, self.all_scheduled)
        for index, entries in changed.items():
            self.param_groups[index].update(entries)
        self._forget_plan()

    def report(self, loss: float | torch.Tensor) -> None:
        """Feed a metric to every group whose rate follows a `fastlr.schedules.ReduceOnPlateau`.

        Each group has its own state, in ``group["plateau"]``; a reduction shows in ``group["lr"]`` at once.

        Args:
            loss: A number or a tensor of one element; in a distributed run the same on every rank.

        Raises:
            TypeError: Something else.
            ValueError: No group has such a rule.

        >>> import fastlr
        >>> rule = fastlr.schedules.ReduceOnPlateau(0.5, factor=0.1, patience=1)
        >>> optimizer = fastlr.SGD([torch.ones(1)], lr=rule)
        >>> for loss in (1.0, 1.0, 1.0):
        ...     optimizer.report(loss)
        >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["plateau"]
        (0.05, [0.1, 1.0, 0, 0])
        """
        metric = plateau.as_metric(loss)
        ruled = [group for group in self.param_groups if isinstance(group["lr_schedule"], ReduceOnPlateau)]
        if not ruled:
            raise ValueError(f"No group's rate has a rule: report({metric}). Construct with lr=ReduceOnPlateau(...).")
        self.sync()
        for group in ruled:
            groups.report(group, metric)
        self.sync()

    # State.

    def state_dict(self) -> dict[str, Any]:
        """As torch's, and loadable by it; schedules as JSON strings, so that ``weights_only=True`` reads it back."""
        self.sync()
        groups.note_unwritten(self.param_groups, self._unwritten)
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], *, keep_schedule: bool = False) -> None:
        """Load a state dict of this class or of torch's.

        A schedule in the checkpoint is installed; where the optimizer was constructed with another one the
        checkpoint's wins, with a warning that shows both. A state without schedules loads under the optimizer's own.

        Args:
            state_dict: What ``state_dict()`` returned.
            keep_schedule: Keep the schedules that this optimizer was constructed with.

        Raises:
            ValueError: The state does not fit. Nothing has been changed.
        """
        self.sync()
        if self._averaged_now:
            raise RuntimeError("load_state_dict() while the averages stand in for the weights. Leave averaged() first.")
        self._keep_schedule, self._replaced = keep_schedule, []
        try:
            with loading.seen(self) as self._loading:
                super().load_state_dict(state_dict)
        finally:
            self._keep_schedule, self._loading = False, []
        if self._replaced:
            warn_replaced(self._replaced)

    def __getstate__(self) -> dict[str, Any]:
        self.sync()
        groups.note_unwritten(self.param_groups, self._unwritten)
        return {**super().__getstate__(), "_noticed": self._noticed, "_initialised": self._initialised}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "param_groups" in state:
            groups.check_state(state["param_groups"], state["state"])
            known = self.__dict__.get("param_groups")
            keep = self.__dict__.get("_keep_schedule", False)
            self._replaced = groups.adopt(state["param_groups"], known, self.all_scheduled, keep=keep)
            for group in state["param_groups"] if known is not None else ():  # a copy stays what it is
                recipe.normalise(group)
                self._check_numbers({**group, **groups.followed(group, self.all_scheduled)})
                recipe.check_params(group)
                groups.mirror(group, self.all_scheduled)
            for saved in self.__dict__.get("_loading", ()):
                loading.keep_dtypes(state, saved)
            self._unwritten = groups.unwritten(state["param_groups"], state["state"])
            if known is not None and self._plan.recorded():
                left = groups.keep_in_place(self.state, state["state"])
                self._unwritten |= left if self._plan.writes_first() else set()
        self.__dict__.setdefault("_noticed", set())
        self.__dict__.setdefault("_keep_schedule", False)
        self.__dict__.setdefault("_replaced", [])
        self.__dict__.setdefault("_loading", [])
        hooks_are_new = "_optimizer_state_dict_post_hooks" not in self.__dict__
        super().__setstate__({"_initialised": False, **state})
        if hooks_are_new:
            self._register_packing()
        self._forget_plan()

    def _register_packing(self) -> None:
        # As a hook, and the first, so that the callers' hooks see plain values already.
        self.register_state_dict_post_hook(_pack_schedules)

    def _begin_anew(self) -> None:
        """Step by a plan of its own from here on; whoever has kept the attributes can put the present one back."""
        del self._plan
        self._forget_plan()

    def _forget_plan(self) -> None:
        """Groups or state are other ones now; captured graphs learn of it at once."""
        if "_plan" not in self.__dict__:
            self._plan = _core.Step(self.rule)
            self._link = link.Link(self)
        self._plan.forget()
        self._link.attach(self)
        if self._plan.recorded():
            notify(self._plan.tell(self.param_groups, self.state, self._unwritten), self._noticed, self._plan)


def _pack_schedules(optimizer: Optimizer, state: dict[str, Any]) -> None:
    for group in state["param_groups"]:
        groups.pack(group, cast(ScheduledOptimizer, optimizer).all_scheduled)
