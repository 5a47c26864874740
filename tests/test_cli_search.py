"""``fastlr find`` and ``fastlr sweep``: what they print and write, exit statuses, mistakes in the user's function."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import cli_search_example as example
import numpy as np
import pytest
import torch

import fastlr
from fastlr.cli import main
from fastlr.finder import RangeTest, find_lr
from fastlr.schedules import Cosine, Warmup, warmup_cosine
from fastlr.sweeping import Sweep, sweep

pytestmark = pytest.mark.usefixtures("one_threaded")

Capture: TypeAlias = pytest.CaptureFixture[str]
Patch: TypeAlias = pytest.MonkeyPatch

MAKE = "cli_search_example:make"
FIND = ["find", MAKE, "--low", "1e-4", "--steps", "40", "--seed", "3"]
SWEEP = ["sweep", MAKE, "--rates", "0.01,0.1,1", "--steps", "20", "--seed", "3", "--engine", "sequential"]

FAILURES = [
    ("no_such_module_here:make", "no such module: 'no_such_module_here'. Run this in the folder that has no_such"),
    ("fastlr.nowhere:make", "no such module: 'fastlr.nowhere'"),
    ("cli_search_example:mak", "no such function: 'mak' in cli_search_example ("),
    ("cli_search_example:mak", "cli_search_example.py). Did you mean make?"),
    ("cli_search_example:NUMBER", "no function: 'NUMBER' in cli_search_example is a int"),
    ("cli_search_example:with_argument", "with_argument of cli_search_example needs arguments (missing a required"),
    ("cli_search_example:raising", "raising() of cli_search_example failed: RuntimeError: no data today ("),
    ("cli_search_example:leaving", "leaving() of cli_search_example failed: SystemExit: out of here ("),
    ("cli_search_example:nothing", "returned no training: a NoneType. Return (model, loss_fn, loader)"),
    ("cli_search_example:pair", "returned no training: a tuple of 2. Return"),
    ("cli_search_example:swapped", "returned no model: a list. Return"),
    ("cli_search_example:no_loss", "returned no function as loss_fn: a float. Return"),
    ("cli_search_example:misnamed", "returned what no training has: 'loss'. Return"),
    ("cli_search_example:without_loader", "returned no loader: a dict of model, forward. Return"),
    ("cli_search_example:without_loss", "returned neither loss_fn nor forward. Return"),
    ("cli_search_example:two_losses", "returned both loss_fn and forward. Return"),
    ("cli_search_example:no_forward", "returned no function as forward: a str. Return"),
    ("cli_search_example:used_up", ": The loader is an iterator"),
    ("cli_search_example:several_losses", "The loss is no number"),
    ("cli_search_example:wrong_sizes", "the training of cli_search_example:wrong_sizes failed: RuntimeError: "),
    (
        "cli_search_example:failing_loss",
        "the training of cli_search_example:failing_loss failed: KeyError: 'weights' (",
    ),
]


@pytest.mark.parametrize("command", [["find"], ["sweep", "--rates", "0.1,1"]], ids=["find", "sweep"])
@pytest.mark.parametrize(("function", "message"), FAILURES)
def test_a_mistake_in_the_function_ends_with_1_and_is_named(
    command: list[str], function: str, message: str, capsys: Capture
) -> None:
    before = list(sys.path)
    assert main([*command, function, "--steps", "3"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"fastlr {command[0]}: ")
    assert captured.err.count("\n") == 1 or "wrong_sizes" in function
    assert message in captured.err
    assert sys.path == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_package_here", "failed: ModuleNotFoundError: No module named 'no_such_package_here' ("),
        ("x = 1\n1 / 0", "failed: ZeroDivisionError: division by zero ({file}, line 2)"),
        ("def make(:", "failed: SyntaxError: "),
        ("import sys; sys.exit(7)", "failed: SystemExit: 7 ({file}, line 1)"),
    ],
)
def test_an_error_inside_of_the_module_is_shown_with_its_line(
    text: str, message: str, tmp_path: Path, monkeypatch: Patch, capsys: Capture, request: pytest.FixtureRequest
) -> None:
    name = f"broken_{abs(hash(request.node.name))}"
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["find", f"{name}:make"]) == 1
    error = capsys.readouterr().err
    assert f"importing {name} failed" in error
    assert message.format(file=file) in error
    assert main(["find", f"{name}:make", "--traceback"]) == 1
    assert f'File "{file}"' in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--option", "foo=1"], ["--option", "max_grad_norm=-1"]])
@pytest.mark.parametrize("command", [FIND, SWEEP], ids=["find", "sweep"])
def test_what_the_optimizer_refuses_is_told_in_its_words(
    command: list[str], arguments: list[str], capsys: Capture
) -> None:
    assert main([*command, *arguments]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"fastlr {command[0]}: ")
    assert "failed" not in error
    assert arguments[1].partition("=")[0] in error


def seeded() -> Any:
    """The example's training as `--seed 3` makes it."""
    torch.manual_seed(3)
    return example.make()


def test_find_prints_and_writes_what_find_lr_finds(tmp_path: Path, capsys: Capture) -> None:
    output, figures = tmp_path / "lr.png", tmp_path / "new" / "lr.json"
    assert main([*FIND, "--optimizer", "adamw", "-o", str(output), "--json", str(figures)]) == 0
    captured = capsys.readouterr()
    assert captured.err == "made by the function\n"
    expected = find_lr(*seeded(), fastlr.AdamW, low=1e-4, steps=40, seed=3)
    assert captured.out == f"{expected}\n\nwrote {figures} and {output}\n"
    assert RangeTest.from_json(figures.read_text()).losses.tolist() == expected.losses.tolist()
    assert output.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("method", ["valley", "minimum"])
def test_quiet_is_the_rate_alone_with_all_its_digits(method: str, capsys: Capture) -> None:
    assert main([*FIND, "--method", method, "--repeats", "2", "-q"]) == 0
    shown = capsys.readouterr().out
    assert shown == f"{find_lr(*seeded(), low=1e-4, steps=40, repeats=2, seed=3).suggest(method).lr!r}\n"


def test_another_method_is_told_after_the_rest(capsys: Capture) -> None:
    assert main([*FIND, "--method", "slide"]) == 0
    shown = capsys.readouterr().out
    result = find_lr(*seeded(), low=1e-4, steps=40, seed=3)
    assert shown == f"{result}\nThe rate by slide: {result.suggest('slide').lr:.3g}\n"


SHAPES = [
    ([], warmup_cosine(1.0, 20)),
    (["--shape", "constant"], None),
    (["--shape", "Warmup(1, 5) >> Cosine(1, 0.1, 15)"], Warmup(1.0, 5) >> Cosine(1.0, 0.1, 15)),
]


@pytest.mark.parametrize(("arguments", "shape"), SHAPES, ids=["default", "constant", "expression"])
def test_sweep_prints_and_writes_what_sweep_finds(
    arguments: list[str], shape: Any, tmp_path: Path, capsys: Capture
) -> None:
    output, figures = tmp_path / "rates.svg", tmp_path / "rates.json"
    assert main([*SWEEP, *arguments, "-o", str(output), "--json", str(figures)]) == 0
    shown = capsys.readouterr().out
    expected = sweep(*seeded(), [0.01, 0.1, 1.0], steps=20, shape=shape, engine="sequential", seed=3)
    found = Sweep.from_json(figures.read_text())
    np.testing.assert_array_equal(found.losses, expected.losses)
    assert shown == f"{found}\n\nwrote {figures} and {output}\n"
    assert "<svg" in output.read_text()
    capsys.readouterr()
    assert main([*SWEEP, *arguments, "-q"]) == 0
    assert capsys.readouterr().out == f"{expected.best!r}\n"


def test_a_fourth_entry_ranks_a_sweep_and_options_reach_the_optimizer(tmp_path: Path, capsys: Capture) -> None:
    figures = tmp_path / "rates.json"
    given = ["--option", "weight_decay=0.5", "--option", "betas=(0.5, 0.6)", "--optimizer", "lion", "--halving", "2"]
    arguments = ["sweep", "cli_search_example:validated", *SWEEP[2:], *given, "--validate-every", "10"]
    assert main([*arguments, "--json", str(figures)]) == 0
    torch.manual_seed(3)
    model, loss_fn, loader, validation = example.validated()
    expected = sweep(
        model, loss_fn, loader, [0.01, 0.1, 1.0], steps=20, shape=warmup_cosine(1.0, 20), validation=validation,
        validate_every=10, engine="sequential", seed=3, optimizer=fastlr.Lion, halving=2, weight_decay=0.5,
        betas=(0.5, 0.6),
    )  # fmt: skip
    found = Sweep.from_json(figures.read_text())
    assert found.validated == (10, 20)
    np.testing.assert_array_equal(found.validation, expected.validation)
    assert found.dropped == expected.dropped
    assert "validation loss" in capsys.readouterr().out


def test_a_dict_by_name_may_have_a_forward(tmp_path: Path, capsys: Capture) -> None:
    found = tmp_path / "found.json"
    for command in (FIND, SWEEP):
        assert main([command[0], "cli_search_example:by_name", *command[2:], "--json", str(found)]) == 0
        torch.manual_seed(3)
        model, loader, validation, forward = example.by_name().values()
        if command is FIND:
            expected = find_lr(model, None, loader, low=1e-4, steps=40, seed=3, forward=forward)
            np.testing.assert_array_equal(RangeTest.from_json(found.read_text()).losses, expected.losses)
        else:
            options = {"shape": warmup_cosine(1.0, 20), "validation": validation, "engine": "sequential", "seed": 3}
            swept = sweep(model, None, loader, [0.01, 0.1, 1.0], steps=20, forward=forward, **options)
            np.testing.assert_array_equal(Sweep.from_json(found.read_text()).validation, swept.validation)
    capsys.readouterr()


NOT_FOUND = [
    (["find", "cli_search_example:flat"], "No learning rate: "),
    (
        ["sweep", "cli_search_example:steep", "--rates", "0.1,1", "--steps", "20"],
        "No rate is good: all 2 have",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), NOT_FOUND, ids=["find", "sweep"])
def test_a_search_without_a_rate_ends_with_3(
    arguments: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    files = ["--json", str(tmp_path / "found.json"), "-o", str(tmp_path / "found.pdf")]
    assert main([*arguments, *files]) == 3
    assert message in capsys.readouterr().out
    assert all(file.stat().st_size > 100 for file in tmp_path.iterdir())
    assert main([*arguments, "-q"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"fastlr {arguments[0]}: no learning rate: " in captured.err


def test_an_interrupt_ends_with_130(capsys: Capture) -> None:
    assert main(["find", "cli_search_example:interrupted"]) == 130
    assert main(["sweep", "cli_search_example:interrupted", "--rates", "0.1,1"]) == 130
    assert capsys.readouterr().err == "fastlr find: interrupted\nfastlr sweep: interrupted\n"


def test_a_file_that_cannot_be_written_is_refused_before_the_function_runs(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert main([*FIND, "--json", str(tmp_path / "file" / "lr.json")]) == 1
    captured = capsys.readouterr()
    assert "cannot write: " in captured.err
    assert "made by the function" not in captured.err


@pytest.mark.parametrize(("folder", "status"), [("", 0), ("empty", 1)])
def test_the_module_is_that_of_the_current_folder(folder: str, status: int, tmp_path: Path) -> None:
    (tmp_path / "training.py").write_text(Path(example.__file__).read_text())
    for name in ("empty", "bin"):
        (tmp_path / name).mkdir()
    program = tmp_path / "bin" / "program.py"  # as the installed one, whose folder and not the current is on the path
    program.write_text("import sys; from fastlr.cli import main; sys.exit(main())")
    command = [sys.executable, str(program), "find", "training:Nested.make", *FIND[2:], "-q"]
    ran = subprocess.run(command, cwd=tmp_path / folder, capture_output=True, text=True, check=False)
    assert ran.returncode == status, ran.stderr
    assert ("no such module: 'training'" in ran.stderr) == bool(status)
    assert status or 1e-4 < float(ran.stdout) < 10.0
