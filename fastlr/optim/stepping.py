"""The step of fastlr's optimizers: torch's manners around the native update, and around what it leaves to torch."""

from __future__ import annotations

import functools
import itertools
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from fastlr import _core
from fastlr.optim import groups, link, recipe
from fastlr.optim.norms import norm_set
from fastlr.optim.notices import notify

# What _core.Step.prepare() leaves to torch's operators: (group index, values of what may be scheduled, parameters).
Left: TypeAlias = "list[tuple[int, dict[str, float], list[torch.Tensor]]]"


class SteppingOptimizer(link.TraceableOptimizer):
    """An optimizer whose step is native."""

    # torch.amp.GradScaler then calls step() with grad_scale and found_inf set, instead of changing the gradients.
    _step_supports_amp_scaling = True

    _plan: _core.Step
    _unwritten: set[torch.Tensor]  # their state is allocated, but no update has written it
    _noticed: set[int]
    _averaged_now: bool = False  # the parameters hold their averages at the moment
    _initialised: bool = False  # all state was allocated ahead of the first update, which is still to come

    @abstractmethod
    def _fallback(self, left: Left) -> None:
        """Update with torch's operators what the core does not take."""

    @abstractmethod
    def _create_state(self, with_grad: list[tuple[dict[str, Any], torch.Tensor]]) -> None:
        """Allocate zeroed state for the parameters, which the first update does not read."""

    def _update(self, closure: Callable[[], Any] | None = None) -> Any:
        """Do one update of every parameter that has a gradient.

        Args:
            closure: Reevaluates the model and returns the loss, as in torch.

        Returns:
            What ``closure`` returned, else None.

        Raises:
            RuntimeError: A gradient has another dtype, shape or device than its parameter; with ``error_if_nonfinite``
                a norm that is not finite.
            ValueError: A hyper-parameter in a group is not a number. In these cases nothing has been changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if torch.compiler.is_dynamo_compiling():
            link.trace(self)
            return loss
        if self._averaged_now:
            raise RuntimeError("step() while the averages stand in for the weights: averaged(). Leave the block first.")
        if not self.state and self._only_initialises():
            return loss
        if self._initialised:
            self._begin()
        plan = self._plan
        if "found_inf" in self.__dict__ or "grad_scale" in self.__dict__:
            plan.scale(self.__dict__.get("grad_scale"), self.__dict__.get("found_inf"))
        left = plan.prepare(self.param_groups, self.state, self._unwritten)
        notices = plan.finish() if left is None else self._finish_assisted(left)
        if notices:
            if notices & _core.NOTICE_SKIPPED:
                zero_gradients(self.param_groups)
            notify(notices, self._noticed, plan)
        return loss

    def _finish_assisted(self, left: Left) -> int:
        """The rest of a step in which torch's operators have to help."""
        from fastlr.optim import assisted

        try:
            if self._plan.must_skip() or not assisted.update(self, left):
                self._plan.abandon()
                return _core.NOTICE_SKIPPED
            self._unwritten.difference_update(*(params for *_, params in left))
        except BaseException:
            self._plan.abandon()
            raise
        return self._plan.finish()

    _hooked_step = Optimizer.profile_hook_step(_update)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or link.is_profiled()
        ):
            return self._hooked_step(*args, **kwargs)
        return self._update(*args, **kwargs)

    # The signature and text of _update, without the type that functools.wraps would give: it does not bind self.
    functools.update_wrapper(step, _update, assigned=("__doc__",), updated=())
    # torch then leaves `step` as it is, instead of wrapping it in 15 us of hooks and record_function.
    step.hooked = True  # type: ignore[attr-defined]

    def _only_initialises(self) -> bool:
        """Whether this step only has to create the state: nothing is counted, so the first update stays a first one."""
        with_grad = groups.initialised(self.param_groups)
        if with_grad:
            link.allocate(self, with_grad)
            self._initialised = True
        return bool(with_grad)

    def _begin(self) -> None:
        """Start masters and averages from the present parameters, which may have been loaded since the allocation."""
        self._initialised = False
        if any(_core.is_captured(param) for param in itertools.islice(self.state, 1)):
            recipe.drop_weights(self.state)  # the step makes them anew, aside of the capture
        else:
            recipe.renew_weights(self.state)

    @property
    def grad_norm(self) -> float | tuple[float, ...] | None:
        """The 2-norm of the last step's gradients, unscaled and not yet clipped, of the groups that clip by norm.

        A tuple with an entry for each group where some group has a norm of its own: its norm, or nan without clipping.
        None before the first. A step that a gradient scaler skips leaves it as it is. Waits for a GPU.

        >>> import fastlr
        >>> weight = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = fastlr.SGD([weight], lr=1.0, max_grad_norm=1.0)
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> optimizer.step()
        >>> optimizer.grad_norm
        5.0
        """
        norms = self._plan.norms()
        if not norms:
            return None
        if not any(group["norm_per_group"] for group in self.param_groups):
            return norms[0]
        places = [norm_set(index, group) for index, group in enumerate(self.param_groups)]
        return tuple(math.nan if place is None or place >= len(norms) else norms[place] for place in places)


def zero_gradients(param_groups: list[dict[str, Any]]) -> None:
    """Zero the gradients of the groups whose updates do so; for an update that is skipped."""
    with torch.no_grad():
        for group in param_groups:
            for param in group["params"] if group["zero_grad_in_step"] else ():
                if param.grad is not None:
                    param.grad.zero_()
