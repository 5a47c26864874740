"""The demo's comparison of the found rate with others: which those are, the sign test, and what it says."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

from fastlr.demo.report import Comparison, compared, largest_difference, rates_table, rates_verdict, sides_verdict
from fastlr.demo.train import NAMED, Side, Trained, other_rates


def test_the_other_rates_are_what_they_are_called() -> None:
    default, example = NAMED
    assert inspect.signature(torch.optim.SGD).parameters["lr"].default == default
    assert f"torch.optim.SGD(model.parameters(), lr={example}, " in str(torch.optim.SGD.__doc__)
    assert list(other_rates(0.2, [0.02, 0.2, 2.0])) == [default, 0.02, example, 2.0]
    assert list(other_rates(2.0, [0.02, 0.2, 2.0])) == [default, 0.02, example]
    assert other_rates(0.01, [example, 1.0])[example] == NAMED[example]


def side(rate: float, right: str) -> Side:
    """A training that gets those test images right that have a 1."""
    model = torch.nn.Linear(1, 1)
    known = torch.tensor([one == "1" for one in right])
    return Side(f"with {rate}", rate, model, torch.optim.SGD(model.parameters()), lambda: None, right=known)


@pytest.mark.parametrize(
    ("other", "alone", "verdict", "said"),
    [
        ("0" * 8 + "1" * 4, (8, 2), "chance", "Against 0.5 these 360 images do not decide."),
        ("0" * 10 + "10", (10, 1), "better", "0.2 gets more test images right than 0.5, by more than chance."),
        ("1" * 10 + "00", (0, 0), "chance", "do not decide."),
        ("1" * 10 + "11", (0, 2), "chance", "do not decide."),
    ],
)
def test_the_sign_test(other: str, alone: tuple[int, int], verdict: str, said: str) -> None:
    ours, theirs = side(0.2, "1" * 10 + "00"), side(0.5, other)
    (one,) = compared(Trained([ours], [theirs], 1, 1))
    assert (one.ours_alone, one.other_alone) == alone
    both = sum(alone)
    tail = sum(math.comb(both, count) for count in range(min(alone) + 1)) / 2**both
    assert one.p == pytest.approx(min(1.0, 2.0 * tail))
    assert one.verdict == verdict
    assert said in rates_verdict(Trained([ours], [theirs], 1, 1))


def test_a_found_rate_that_loses_is_said_to() -> None:
    ours, better, worse = side(0.2, "0" * 20 + "1" * 20), side(0.1, "1" * 40), side(0.5, "0" * 40)
    trained = Trained([ours], [better, worse, side(0.7, "0" * 40)], 1, 1)
    said = rates_verdict(trained)
    assert "0.2 gets fewer test images right than 0.1, by more than chance. A better rate was missed." in said
    assert "0.2 gets more test images right than 0.5 and 0.7, by more than chance." in said
    assert "do not decide" not in said
    assert [one.verdict for one in compared(trained)] == ["worse", "better", "better"]
    assert Comparison(ours, 5, 3, 0.05).verdict == "chance"
    assert [line.split("|")[1].strip() for line in rates_table(trained).splitlines()[2:]] == [
        "0.2",
        "0.1",
        "0.5",
        "0.7",
    ]


NAN = math.nan


@pytest.mark.parametrize(
    ("ours", "torchs", "apart", "said"),
    [
        ([2.0, 1.0, 0.5], [2.0, 1.0, 0.5], 0.0, "All 3 losses of fastlr and of torch's default are the same number"),
        (
            [2.0, 1.0, 0.5],
            [2.0, 1.25, 0.5],
            0.25,
            "The losses of fastlr and of torch's default differ by at most 0.25.",
        ),
        ([2.0, NAN, NAN], [2.0, NAN, NAN], 0.0, "All 3 losses of fastlr and of torch's default are the same number"),
        ([2.0, 1.0, NAN], [2.0, 1.0, 0.5], NAN, "The losses of fastlr and of torch's default differ by at most nan."),
    ],
)
def test_equal_losses_are_called_equal_and_others_not(
    ours: list[float], torchs: list[float], apart: float, said: str
) -> None:
    sides = [side(0.2, "1") for _ in range(3)]
    for one, losses in zip(sides, (ours, torchs, ours), strict=True):
        one.losses, one.rates, one.microseconds = losses, [0.2] * 3, [1.0] * 3
    assert largest_difference(ours, torchs) == pytest.approx(apart, nan_ok=True)
    assert " ".join(sides_verdict(Trained(sides, [], 3, 1)).split()).startswith(said)
