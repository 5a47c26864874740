"""What a sweep says: its table, its picture, its JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sweep_cases import batches, model_of
from torch import nn

import fastlr
from fastlr.sweeping import Sweep, sweep

CROSS_ENTROPY = nn.functional.cross_entropy


@pytest.fixture(scope="module")
def found() -> Sweep:
    model, loader = model_of("mlp")
    shape = fastlr.warmup_cosine(1.0, 40)
    rates = [0.01, 0.1, 0.3, 1e30]
    return sweep(model, CROSS_ENTROPY, loader, rates, steps=40, shape=shape, validation=batches(seed=1))


@pytest.fixture
def pyplot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    import matplotlib.pyplot

    yield matplotlib.pyplot
    matplotlib.pyplot.close("all")


def test_the_table_has_a_line_for_each_rate_and_says_what_it_means(found: Sweep) -> None:
    lines = str(found).splitlines()
    first = [line.split("|")[1].strip() for line in lines[:6]]
    assert [first[0], *first[2:]] == ["rate", "0.01", "0.1", "0.3", "1e+30"]
    assert "diverged at step 1" in lines[5]
    assert f"The best is {found.best:g}" in str(found)
    assert f"Ran {found.engine.name}: " in str(found)
    assert repr(found) == f"<sweep of 4: best={found.best}>"


def test_json_has_everything_and_comes_back(found: Sweep, tmp_path: Path) -> None:
    text = found.to_json(tmp_path / "sweep.json")
    assert (tmp_path / "sweep.json").read_text(encoding="utf-8") == text + "\n"
    record = json.loads(text)
    assert record["losses"][-1][3] is None
    assert record["best"] == found.best
    again = Sweep.from_json(text)
    assert again.to_json() == text
    assert str(again) == str(found)
    np.testing.assert_array_equal(again.losses, found.losses)
    assert (again.best, again.diverged, again.basin) == (found.best, found.diverged, found.basin)


def test_json_of_schedules_comes_back() -> None:
    model, loader = model_of("mlp")
    schedules = [fastlr.warmup_cosine(rate, 5) for rate in (0.01, 0.1)]
    found = sweep(model, CROSS_ENTROPY, loader, schedules, steps=5)
    again = Sweep.from_json(found.to_json())
    assert again.entries == tuple(schedules)
    assert again.best == found.best
    assert again.to_json() == found.to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": 9}', '{"format": 1}'])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="sweep"):
        Sweep.from_json(text)


def test_a_picture_of_scores_and_losses(found: Sweep, pyplot: Any) -> None:
    axes = found.plot()
    left, right = axes.figure.axes
    assert left is axes
    assert left.get_xscale() == "log"
    assert left.get_xlabel() == "learning rate (peak)"
    assert left.get_ylabel() == "validation loss"
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert f"best: {found.best:g}" in labels
    assert "diverged" in labels
    curve = next(line for line in left.lines if line.get_color() == "C0")
    np.testing.assert_array_equal(curve.get_ydata(), found.scores[~np.isnan(found.scores)])
    assert len([line for line in right.lines if len(line.get_xdata()) == 40]) == 3
    axes.figure.canvas.draw()


def test_a_picture_on_given_axes(found: Sweep, pyplot: Any) -> None:
    figure, axes = pyplot.subplots()
    assert found.plot(axes) is axes
    assert figure.axes == [axes]


def test_a_picture_where_all_have_diverged(pyplot: Any) -> None:
    model, loader = model_of("mlp")
    axes = sweep(model, CROSS_ENTROPY, loader, [1e30, 1e31], steps=3).plot()
    axes.figure.canvas.draw()


def test_matplotlib_is_named_where_it_is_missing(found: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ModuleNotFoundError, match="matplotlib"):
        found.plot()


def test_what_is_not_needed_is_not_imported() -> None:
    code = (
        "import sys, torch, fastlr.sweeping as s\n"
        "x = [(torch.eye(2), torch.arange(2))]\n"
        "print(s.sweep(torch.nn.Linear(2, 2), torch.nn.functional.cross_entropy, x, [0.1, 0.2], steps=2))\n"
        "assert 'matplotlib' not in sys.modules and 'rich' not in sys.modules\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr


def test_torch_is_left_with_its_settings() -> None:
    threads = torch.get_num_threads()
    model, loader = model_of("mlp")
    sweep(model, CROSS_ENTROPY, loader, [0.1], steps=2)
    assert torch.get_num_threads() == threads
