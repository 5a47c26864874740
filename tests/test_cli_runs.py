"""``fastlr runs``, and ``fastlr find`` and ``fastlr sweep`` with --study."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import cli_search_example as example
import numpy as np
import pytest
import torch
from study_cases import EXACT, RATES, quick_folder, training

import fastlr
from fastlr.cli import main
from fastlr.demo import one_thread
from fastlr.studying import study
from fastlr.sweeping import Sweep, statistics, sweep

optuna = pytest.importorskip("optuna")
Capture: TypeAlias = pytest.CaptureFixture[str]
Patch: TypeAlias = pytest.MonkeyPatch

VALIDATED = {**EXACT, "validation": example.batches(3, seed=6)}
SWEEP = ["sweep", "cli_search_example:make", "--rates", "0.01,0.1,1", "--steps", "20", "--engine", "sequential"]
FIND = ["find", "cli_search_example:make", "--low", "1e-4", "--steps", "40"]
KEPT = ["--study", "digits", "--seed", "3"]


@pytest.fixture(autouse=True)
def folder(monkeypatch: Patch) -> Iterator[Path]:
    with quick_folder() as found, one_thread():
        monkeypatch.chdir(found)
        yield found


@pytest.fixture(scope="module")
def filled() -> Iterator[Path]:
    """A store with two studies: three rates with SGD, two with AdamW, a range test, two with a validation loss ..."""
    with quick_folder() as found, one_thread():
        one = study("digits", found / "runs.db")
        one.sweep(*training(), RATES[1:4], label="first", **EXACT)
        one.sweep(*training(), [0.1, 1e30], optimizer=fastlr.AdamW, weight_decay=0.5, **EXACT)
        one.find_lr(*training(), steps=20, low=1e-3)
        one.sweep(*training(), [0.1, 0.2], **VALIDATED)
        one.sweep(*training(), [0.3], **{**EXACT, "steps": 30, "shape": None})
        one.sweep(*training(), [0.3], **EXACT, seed=9)
        study("empty", found / "runs.db")
        yield found / "runs.db"


def stored(file: Path, *arguments: str) -> int:
    return main(["runs", *arguments, "--storage", str(file)])


def test_list_has_a_line_for_each_run_of_each_study(filled: Path, capsys: Capture) -> None:
    assert stored(filled, "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "digits: 10 runs"
    assert lines[-2:] == ["", "empty: 0 runs"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]
    assert [row[:4] for row in rows[1:]] == [
        ["0", "sweep", "done", "0.1"],
        ["1", "sweep", "done", "0.3"],
        ["2", "sweep", "done", "1"],
        ["3", "sweep", "done", "0.1"],
        ["4", "sweep", "diverged", "1e+30"],
        ["5", "find_lr", "done", rows[6][3]],
        ["6", "sweep", "done", "0.1"],
        ["7", "sweep", "done", "0.2"],
        ["8", "sweep", "done", "0.3"],
        ["9", "sweep", "done", "0.3"],
    ]
    assert [row[6:9] for row in rows[1:]][2:5] == [["SGD", "20", "first"], ["AdamW", "20", ""], ["AdamW", "20", ""]]
    runs = study("digits", filled).runs
    assert rows[6][3] == f"{runs[5].rate:.4g}"
    assert [row[4] for row in rows[1:]] == ["" if run.score is None else f"{run.score:.4g}" for run in runs]
    assert stored(filled, "list", "--json", "--study", "digits") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["study"], one["number"], one["score"]) for one in found] == [
        ("digits", run.number, run.score) for run in runs
    ]


@pytest.mark.parametrize("number", [3, 5])
def test_show_has_everything_of_a_run(number: int, filled: Path, capsys: Capture) -> None:
    assert stored(filled, "show", str(number), "--study", "digits") == 0
    shown = capsys.readouterr().out
    run = study("digits", filled).runs[number]
    assert shown.endswith(f"\n\n{run.result}\n")
    for part in (f"number: {number}", f"rate: {run.rate}", f"seed: {run.seed}", "  optimizer: ", run.start["batch"]):
        assert part in shown
    assert ("  options:\n    weight_decay: 0.5\n" in shown) == (number == 3)
    assert stored(filled, "show", str(number), "--study", "digits", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert run.result is not None
    assert found["result"] == json.loads(run.result.to_json())


def compared(filled: Path, folder: Path, *numbers: int) -> dict[str, Any]:
    assert stored(filled, "compare", *map(str, numbers), "--study", "digits", "--json", "found.json") == 0
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def test_compare_pairs_runs_that_have_seen_the_same_batches(filled: Path, folder: Path, capsys: Capture) -> None:
    found = compared(filled, folder, 1, 3, 4, 2)
    shown = capsys.readouterr().out
    one = sweep(*training(), RATES[1:4], **EXACT)
    other = sweep(*training(), [0.1], optimizer=fastlr.AdamW, weight_decay=0.5, **EXACT)
    assert found["runs"] == [1, 3, 4, 2]
    scores = [one.scores[1], other.scores[0], np.nan, one.scores[2]]
    assert found["scores"] == [None if np.isnan(score) else score for score in scores]
    best = int(np.nanargmin(scores))
    assert found["best"] == found["runs"][best]
    losses = np.stack([one.losses[:, 1], other.losses[:, 0], one.losses[:, 2]], axis=1)[-10:]
    drawn = np.random.default_rng(statistics.SEED).integers  # a resampling of its own: not the same to the last digit
    rows = drawn(10, size=(4000, 10))
    means = losses[rows].mean(axis=1)
    order = [0, 1, 3].index(best)
    for place, column in ((0, 0), (1, 1), (3, 2)):
        if place != best:
            expected = (means[:, column] > means[:, order]).mean()
            assert found["best_is_better"][place] == pytest.approx(expected, abs=0.03)
    assert [found["best_is_better"][place] for place in (best, 2)] == [None, None]
    assert found["names"] == ["1: 0.3 first SGD momentum=0.9", "3: 0.1 AdamW weight_decay=0.5",
                              "4: 1e+30 AdamW weight_decay=0.5", "2: 1 first SGD momentum=0.9"]  # fmt: skip
    assert "All have seen the same batches" in shown
    assert "diverged" in shown


UNPAIRED = [
    ((1, 8), "they have other numbers of steps"),
    ((1, 6), "they are ranked by other losses"),
    ((1, 9), "their batches are not the same"),
]


@pytest.mark.parametrize(("numbers", "reason"), UNPAIRED)
def test_compare_says_why_runs_are_not_paired(
    numbers: tuple[int, ...], reason: str, filled: Path, folder: Path, capsys: Capture
) -> None:
    found = compared(filled, folder, *numbers)
    assert found["unpaired"] == reason
    assert found["best_is_better"] == [None, None]
    assert f"Each by its own batches, so the order is less sure: {reason}." in capsys.readouterr().out


def test_compare_takes_validation_losses_and_draws(filled: Path, folder: Path, capsys: Capture) -> None:
    output = folder / "new" / "runs.svg"
    assert stored(filled, "compare", "7", "6", "--study", "digits", "-o", str(output)) == 0
    shown = capsys.readouterr().out
    assert "| validation loss |" in shown
    assert shown.endswith(f"\n\nwrote {output}\n")
    assert "<svg" in output.read_text()


def test_export_has_every_digit_and_every_loss(filled: Path, folder: Path, capsys: Capture) -> None:
    runs = study("digits", filled).runs
    assert stored(filled, "export", "--study", "digits") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["number"], row["rate"], row["score"]) for row in rows] == [
        (str(run.number), repr(run.rate), "" if run.score is None else repr(run.score)) for run in runs
    ]
    assert json.loads(rows[3]["asked"])["options"] == {"weight_decay": 0.5}
    output = folder / "new" / "runs.json"
    assert stored(filled, "export", "--study", "digits", "--format", "json", "-o", str(output)) == 0
    assert capsys.readouterr().out == ""
    found = json.loads(output.read_text())
    for one, run in zip(found, runs, strict=True):
        assert isinstance(run.result, Sweep) or run.kind == "find_lr"
        assert one["result"] == json.loads(run.result.to_json()) if run.result else None


FAILURES = [
    (["show", "10", "--study", "digits"], "no such run: 10 in 'digits'. It has 0 to 9; see fastlr runs list"),
    (["show", "0", "--study", "empty"], "no such run: 0 in 'empty'. It has none"),
    (["show", "0"], "several studies are kept: digits, empty. Give --study NAME"),
    (["list", "--study", "digit"], "No such study: 'digit' in "),
    (["compare", "0", "5", "--study", "digits"], "Not a run of a sweep with losses: 5 is a trial of find_lr"),
]


@pytest.mark.parametrize(("arguments", "message"), FAILURES)
def test_what_is_not_there_ends_with_1(arguments: list[str], message: str, filled: Path, capsys: Capture) -> None:
    assert stored(filled, *arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fastlr runs: ")
    assert message in captured.err


USAGE = [
    (["runs"], "ACTION"),
    (["runs", "show", "x"], "no number of a run: 'x'. Give one of fastlr runs list"),
    (["runs", "compare", "3"], "not several runs, each once: [3]. Give two or more"),
    (["runs", "compare", "3", "3"], "not several runs, each once: [3, 3]"),
    (["runs", "compare", "3", "4", "-o", "x.bmp"], "unknown kind of picture"),
    ([*SWEEP, "--at-once", "2"], "argument --at-once: there is no study. Give --study NAME, or leave it away"),
    ([*FIND, "--storage", "x.db"], "argument --storage: there is no study"),
    ([*FIND, "--label", "x"], "argument --label: there is no study"),
    ([*FIND, "--other-start"], "argument --other-start: there is no study"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_wrong_usage_ends_with_2(arguments: list[str], message: str, capsys: Capture, folder: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
    assert os.listdir(folder) == []


@pytest.mark.parametrize("action", [["list"], ["show", "0"], ["compare", "0", "1"], ["export"]])
def test_a_store_that_is_not_there_is_not_made(action: list[str], folder: Path, capsys: Capture) -> None:
    assert main(["runs", *action]) == 1
    assert "No runs are kept there: fastlr.db is not there" in capsys.readouterr().err
    assert os.listdir(folder) == []


SEARCHES = [(SWEEP, []), (SWEEP, ["--at-once", "1"]), (FIND, [])]


@pytest.mark.parametrize(("command", "more"), SEARCHES, ids=["sweep", "groups", "find"])
def test_a_search_that_is_kept_prints_what_one_does_and_then_trains_nothing(
    command: list[str], more: list[str], capsys: Capture, monkeypatch: Patch
) -> None:
    assert main([*command, "--seed", "3"]) == 0
    expected = capsys.readouterr().out
    assert main([*command, *more, *KEPT, "--storage", "runs.db"]) == 0
    assert capsys.readouterr().out == expected
    for name in ("sweep_work.swept", "find_work.find_lr"):
        monkeypatch.setattr(f"fastlr.studying.{name}", None)
    assert main([*command, *more, *KEPT, "--storage", "sqlite:///runs.db"]) == 0
    assert capsys.readouterr().out == expected


def test_another_start_ends_with_1_in_the_words_of_the_study(capsys: Capture) -> None:
    assert main([*FIND, "--study", "digits", "-q"]) == 0
    torch.manual_seed(1)
    assert main([*FIND, "--study", "digits", "-q"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("fastlr find: Not the start of the runs that are kept")
    assert main([*FIND, "--study", "digits", "-q", "--other-start"]) == 0
    assert main([*FIND, "--study", "digits", "-q", "--label", "again"]) == 0
    capsys.readouterr()
    assert main(["runs", "list"]) == 0
    assert capsys.readouterr().out.startswith("digits: 3 runs\n")


def test_a_result_that_cannot_be_stored_is_printed_and_written(
    folder: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    from fastlr.studying import opening, store, work

    monkeypatch.setattr(opening, "LOCKED", 0.02)
    monkeypatch.setattr(store, "PATIENCE", 0.1)
    held: list[sqlite3.Connection] = []
    keep = work.Work._keep

    def locked(*arguments: Any) -> None:
        held.append(sqlite3.connect(folder / "fastlr.db", isolation_level=None))
        held[0].execute("BEGIN EXCLUSIVE")
        keep(*arguments)

    monkeypatch.setattr(work.Work, "_keep", locked)
    assert main([*SWEEP, *KEPT, "--json", "found.json"]) == 1
    held[0].close()
    captured = capsys.readouterr()
    assert "fastlr sweep: The store could not be used for 0 seconds: fastlr.db (" in captured.err
    found = Sweep.from_json((folder / "found.json").read_text())
    assert captured.out == f"{found}\n\nwrote found.json\n"


def test_without_optuna_the_commands_name_what_brings_it(capsys: Capture, monkeypatch: Patch, folder: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    for command in (["runs", "list"], [*FIND, *KEPT]):
        assert main(command) == 1
        assert "not installed: optuna. Run: pip install 'torch-fastlr[study]'" in capsys.readouterr().err
    assert os.listdir(folder) == []
