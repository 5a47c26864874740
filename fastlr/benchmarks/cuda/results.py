"""What a bench on CUDA found, as tables and as a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fastlr._command import table
from fastlr.benchmarks.results import interval, number
from fastlr.benchmarks.timing import Spread

HEADER = ("side", "device, us", "host, us", "GB/s", "of copy", "device / fastlr", "host / fastlr", "result")


@dataclass(frozen=True)
class CudaRow:
    """One side of a case.

    Attributes:
        device: Microseconds of the device for an update.
        host: Microseconds of the calls, which do not wait for the device.
        bandwidth: The least bytes that an update moves over ``device``, in GB/s.
        of_copy: ``bandwidth`` over that of a copy of as many bytes, paired round by round.
        device_ratio: This side's ``device`` over fastlr's, paired round by round; above 1 fastlr is faster.
        host_ratio: The same of ``host``.
        check: How this side's result compares with that of torch's loop.
    """

    label: str
    device: Spread
    host: Spread
    bandwidth: Spread
    of_copy: Spread
    device_ratio: Spread | None = None
    host_ratio: Spread | None = None
    check: str = ""

    def cells(self) -> list[str]:
        ratios = ["" if ratio is None else interval(ratio, "{:.2f}".format) for ratio in self._ratios()]
        times = [interval(self.device, number), interval(self.host, number)]
        return [self.label, *times, number(self.bandwidth.median), f"{self.of_copy.median:.1%}", *ratios, self.check]

    def _ratios(self) -> tuple[Spread | None, Spread | None]:
        return self.device_ratio, self.host_ratio


@dataclass(frozen=True)
class CudaCase:
    """A case in one dtype; ``untimed`` says for each side that was not timed why, ``skipped`` for the whole case."""

    name: str
    optimizer: str
    dtype: str
    description: str
    step_bytes: int
    rows: Sequence[CudaRow] = ()
    untimed: Mapping[str, str] = field(default_factory=dict)
    correct: bool = True
    skipped: str = ""

    def text(self) -> str:
        what = f"{self.name}, {self.optimizer}, {self.dtype}"
        title = f"{what}: {self.description}, {self.step_bytes / 1e9:.3g} GB an update"
        if self.skipped:
            return f"{title}\nskipped: {self.skipped}"
        shown = ["", table(HEADER, [row.cells() for row in self.rows])] if self.rows else []
        return "\n".join([title, *shown, *(f"{label}: not timed: {reason}" for label, reason in self.untimed.items())])

    def record(self) -> dict[str, Any]:
        return asdict(self)
