"""Batches for a search: without end, on the model's device, split into inputs and target."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

# The entry of a batch that is a dict which is its target: the first of these that it has.
TARGETS = ("labels", "label", "targets", "target")

_END = object()


class Split(NamedTuple):
    """A batch taken apart: ``loss_fn(model(*inputs, **named), target)``."""

    inputs: tuple[Any, ...]
    named: dict[str, Any]
    target: Any


class Batches:
    """The batches of a loader, again from the start where it ends.

    ``restarts`` counts how often that was; a loader that shuffles has another order then.

    Raises TypeError for what cannot be iterated or only once, ValueError for a loader without any batch; both at the
    first batch at the latest.

    >>> batches = Batches([1, 2])
    >>> [next(batches) for _ in range(5)], batches.restarts
    ([1, 2, 1, 2, 1], 2)
    """

    def __init__(self, loader: Iterable[Any], device: torch.device | None = None) -> None:
        check_loader(loader)
        self.restarts = 0
        self.device = device
        self._loader = loader
        self._iterator: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._loader)
            batch = next(self._iterator, _END)
        else:
            batch = next(self._iterator, _END)
            if batch is _END:
                self._iterator = iter(self._loader)
                self.restarts += 1
                batch = next(self._iterator, _END)
        if batch is _END:
            raise ValueError(f"The loader gives no batch: {type(self._loader).__name__}. Give one that has some.")
        return moved(batch, self.device)


def check_loader(loader: Any) -> None:
    """Raise TypeError for a loader that cannot be gone through again."""
    if isinstance(loader, Iterator):
        raise TypeError(
            f"The loader is an iterator, whose batches would be used up: {type(loader).__name__}. "
            "Give the loader itself, or a list of batches: list(itertools.islice(iterator, 100))."
        )
    if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
        raise TypeError(f"The loader cannot be iterated: {loader!r}. Give a DataLoader or a list of batches.")


def split(batch: Any) -> Split:
    """The inputs and the target of a batch.

    A tuple or list of two is ``(input, target)``, a longer one ``(*inputs, target)``. A dict is the model's keyword
    arguments, without its entry "labels", "label", "targets" or "target", which is the target.

    Raises TypeError for anything else.

    >>> split(["x", "y"]), split({"x": 1, "labels": 2})
    (Split(inputs=('x',), named={}, target='y'), Split(inputs=(), named={'x': 1}, target=2))
    """
    if isinstance(batch, Mapping):
        target = next((name for name in TARGETS if name in batch), None)
        if target is None:
            raise TypeError(
                f"A batch without a target: a dict of {list(batch)}. Name it {' or '.join(map(repr, TARGETS))}, "
                "or give forward=, a function of the model and a batch that returns the loss."
            )
        return Split((), {name: value for name, value in batch.items() if name != target}, batch[target])
    if isinstance(batch, (tuple, list)) and len(batch) >= 2:
        *inputs, target = batch
        return Split(tuple(inputs), {}, target)
    length = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
    raise TypeError(
        f"A batch that is no (input, target) and no dict: {type(batch).__name__}{length}. "
        "Give forward=, a function of the model and a batch that returns the loss."
    )


def moved(value: Any, device: torch.device | None) -> Any:
    """The batch with its tensors on the device; the loader's own stays as it is. None leaves them where they are."""
    if device is None:
        return value
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(one, device) for one in value))
    if isinstance(value, (tuple, list)):
        return type(value)(moved(one, device) for one in value)
    if isinstance(value, dict):
        entries = copy.copy(value)  # of its own class: callers read attributes of some
        entries.update({name: moved(one, device) for name, one in value.items()})
        return entries
    if callable(getattr(value, "to", None)):
        return copy.copy(value).to(device)  # some move themselves
    if isinstance(value, Mapping):
        return {name: moved(one, device) for name, one in value.items()}
    return value


def device_of(model: torch.nn.Module) -> torch.device | None:
    """Where the model takes its inputs: the device of its first parameter or buffer."""
    tensors = (tensor for found in (model.parameters(), model.buffers()) for tensor in found)
    first = next(tensors, None)
    return None if first is None else first.device
