"""A step under torch.compile: one operator in the captured graph, whose implementation is the step outside of it.

``torch.ops.fastlr.step(params, grads, states, count, handle, layout, grad_enabled)`` writes ``params``, ``states`` and
``count``; its fake implementation does nothing. What changes from update to update, such as the rate, is read from the
optimizer when the operator runs: a rate that moves compiles nothing anew.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from fastlr.optim.given import Given, step_with
from fastlr.optim.link import optimizer_of

if TYPE_CHECKING:
    from fastlr.optim.link import Link
    from fastlr.optim.scheduled import ScheduledOptimizer


def step(optimizer: ScheduledOptimizer) -> None:
    """Put the operator into the graph that is being traced."""
    link = optimizer._link
    if optimizer.defaults.get("differentiable") or not _takes(link.handle):
        _step_outside(optimizer)
        return
    params = [param for params in link.lists for param in params]
    places = [place for place, param in enumerate(params) if param.grad is not None]
    _prepare(link.handle, ",".join([str(place) for place in places]))
    states, layout = [], []
    for place in places:
        names = [name for name, value in link.entries[place].items() if _is_state(name, value)]
        states += [link.entries[place][name] for name in names]
        layout.append(f"{place}:{','.join(names)}")
    updated = [params[place] for place in places]
    grads = [param.grad for param in updated]
    grad_enabled = torch.is_grad_enabled()
    with torch.no_grad():
        torch.ops.fastlr.step.default(updated, grads, states, link.count, link.handle, " ".join(layout), grad_enabled)


def zero_grad(link: Link, set_to_none: bool) -> None:
    """torch's, without a look at the parameter groups."""
    for params in link.lists:
        for param in params:
            if param.grad is not None and not set_to_none:
                param.grad.detach_()
                param.grad.zero_()
            elif param.grad is not None:
                param.grad = None


def _is_state(name: str, value: Any) -> bool:
    # torch's "step" lies on the CPU whatever the parameter's device, and nothing but an optimizer reads it.
    return name != "step" and name.isidentifier() and isinstance(value, torch.Tensor)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _takes(handle: str) -> bool:
    """Whether the operator takes the parameters and gradients that are there while a step is traced."""
    groups = optimizer_of(handle).param_groups
    if any(group["zero_grad_in_step"] for group in groups):
        return False  # it does not say that it writes to gradients
    params = [param for group in groups for param in group["params"]]
    if not all(_is_plain(tensor) for param in params for tensor in (param, param.grad)):
        return False
    memory = [param.untyped_storage().data_ptr() for param in params if param.numel() > 0]
    return len(set(memory)) == len(memory)  # compilers lose track of writes to tensors that share it


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _prepare(handle: str, places: str) -> None:
    """Create the state of the parameters at these places, while a step is traced."""
    optimizer = optimizer_of(handle)
    optimizer._link.prepare(optimizer, [int(place) for place in places.split(",") if place])


def _is_plain(tensor: torch.Tensor | None) -> bool:
    """Whether the tensor is what its memory says: compilers go by that, or cannot read the gradient of others."""
    if tensor is None:
        return True
    dense = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout is torch.strided
    return dense and not tensor.is_complex() and not tensor.is_neg()


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _step_outside(optimizer: ScheduledOptimizer) -> None:
    optimizer._update()


# Not for the CUDA graphs of mode="reduce-overhead", whose replays would not see what the host writes into the groups.
_TAGS = [tag for name, tag in torch.Tag.__members__.items() if name == "cudagraph_unsafe"]


@torch.library.custom_op("fastlr::step", mutates_args=("params", "states", "count"), tags=_TAGS)
def _operator(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    states: list[torch.Tensor],
    count: torch.Tensor,
    handle: str,
    layout: str,
    grad_enabled: bool,
) -> None:
    try:
        _step_given(optimizer_of(handle), params, grads, states, layout)
    except BaseException:
        torch.set_grad_enabled(grad_enabled)  # no "finally" is compiled for the no_grad around the operator
        raise
    count.fill_(optimizer_of(handle).param_groups[0]["step_count"])


@_operator.register_fake
def _(*_arguments: Any) -> None:
    pass


def _step_given(
    optimizer: ScheduledOptimizer,
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    states: list[torch.Tensor],
    layout: str,
) -> None:
    link, own = optimizer._link, [param for group in optimizer.param_groups for param in group["params"]]
    seen = link.entries
    if not link.is_current(optimizer):
        link.attach(optimizer)  # guards meet the new state at the next call
    given, tensors = {}, iter(states)
    for param, grad, (place, names) in zip(params, grads, _places(layout), strict=True):
        pairs = list(zip(names, tensors, strict=False))
        state = {name: tensor for name, tensor in pairs if seen[place][name] is link.entries[place].get(name)}
        given[own[place]] = Given(param, grad, state)
    step_with(optimizer, given)


@functools.lru_cache(maxsize=64)
def _places(layout: str) -> list[tuple[int, list[str]]]:
    entries = [entry.split(":") for entry in layout.split()]
    return [(int(place), names.split(",") if names else []) for place, names in entries]
