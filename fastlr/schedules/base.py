"""What every schedule has: calling, operators, extremes, text and plain data."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from fastlr import _core
from fastlr.schedules import checks, steps
from fastlr.schedules.operators import Operators

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

# How tightly a schedule's text binds, as in Python: calls, then **, then * and /, then +, then >>.
ATOM, POWER, PRODUCT, SUM, SEQUENCE = 4, 3, 2, 1, 0


def within(turns: Iterable[int], first: int, last: int) -> list[int]:
    """The turns that lie between two steps, and these two."""
    return [first, *(turn for turn in turns if first < turn < last), last]


class Schedule(Operators, ABC):
    """A value for every step: immutable, comparable, hashable, picklable.

    Step ``t`` is the number of updates done before, so the first update uses ``t = 0``. Past its end a schedule holds
    its last value. Steps are int64 and values float64; the same step gives the same bits one at a time and in an array.

    - ``s(t)``: a float for an int; float64 of the same shape for an integer NumPy array or tensor.
    - ``a >> b``: first ``a`` for its length, then ``b``, which sees steps since its own start.
    - ``a * b``, ``a / b``, ``a + b``, ``a - b``, ``a ** 2``: with schedules or numbers; `minimum`, `maximum`, `clip`.
      ``>>`` binds looser than all of them: ``a >> b * c`` is ``a >> (b * c)``.
    - Time: `shift`, `stretch`, `over`, `repeat`, `hold`, `per_epoch`, `floor`, `past_end`.
    - ``length``: the number of steps before the value holds, or None for a schedule without end.

    Raises TypeError for steps that are not integers and ValueError for steps below 0.

    >>> from fastlr.schedules import Constant, Cosine, Warmup
    >>> s = Warmup(peak=0.5, length=2) >> Cosine(start=0.5, end=0.0, length=4)
    >>> [s(t) for t in (0, 1, 2, 6, 7)]
    [0.25, 0.5, 0.5, 0.0, 0.0]
    >>> s(np.array([[0, 1], [2, 6]]))
    array([[0.25, 0.5 ],
           [0.5 , 0.  ]])
    >>> s.length
    6
    >>> 2.0 * s + 0.5 * Constant(1.0)
    2.0 * (Warmup(peak=0.5, length=2) >> Cosine(start=0.5, end=0.0, length=4)) + Constant(value=0.5) * 1.0
    """

    __slots__ = ("_program",)
    _program: _core.Program | None
    _binding: ClassVar[int] = ATOM
    _steps: ClassVar[tuple[str, ...]] = ("length",)  # the fields that count steps

    if TYPE_CHECKING:  # a property here would become the default of the fields named length

        @property
        def length(self) -> int | None:
            """The number of steps before the value holds, or None for a schedule without end."""

    def __new__(cls, *args: object, **kwargs: object) -> Schedule:
        schedule = object.__new__(cls)
        object.__setattr__(schedule, "_program", None)
        return schedule

    @abstractmethod
    def _emit(self, builder: _core.ProgramBuilder) -> None:
        """Append the instructions that leave this schedule's value."""

    def _turns(self) -> list[int]:
        """Steps between which the schedule only rises or only falls, its first and last included."""
        return self._turns_within(0, checks.MAX_STEP if self.length is None else self.length)

    def _turns_within(self, first: int, last: int) -> list[int]:
        """`_turns` among the steps from first to last."""
        return [first, last]

    @property
    def program(self) -> _core.Program:
        """The compiled schedule, which the optimizers and the evaluator run. Built at the first use."""
        program = self._program
        if program is None:
            builder = _core.ProgramBuilder()
            self._emit(builder)
            program = builder.build()
            object.__setattr__(self, "_program", program)
        return program

    @overload
    def __call__(self, t: int) -> float: ...
    @overload
    def __call__(self, t: np.integer[Any]) -> float: ...
    @overload
    def __call__(self, t: NDArray[np.integer[Any]]) -> NDArray[np.float64]: ...
    @overload
    def __call__(self, t: torch.Tensor) -> torch.Tensor: ...

    def __call__(self, t: Any) -> Any:
        program = self._program
        if program is not None and type(t) is int:
            return program(t)
        return steps.values_at(self.program, t)

    @property
    def start_value(self) -> float:
        """The value of the first update."""
        return self(0)

    @property
    def end_value(self) -> float:
        """The value at ``t = length``; without an end, the one it tends to.

        >>> from fastlr.schedules import Exponential, Linear
        >>> Linear(start=1.0, end=0.25, length=3).end_value, Exponential(start=1.0, gamma=0.9).end_value
        (0.25, 0.0)
        """
        return self(checks.MAX_STEP if self.length is None else self.length)

    @property
    def peak(self) -> float:
        """The largest value over all steps from 0 on, infinity if it grows without end.

        Exact for single schedules, in sequence, repeated or in another time, and where all operands of ``*`` and ``+``
        but one are constant. Other products and sums are looked at where an operand turns, at 4096 steps between, and
        at every step near the largest of these.

        >>> from fastlr.schedules import OneCycle
        >>> OneCycle(max_lr=0.5, total_steps=10).peak
        0.5
        """
        return float(np.nanmax(self._values_at_turns()))

    @property
    def minimum_value(self) -> float:
        """The smallest value over all steps from 0 on, found as `peak` is."""
        return float(np.nanmin(self._values_at_turns()))

    def _values_at_turns(self) -> NDArray[np.float64]:
        return self._known(np.array(self._turns(), dtype=np.int64))

    def _known(self, turns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values, NaN at the steps that have none."""
        try:
            return self(turns)
        except ValueError:
            return np.array([self._value_or_nan(t) for t in turns.tolist()])

    def _value_or_nan(self, t: int) -> float:
        try:
            return self(t)
        except ValueError:
            return math.nan

    def _stretched(self, factor: Fraction) -> Schedule:
        """Every number of steps times the factor."""
        changed = {name: checks.scaled(getattr(self, name), factor) for name in self._steps}
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]

    def _stretched_to(self, steps: int) -> Schedule:
        """Stretched to exactly this length. Raises ValueError where only others are possible."""
        assert self.length is not None
        result = self._stretched(Fraction(steps, self.length))
        if result.length != steps:
            raise ValueError(
                f"The schedule cannot be exactly {steps} steps long: {self!r} comes to {result.length}. "
                "Use a multiple of its epochs or stairs."
            )
        return result

    def _extrapolated(self) -> Schedule:
        """The schedule whose formula goes on past the end."""
        if self.length is None:
            return self
        raise ValueError(
            f"The schedule does not go on past its end: {self!r}. Use past_end('hold') or 'error', or append a piece."
        )

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the schedule with matplotlib; `fastlr.plot` has the options and draws several in one picture."""
        from fastlr.pictures import plot

        return plot(self, ax, **options)

    def __repr__(self) -> str:
        shown = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value != field.default:
                shown.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return type(self), tuple(getattr(self, field.name) for field in fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: dict, list, str, int, float, bool and None only, with the class name as ``"kind"``.

        >>> from fastlr.schedules import Cosine
        >>> Cosine(start=0.1, end=0.0, length=100).to_dict()
        {'kind': 'Cosine', 'start': 0.1, 'end': 0.0, 'length': 100, 'k': 1.0}
        """
        from fastlr.schedules.serialize import to_dict

        return to_dict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Schedule:
        """The schedule that `to_dict` described. Raises ValueError or TypeError where the data does not fit."""
        from fastlr.schedules.serialize import from_dict

        return from_dict(data)

    def to_json(self) -> str:
        """`to_dict` as a JSON string. Every float comes back with the same bits."""
        from fastlr.schedules.serialize import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Schedule:
        """The schedule that `to_json` described. Raises ValueError or TypeError where the text does not fit."""
        from fastlr.schedules.serialize import from_json

        return from_json(text)
