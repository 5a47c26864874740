"""bench/sweep.py: its equality check notices a wrong loss, and a tiny run is recorded."""

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from fastlr.sweeping.settings import ENGINES

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("sweep_sides")


@pytest.mark.parametrize("name", ["mlp-32", "mlp-128", "cnn-8"])
def test_both_sides_have_the_same_losses(cases: ModuleType, name: str) -> None:
    case = dataclasses.replace(cases.CASES[name], steps=5)
    found = cases.side_by_side(case)
    text, correct = cases.compare(case, found)
    assert correct, text
    exact = cases.side_by_side(case, "sequential")
    assert cases.compare(case, exact) == ("equal", True)


def test_a_wrong_loss_is_noticed(cases: ModuleType) -> None:
    case = dataclasses.replace(cases.CASES["mlp-32"], steps=5)
    found = cases.side_by_side(case)
    for wrong in (0.01, np.nan):
        found.losses[3, 7] += wrong
        text, correct = cases.compare(case, found)
        assert not correct
        assert text.startswith("WRONG by")


def test_the_bench_runs_and_records(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCH / "sweep.py"), "--cases", "mlp-32", "--steps", "4", "--budget", "0"]
    run = subprocess.run(
        [*command, "--json", "figures.json"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=300
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    (case,) = figures["cases"]
    assert case["correct"]
    assert [row["label"] for row in case["rows"]] == ["one training", "16 side by side"]
    assert case["rows"][1]["ratio"]["count"] == 5
    assert figures["verdicts"]["mlp-32"]["most"] == 4.0
    assert figures["engines"]["mlp-32"].split(":")[0] in ENGINES
    assert json.loads(run.stdout.splitlines()[-1]) == figures["verdicts"]
    assert figures["machine"]["torch"] == torch.__version__
