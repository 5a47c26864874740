"""A step that needs torch's operators: norms that the core cannot find alone, and the recipe around what it leaves."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from fastlr import _core
from fastlr.optim import given, norms, recipe, rounding

if TYPE_CHECKING:
    from fastlr.optim.stepping import Left, SteppingOptimizer


def update(optimizer: SteppingOptimizer, left: Left) -> bool:
    """Find the norms where the step clips by norm, and update what the core leaves to torch's operators.

    Returns:
        False where a norm is not finite and the step is to be skipped: nothing has been changed.

    Raises:
        RuntimeError: A norm is not finite, with ``error_if_nonfinite``; what torch's operators refuse.
        ValueError: Options, or a gradient scale, with ``differentiable``.
    """
    factors = _factors(optimizer, left)
    if factors is None:
        return False
    left = [(index, dict(values), params) for index, values, params in left]
    decays = {index: values.pop("ema_decay") for index, values, _ in left}
    parts = [
        _Part(optimizer, index, place, param, decays[index], factors[index])
        for index, _, params in left
        for place, param in _places(optimizer, index, params)
    ]
    differentiable = bool(optimizer.defaults.get("differentiable"))
    if all(part.is_plain for part in parts):
        with torch.set_grad_enabled(differentiable):
            optimizer._fallback(left)
        return True
    if differentiable:
        raise ValueError("A differentiable update with a recipe around it: differentiable=True. Use neither or one.")
    _update(parts, {index: values for index, values, _ in left})
    return True


def _factors(optimizer: SteppingOptimizer, left: Left) -> list[float] | None:
    """What the gradients of each group are multiplied by. None: the step is to be skipped, as a norm is not finite."""
    groups, scale = optimizer.param_groups, optimizer.__dict__.get("grad_scale")
    sets = [norms.norm_set(index, group) for index, group in enumerate(groups)]
    clips = any(place is not None for place in sets)
    if (clips or scale is not None) and any(_core.is_captured(params[0]) for *_, params in left):
        raise RuntimeError(
            "A captured step has gradients to clip or to unscale that only torch's operators can read: "
            f"max_grad_norm or grad_scale of {sum(len(params) for *_, params in left)} parameters. "
            "Do it outside of the capture."
        )
    inverse = 1.0 if scale is None else 1.0 / float(scale)
    if not clips:
        return [inverse] * len(groups)
    found = norms.find(optimizer, left, inverse)
    optimizer._plan.set_norms(found)
    failed = [group for place, group in zip(sets, groups, strict=True) if not math.isfinite(_of(found, place))]
    if any(group["error_if_nonfinite"] for group in failed):
        raise RuntimeError(
            f"The norm of the gradients is not finite: {found}. "
            "Look for the loss that made them, or skip such steps with error_if_nonfinite=False."
        )
    if failed:
        return None
    limits = [math.inf if place is None else group["max_grad_norm"] for place, group in zip(sets, groups, strict=True)]
    coefficients = [limit / (_of(found, place) + 1e-6) for place, limit in zip(sets, limits, strict=True)]
    return [inverse * min(1.0, coefficient) for coefficient in coefficients]


def _of(found: list[float], place: int | None) -> float:
    return 0.0 if place is None else found[place]


def _places(optimizer: SteppingOptimizer, index: int, params: list[torch.Tensor]) -> Iterator[tuple[int, torch.Tensor]]:
    """Each parameter with its place among all of the optimizer's. They stand in the order of their group."""
    first = sum(len(group["params"]) for group in optimizer.param_groups[:index])
    own = enumerate(optimizer.param_groups[index]["params"], first)
    for param in params:
        yield next((place, param) for place, candidate in own if candidate is param)


def _update(parts: list[_Part], values: dict[int, dict[str, float]]) -> None:
    """Update all of them; those of a parameter that stands at several places one after another."""
    rounds: list[list[_Part]] = []
    seen: defaultdict[int, int] = defaultdict(int)
    for part in parts:
        if seen[id(part.param)] == len(rounds):
            rounds.append([])
        rounds[seen[id(part.param)]].append(part)
        seen[id(part.param)] += 1
    first = {part.param for part in parts if part.is_first()}  # at each of its places, as in torch
    with torch.no_grad():
        for together in rounds:
            _update_together(together, values, first)
        for part in parts:
            if part.group["zero_grad_in_step"]:
                part.param.grad.zero_()  # type: ignore[union-attr]


def _update_together(parts: list[_Part], values: dict[int, dict[str, float]], first: set[torch.Tensor]) -> None:
    optimizer = parts[0].optimizer
    stand_ins: defaultdict[int, list[torch.Tensor]] = defaultdict(list)
    state: defaultdict[torch.Tensor, dict[str, Any]] = defaultdict(dict)
    unwritten = set()
    for part in parts:
        stand_in = part.begin()
        stand_ins[part.index].append(stand_in)
        state[stand_in] = part.shown_state()
        if part.param in first:
            unwritten.add(stand_in)
    with given.holding(optimizer, state, unwritten), _plain_groups(optimizer, stand_ins):
        optimizer._fallback([(index, values[index], params) for index, params in stand_ins.items()])
    for part in parts:
        part.end(state[part.stand_in])
    optimizer._unwritten.difference_update(part.param for part in parts)


@contextlib.contextmanager
def _plain_groups(optimizer: SteppingOptimizer, stand_ins: dict[int, list[torch.Tensor]]) -> Iterator[None]:
    """Have the optimizer hold groups of stand-ins, whose new state is like them."""
    own = optimizer.param_groups
    optimizer.param_groups = [
        {**group, "params": stand_ins.get(index, []), "state_dtype": None} for index, group in enumerate(own)
    ]
    try:
        yield
    finally:
        optimizer.param_groups = own


class _Part:
    """The update of one parameter, at one of its places."""

    stand_in: torch.Tensor  # what is updated: the master, the parameter's memory, in float32 a copy, or itself
    average: torch.Tensor | None

    def __init__(
        self, optimizer: SteppingOptimizer, index: int, place: int, param: torch.Tensor, decay: float, factor: float
    ) -> None:
        self.optimizer, self.index, self.place, self.param = optimizer, index, place, param
        self.group = optimizer.param_groups[index]
        self.decay, self.factor = decay, factor
        narrow = param.dtype in (torch.float16, torch.bfloat16)
        self.computed_in = torch.float32 if narrow else param.dtype
        self.has_master = recipe.has_master(param, self.group)
        self.stochastic = self.group["stochastic_rounding"] and narrow and not self.has_master
        self.state: dict[str, Any] = {}
        self.is_plain = self._is_plain(narrow)
        self.is_own = self.is_plain and not narrow  # 16 bits are rounded once, as the core does, where a recipe is near

    def _is_plain(self, narrow: bool) -> bool:
        """Whether the rule's own update is all that is to be done."""
        scaled = self.optimizer.__dict__.get("grad_scale") is not None or self.group["max_grad_norm"] is not None
        changed = scaled or self.group["max_grad_value"] is not None or self.group["zero_grad_in_step"]
        if changed or self.decay >= 0.0 or self.has_master or self.stochastic:
            return False
        if not narrow and self.group["state_dtype"] is None:
            return True  # also with the caller's state of another dtype, which torch's operators may take
        state = self.optimizer.state.get(self.param, {}).items()
        dtypes = {value.dtype for name, value in state if self._is_rule_state(name, value)}
        return dtypes | {recipe.state_dtype(self.param, self.group)} == {self.param.dtype}

    def is_first(self) -> bool:
        """Whether no update has written the rule's state."""
        state = self.optimizer.state.get(self.param, {}).items()
        return self.param in self.optimizer._unwritten or not any(self._is_rule_state(*entry) for entry in state)

    def begin(self) -> torch.Tensor:
        """Make what stands for the parameter, with the gradient that it is updated by. Nothing is changed yet."""
        if self.stochastic and self.param.dtype is torch.float16:
            recipe.check_params(self.group)
        if any(size > 1 and stride == 0 for size, stride in zip(self.param.shape, self.param.stride(), strict=True)):
            raise RuntimeError(
                "More than one element of a parameter refers to a single memory location: "
                f"shape {list(self.param.shape)}, strides {list(self.param.stride())}. Give the optimizer a copy."
            )
        self.state = dict(self.optimizer.state.get(self.param, {}))
        if self.is_own:
            self.average, self.stand_in = None, self.param
            return self.stand_in
        weights = self.param.detach()
        if self.has_master:
            held = self.state.get("master_param")
            weights = recipe.new_master(self.param) if held is None else held.detach()
        self.average = None if self.decay < 0.0 else self.state.get("ema")
        if self.decay >= 0.0 and self.average is None:
            self.average = recipe.new_average(weights)
        self.stand_in = weights.to(self.computed_in)
        self.stand_in.grad = self._gradient()
        return self.stand_in

    def shown_state(self) -> dict[str, Any]:
        """The rule's state for the stand-in."""
        if self.is_own:
            return dict(self.state)
        return {
            name: value.to(self.computed_in) if self._is_rule_state(name, value) else value
            for name, value in self.state.items()
            if name not in recipe.WEIGHTS
        }

    def end(self, updated: dict[str, Any]) -> None:
        """Store what the rule has made of the stand-in and its state."""
        kept = updated
        if not self.is_own:
            kept = {name: self._stored(name, value) for name, value in updated.items()}
            kept |= self._store_weights()
        if kept:
            self.optimizer.state[self.param].update(kept)

    def _stored(self, name: str, value: Any) -> Any:
        held = self.state.get(name)
        if not self._is_rule_state(name, value) or held is value:
            return value
        if held is None:
            return value.to(recipe.state_dtype(self.param, self.group))
        return held.copy_(value) if held.layout == value.layout else value.to(held.dtype)

    def _store_weights(self) -> dict[str, torch.Tensor]:
        """Write the parameter. Returns its master and its average."""
        self.stand_in.grad = None
        kept: dict[str, torch.Tensor] = {}
        if self.stochastic:
            self._store_stochastically()
        elif self.stand_in.dtype != self.param.dtype:
            self.param.copy_(self.stand_in)
        if self.has_master:
            kept["master_param"] = self._kept("master_param", self.stand_in)
        if self.average is not None:
            weights = self.stand_in if self.has_master else self.param.detach()
            self.average.lerp_(weights.to(self.average.dtype), 1.0 - self.decay)
            kept["ema"] = self.average
        return kept

    def _kept(self, name: str, weights: torch.Tensor) -> torch.Tensor:
        held: torch.Tensor | None = self.state.get(name)
        if held is None:
            return weights
        return held if held.dtype == weights.dtype else held.copy_(weights)  # the caller's own

    def _store_stochastically(self) -> None:
        key = rounding.key(self.group["rounding_seed"], self.group["step_count"], self.place)
        norms.local(self.param).copy_(rounding.stochastic(norms.local(self.stand_in), key))
        if norms.is_distributed(self.param):
            torch.autograd.graph.increment_version(self.param)

    def _gradient(self) -> torch.Tensor:
        """Unscaled and clipped."""
        grad, limit = self.param.grad, self.group["max_grad_value"]
        assert grad is not None
        if grad.is_sparse:
            whole = norms.added_up(grad)
            values = self._clipped(whole.values(), limit)
            return torch.sparse_coo_tensor(
                whole.indices(), values, whole.shape, is_coalesced=True, check_invariants=False
            )
        return self._clipped(grad, limit)

    def _clipped(self, grad: torch.Tensor, limit: float | None) -> torch.Tensor:
        grad = grad.to(self.computed_in)
        grad = grad if self.factor == 1.0 else grad * self.factor
        if limit is None or limit > torch.finfo(grad.dtype).max:
            return grad
        return grad.clamp(-limit, limit)

    def _is_rule_state(self, name: str, value: Any) -> bool:
        """Whether it is what an update computes in, and not torch's count of updates or an entry of the caller's."""
        if name == "step" or name in recipe.WEIGHTS or not isinstance(value, torch.Tensor):
            return False
        return value.is_floating_point() == self.param.is_floating_point() and value.shape == self.param.shape
