"""The command line: exit status, messages, and what importing fastlr leaves alone."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn, TypeAlias

import pytest

from fastlr import _command
from fastlr.cli import main

Patch: TypeAlias = pytest.MonkeyPatch
Capture: TypeAlias = pytest.CaptureFixture[str]

USAGE = [
    ([], "COMMAND"),
    (["nonsense"], "nonsense"),
    (["demo", "--epochs", "0"], "not a positive whole number: '0'. Give 1 or more"),
    (["demo", "--epochs", "1.5"], "not a positive whole number: '1.5'"),
    (["demo", "--seed", "one"], "not a seed: 'one'. Give a whole number from 0 to 2**63 - 1"),
    (["demo", "--rates", "1"], "not from 2 to 64: '1'. Give such as 9"),
    (["demo", "--rates", "65"], "not from 2 to 64: '65'. Give such as 9"),
    (["demo", "extra"], "extra"),
    (["bench", "--threads", "-1"], "not a positive whole number: '-1'"),
    (["bench", "--cases", "enormous"], "many-tiny"),
    (["bench", "--peers", "fastlr"], "foreach"),
    (["bench", "--device", "tpu"], "cuda"),
    (["bench", "--optimizer", "lion"], "adamw"),
    (["bench", "--device", "cuda", "--dtypes", "float64"], "bfloat16"),
    (["bench", "--dtypes", "float32"], "argument --dtypes: not with --device cpu. Leave one of the two out"),
    (["bench", "--device", "cuda", "--threads", "2"], "argument --threads: not with --device cuda. Leave one of"),
    (["bench", "--device", "cuda", "--cases", "resnet50", "small"], "unknown with --device cuda: 'small'. Use some of"),
    (["bench", "--cases", "flat-25m"], "unknown with --device cpu: 'flat-25m'. Use some of many-tiny, small,"),
    (
        ["bench", "--device", "cuda", "--peers", "compiled"],
        "unknown with --device cuda: 'compiled'. Use some of foreach",
    ),
    (["bench", "--peers", "graph"], "argument --peers: unknown with --device cpu: 'graph'. Use some of loop, foreach"),
    (["info", "--json", "file"], "file"),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_wrong_usage_ends_with_2_and_names_the_problem(arguments: list[str], message: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *([name, "--help"] for name in ("plot", "eval", "find", "sweep", "runs", "info", "demo", "bench")),
        *(["runs", action, "--help"] for action in ("list", "show", "compare", "export")),
    ],
)
def test_help(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    assert "usage: fastlr" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[sys.executable, "-m", "fastlr"], [str(Path(sys.executable).with_name("fastlr"))]])
def test_version_from_the_shell(command: list[str], tmp_path: Path) -> None:
    ran = subprocess.run([*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == f"fastlr {version('torch-fastlr')}\n"


@pytest.mark.parametrize(("module", "distribution"), [("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")])
def test_a_missing_package_is_named_with_its_pip_line(
    module: str, distribution: str, monkeypatch: Patch, tmp_path: Path, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # importing it now fails
    assert main(["demo", "-o", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    assert f"not installed: {distribution}. Run: pip install 'torch-fastlr[demo]'" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["demo", "-o", "{file}"], ["bench", "--quick", "--json", "{file}/figures.json"]])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    arguments: list[str], tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert main([argument.format(file=file) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert "cannot write: " in captured.err
    assert str(file) in captured.err
    assert captured.out == ""
    assert file.read_text() == "not a folder"


def test_an_interrupt_ends_with_130(monkeypatch: Patch, capsys: Capture) -> None:
    def interrupted(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastlr.cli.demo", interrupted)
    assert main(["demo"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_importing_fastlr_imports_nothing_that_only_the_commands_need(tmp_path: Path) -> None:
    code = "import sys, fastlr; print([m for m in sys.modules if m.split('.')[0] in ('rich', 'matplotlib', 'optuna',"
    code += " 'sklearn') or m.startswith(('fastlr.demo', 'fastlr.benchmarks', 'fastlr.cli', 'fastlr.studying'))])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_table_is_aligned_markdown() -> None:
    lines = _command.table(["side", "us"], [["fastlr", "1"], ["a", "1234"]]).splitlines()
    assert lines == ["| side   |   us |", "| :----- | ---: |", "| fastlr |    1 |", "| a      | 1234 |"]


def test_check_writable_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    _command.check_writable(path)
    _command.write_json(path, {"a": 1})
    _command.check_writable(path)
    assert path.read_text() == '{\n "a": 1\n}\n'
