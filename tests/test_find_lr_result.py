"""What a range test says, draws and writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from find_cases import ONE, Quadratic, batches, itself, network
from matplotlib.figure import Figure
from torch.nn.functional import cross_entropy

import fastlr
from fastlr.finder import RangeTest, find_lr

LOADER = batches()


@pytest.fixture(scope="module")
def many() -> RangeTest:
    """Three runs of different lengths."""
    return find_lr(network(), cross_entropy, LOADER, fastlr.AdamW, repeats=3, steps=80)


def test_arrays_are_medians_and_end_with_the_longest_run(many: RangeTest) -> None:
    lengths = [curve.losses.size for curve in many.curves]
    assert many.rates.size == many.losses.size == many.smoothed.size == 80
    assert np.isnan(many.losses[max(lengths) :]).all()
    assert many.losses[5] == np.median([curve.losses[5] for curve in many.curves])
    assert many.smoothed[5] == np.median([curve.smoothed[5] for curve in many.curves])
    assert many.stopped == many.curves[0].stopped


def test_json_has_everything_and_comes_back(many: RangeTest, tmp_path: Path) -> None:
    text = many.to_json(tmp_path / "test.json")
    assert (tmp_path / "test.json").read_text(encoding="utf-8") == text + "\n"
    record = json.loads(text, parse_constant=lambda name: pytest.fail(name))  # NaN is no JSON
    assert record["lr"] == many.lr
    assert record["suggestions"]["steepest"]["runs"] == list(many.suggest("steepest").runs)
    again = RangeTest.from_json(text)
    assert (again.to_json(), str(again), again.lr) == (text, str(many), many.lr)
    assert np.array_equal(again.losses, many.losses, equal_nan=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "3"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Not a range test"):
        RangeTest.from_json(text)
    with pytest.raises(ValueError, match="another format: 99"):
        RangeTest.from_json('{"format": 99}')


def test_nan_losses_are_null() -> None:
    losses = iter([1.0, *[float("nan")] * 9])
    text = find_lr(Quadratic(1.0), lambda output, _: output * next(losses), ONE, steps=9).to_json()
    assert json.loads(text)["runs"][0]["losses"] == [None]
    assert RangeTest.from_json(text).lr is None


def test_printed_it_explains_itself(many: RangeTest) -> None:
    lines = str(many).splitlines()
    assert lines[0] == f"Learning rate {many.lr:.3g}"
    assert [line.split()[0] for line in lines[1:5]] == ["valley", "steepest", "slide", "minimum"]
    assert "(3 runs: " in lines[1]
    assert "of 80 rates, from 1e-07 on" in lines[5]
    assert "shorter than the test: its batches came" in lines[6]
    assert repr(many) == f"<range test: lr={many.lr}>"


def test_notes_say_what_to_change() -> None:
    model = network()
    params = [param for param in model.parameters() if param.requires_grad]
    groups = torch.optim.SGD([{"params": params[:1], "lr": 0.1}, {"params": params[1:], "lr": 0.4}], momentum=0.9)
    falling = str(find_lr(model, cross_entropy, LOADER, groups, high=0.02))
    assert "still falls at the highest rate: raise `high`" in falling
    assert "parts of it: 0.25, 1" in falling
    same = str(find_lr(Quadratic(1.0), itself, ONE, repeats=2))
    assert "The runs are all the same" in same
    early = str(find_lr(Quadratic(100.0), itself, ONE, fastlr.SGD, low=8e-3, high=1.0))
    assert "falls already at the lowest rate: lower `low`" in early


def test_the_picture_shows_the_losses_and_the_suggestions(many: RangeTest) -> None:
    axes = Figure().subplots()
    assert many.plot(axes) is axes
    labels = axes.get_legend_handles_labels()[1]
    assert labels[:3] == ["loss", "smoothed", "the fall"]
    assert labels[3:] == [f"{name} {many.suggest(name).lr:.3g}" for name in ("valley", "steepest", "slide", "minimum")]
    assert axes.get_xscale() == "log"
    curves = [line.get_ydata() for line in axes.lines[:4]]
    assert all(np.array_equal(shown, run.losses) for shown, run in zip(curves, many.curves, strict=False))
    assert np.array_equal(curves[3], many.smoothed, equal_nan=True)
    low, high = axes.get_ylim()
    assert low < np.nanmin(many.smoothed)
    assert many.curves[0].level < high < 3 * many.curves[0].level  # however far it diverged
    axes.figure.canvas.draw()


def test_a_picture_without_a_rate_says_why() -> None:
    result = find_lr(Quadratic(1.0), itself, ONE, high=2e-7, steps=10)
    axes = result.plot(Figure().subplots(), methods=["valley"])
    assert "no learning rate: the loss does not fall" in axes.get_title()
    assert "valley" not in " ".join(axes.get_legend_handles_labels()[1])


def test_a_rate_needs_no_matplotlib() -> None:
    code = (
        "import sys, torch; sys.modules['matplotlib'] = None\n"
        "from fastlr.finder import find_lr\n"
        "x = torch.ones(1, 1)\n"
        "result = find_lr(torch.nn.Linear(1, 1), torch.nn.functional.mse_loss, [(x, 3 * x)])\n"
        "print(result.lr, len(result.to_json()) > 100, str(result)[:13])\n"
        "try: result.plot()\n"
        "except ModuleNotFoundError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.endswith("True Learning rate")
    assert "pip install 'torch-fastlr[demo]'" in second
