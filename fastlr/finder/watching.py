"""When a range test is over before its last rate."""

from __future__ import annotations

import math
from collections import deque

IN_A_ROW = 3


class Watch:
    """Looks at losses one after another, and says when they have diverged.

    That is at the first that is not finite, or when three in a row are above
    ``best + (limit - 1) * max(abs(start), start - best)``, with `start` the loss before any update: for losses that
    stay positive, about `limit` times the start. A limit of None only stops at what is not finite.
    """

    def __init__(self, start: float, limit: float | None) -> None:
        self._start = start
        self._limit = limit
        self._best = start
        self._last: deque[float] = deque(maxlen=IN_A_ROW)

    def ceiling(self) -> float:
        """What is above this has diverged."""
        if self._limit is None:
            return math.inf
        return self._best + (self._limit - 1.0) * max(abs(self._start), self._start - self._best)

    def diverged(self, loss: float) -> str | None:
        """Why the test ends with this loss; None where it goes on."""
        if not math.isfinite(loss):
            return f"the loss is not finite: {loss}"
        self._last.append(loss)
        if len(self._last) == IN_A_ROW:
            self._best = min(self._best, sorted(self._last)[IN_A_ROW // 2])
            if min(self._last) > self.ceiling():
                return f"the loss diverged: {loss:.3g} from {self._start:.3g}"
        return None
