"""What a bench found: rows of one case, as a table and as a record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fastlr._command import table
from fastlr.benchmarks.timing import Spread


@dataclass(frozen=True)
class Row:
    """One side of a case.

    Attributes:
        times: what was timed, by column name, in microseconds.
        ratio: this side's time over fastlr's, paired round by round; above 1 fastlr is faster.
        check: how this side's result compares with fastlr's.
        correct: False where the results differ by more than rounding.
        share: of the last of ``times`` in the first, where the one contains the other.
    """

    label: str
    times: Mapping[str, Spread]
    ratio: Spread | None = None
    check: str = ""
    correct: bool = True
    share: Spread | None = None


@dataclass(frozen=True)
class CaseResult:
    """One case of one optimizer; ``missing`` says for each side that did not run why."""

    name: str
    optimizer: str
    description: str
    rows: Sequence[Row]
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def correct(self) -> bool:
        return all(row.correct for row in self.rows)

    def text(self) -> str:
        columns = list(self.rows[0].times)
        shares = self.rows[0].share is not None
        header = ["side", *(f"{column}, us" for column in columns), *["share"] * shares, "time / fastlr", "result"]
        rows = [self._cells(row, columns) for row in self.rows]
        notes = [f"{label}: did not run: {reason}" for label, reason in self.missing.items()]
        return "\n".join([f"{self.name}, {self.optimizer}: {self.description}", "", table(header, rows), *notes])

    @staticmethod
    def _cells(row: Row, columns: Sequence[str]) -> list[str]:
        cells = [row.label, *(interval(row.times[column], number) for column in columns)]
        if row.share is not None:
            cells.append(f"{row.share.median:.1%}")
        return [*cells, "" if row.ratio is None else interval(row.ratio, "{:.2f}".format), row.check]

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "correct": self.correct}


def interval(values: Spread, form: Callable[[float], str]) -> str:
    """Median and, in parentheses, quartiles."""
    return f"{form(values.median)} ({form(values.low)}-{form(values.high)})"


def number(value: float) -> str:
    """Three significant digits or all digits of the whole part, whichever is more."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
