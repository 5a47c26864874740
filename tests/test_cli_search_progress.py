"""What is seen of a search while it runs: `progress=` of `find_lr`, and the bar and the lines of the commands."""

from __future__ import annotations

import io
import sys
from typing import NoReturn, TypeAlias

import cli_search_example as example
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from fastlr import _progress
from fastlr.cli import main
from fastlr.finder import find_lr
from fastlr.sweeping import sweep

Capture: TypeAlias = pytest.CaptureFixture[str]
Patch: TypeAlias = pytest.MonkeyPatch

FIND = ["find", "cli_search_example:make", "--low", "1e-3", "--steps", "20"]
SWEEP = ["sweep", "cli_search_example:make", "--rates", "0.01,0.1,1", "--steps", "20", "--engine", "sequential"]


def test_progress_hears_of_every_update_and_its_exceptions_end_the_test() -> None:
    seen: list[tuple[int, float, float]] = []
    result = find_lr(*example.make(), low=1e-4, steps=20, seed=3, repeats=2, progress=lambda *news: seen.append(news))
    expected = [
        (run * 20 + place + 1, rate, loss)
        for run, curve in enumerate(result.curves)
        for place, (rate, loss) in enumerate(zip(curve.rates.tolist(), curve.losses.tolist(), strict=True))
    ]
    assert seen == expected

    def enough(done: int, rate: float, loss: float) -> NoReturn:
        raise RuntimeError("enough")

    model, _, loader = example.make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(RuntimeError, match="enough"):
        find_lr(model, cross_entropy, loader, progress=enough)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_progress_of_a_sweep_names_the_best_of_the_moment(engine: str) -> None:
    seen: list[tuple[int, float, float]] = []
    rates = [0.01, 0.1, 1.0]
    torch.manual_seed(0)
    result = sweep(*example.make(), rates, steps=70, engine=engine, seed=3, progress=lambda *news: seen.append(news))
    dones = [done for done, *_ in seen]
    assert dones == (list(range(1, 71)) if engine == "batched" else sorted({*dones, 70}))
    for done, entry, loss in seen:
        row = result.losses[done - 1]
        assert (entry, loss) == (rates[np.nanargmin(row)], np.nanmin(row))


def test_progress_is_a_line_now_and_then_without_a_terminal(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr(_progress, "SECONDS", 0.0)
    assert main(FIND) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("range test: 1 of 20  rate 1.00e-03  loss ")
    assert "  lowest " in lines[-1]
    assert main(SWEEP) == 0
    assert "3 rates for 20 steps: 20 of 20  best " in capsys.readouterr().err
    assert main([*FIND, "-q"]) == 0
    assert capsys.readouterr().err == "made by the function\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("command", [FIND, SWEEP], ids=["find", "sweep"])
def test_progress_in_a_terminal(command: list[str], rich: bool, monkeypatch: Patch, capsys: Capture) -> None:
    """Rich's bar, gone at its end; without rich the command works all the same."""
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)  # importing it now fails
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert main(command) == 0
    shown = terminal.getvalue()
    assert ("\x1b[2K" in shown) == rich
    assert (("range test  rate" if command is FIND else "3 rates for 20 steps") in shown) == rich
    assert "made by the function\n" in shown
    assert capsys.readouterr().out.startswith("Learning rate " if command is FIND else "| rate ")
    terminal.seek(0)
    terminal.truncate()
    assert main([*command, "-q"]) == 0
    assert terminal.getvalue() == "made by the function\n"
