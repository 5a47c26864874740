"""How the benches take times and sum them up: in turn, within limits, without the collector, as quartiles."""

import gc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlr.benchmarks.results import number
from fastlr.benchmarks.timing import Effort, alternate, ratios, spread


def test_alternate_calls_every_side_once_a_round_in_changing_order() -> None:
    called: list[str] = []

    def action(name: str) -> Callable[[], int]:
        def call() -> int:
            called.append(name)
            return len(called)

        return call

    measured = alternate({name: action(name) for name in "abc"}, Effort(budget=0.0, least=20, most=50, warmup=2))
    rounds = ["".join(called[start : start + 3]) for start in range(0, len(called), 3)]
    assert rounds[:2] == ["abc", "abc"]
    assert len(rounds) == 22
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len(set(rounds[2:])) == 6
    assert measured["a"] == [3 * index + names.index("a") + 1 for index, names in enumerate(rounds) if index >= 2]


@pytest.mark.parametrize(("budget", "expected"), [(0.0, 3), (float("inf"), 7)])
def test_effort_is_between_its_limits(budget: float, expected: int) -> None:
    measured = alternate({"a": lambda: 0}, Effort(budget=budget, least=3, most=7))
    assert len(measured["a"]) == expected


def test_nothing_is_collected_while_times_are_taken_and_everything_after() -> None:
    enabled = []
    alternate({"a": lambda: enabled.append(gc.isenabled())}, Effort(budget=0.0, least=2, most=2, warmup=0))
    assert enabled == [False, False]
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        alternate({"a": lambda: 1 / 0}, Effort(budget=0.0, least=1, most=1, warmup=0))
    assert gc.isenabled()


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=30))
def test_spread_is_numpys_quartiles(values: list[float]) -> None:
    found = spread(values)
    expected = np.percentile(values, [25, 50, 75])
    assert [found.low, found.median, found.high] == pytest.approx(list(expected), rel=1e-9, abs=1e-300)
    assert found.count == len(values)


def test_ratios_are_paired() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="argument 2"):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.0123"), (9.876, "9.88"), (99.96, "100"), (123.4, "123"), (25170.2, "25170")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
