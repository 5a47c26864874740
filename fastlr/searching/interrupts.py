"""Ctrl-C that waits while a block is entered and left."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupts:
    """Puts off a Ctrl-C that comes while a method of `owner` runs, and lets any other through.

    So one that comes at the end of a block is not lost, and stops nothing of what has to be done there.
    """

    def __init__(self, owner: object) -> None:
        self._owner = owner
        self._waiting = False
        self._previous: Any = None

    def begin(self) -> None:
        """From here on. Only the main thread gets any."""
        previous = signal.getsignal(signal.SIGINT)
        if callable(previous) and threading.current_thread() is threading.main_thread():
            self._previous = previous
            signal.signal(signal.SIGINT, self._handle)

    def end(self) -> None:
        """Until here; what has waited is raised now."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        self.deliver()

    def deliver(self) -> None:
        """Raise what has waited."""
        if self._waiting:
            self._waiting = False
            self._previous(signal.SIGINT, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_locals.get("self") is self._owner:
                self._waiting = True
                return
            frame = frame.f_back
        self._previous(number, None)
