"""What goes wrong with a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastlr.finder.result import RangeTest
    from fastlr.sweeping.result import Sweep


class StudyError(RuntimeError):
    """A store that cannot be used, or runs in it that do not go with what is asked.

    Attributes:
        result: What was trained and could not be stored: a `Sweep` of the rates that were done, or a `RangeTest`. None
            where nothing was lost.
    """

    def __init__(self, message: str, result: Sweep | RangeTest | None = None) -> None:
        super().__init__(message)
        self.result = result
