"""Losses that are read without making the GPU wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch


class Arrivals:
    """Tensors that come to the host one after another, in order.

    Each is copied into pinned memory behind the work that makes it, so reading it stops nothing; on the CPU it is there
    at once. At most `ahead` are on their way: beyond that the host waits for the oldest.

    >>> arrivals = Arrivals()
    >>> arrivals.push(torch.tensor(2.5))
    >>> [value.item() for value in arrivals.arrived()]
    [2.5]
    """

    def __init__(self, ahead: int = 8) -> None:
        self._ahead = ahead
        self._waiting: deque[tuple[torch.Tensor, Any]] = deque()

    def push(self, value: torch.Tensor) -> None:
        """Send a tensor, as it is now, to the host."""
        value = value.detach()
        if value.device.type == "cuda":
            copied = torch.empty(value.shape, dtype=value.dtype, device="cpu", pin_memory=True)
            copied.copy_(value, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(value.device))
            self._waiting.append((copied, event))
        else:
            self._waiting.append((value.to("cpu", copy=True), None))

    def arrived(self, *, wait: bool = False) -> list[torch.Tensor]:
        """The tensors that have come since the last call, in the order of `push`; with `wait` all of them."""
        found = []
        while self._waiting:
            value, event = self._waiting[0]
            if event is not None and not event.query():
                if not wait and len(self._waiting) <= self._ahead:
                    break
                event.synchronize()
            self._waiting.popleft()
            found.append(value)
        return found


def read(values: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The values on the host, the first as soon as it is made, the others when they have come.

    >>> [value.item() for value in read(torch.arange(3))]
    [0, 1, 2]
    """
    arrivals = Arrivals()
    for index, value in enumerate(values):
        arrivals.push(value)
        yield from arrivals.arrived(wait=index == 0)
    yield from arrivals.arrived(wait=True)
