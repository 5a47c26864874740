"""``fastlr find`` and ``fastlr sweep``: help, wrong usage, and rates and options as they are written."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest

from fastlr._search_options import option, rate_list
from fastlr.cli import main
from fastlr.schedules import Cosine

Capture: TypeAlias = pytest.CaptureFixture[str]

MAKE = "cli_search_example:make"
USAGE = [
    (["find"], "module:function"),
    (["find", "train"], "not module:function: 'train'. Give both, such as train:make"),
    (["find", "train:"], "not module:function: 'train:'"),
    (["find", "train:make()"], "not module:function: 'train:make()'"),
    (["find", "train.py:make"], "a file and no module: 'train.py:make'. Give the module's name: train:make"),
    (["find", "src/train:make"], "a file and no module"),
    (["find", MAKE, "--low", "0"], "not a positive number: '0'"),
    (["find", MAKE, "--high", "inf"], "not a positive number: 'inf'"),
    (["find", MAKE, "--high", "1e-9"], "Rates are not positive and rising: low=1e-07, high=1e-09"),
    (["find", MAKE, "--steps", "1"], "find_lr steps are too few: 1"),
    (["find", MAKE, "--method", "best"], "steepest"),
    (["find", MAKE, "--seed", "-1"], "seed"),
    (["find", MAKE, "--seed=-1"], "not a seed: '-1'. Give a whole number from 0 to 2**63 - 1"),
    (["find", MAKE, "--optimizer", "adagrad"], "adamw"),
    (["find", MAKE, "--option", "betas"], "not name=value: 'betas'. Give such as weight_decay=0.05"),
    (
        ["find", MAKE, "--option", "momentum=Cosin(1, 0, 9)"],
        "neither a value nor a schedule: 'momentum=Cosin(1, 0, 9)'",
    ),
    (["find", MAKE, "-o", "lr.gif"], "unknown kind of picture: 'lr.gif'"),
    (["sweep", MAKE], "--rates"),
    (["sweep", MAKE, "--rates", "1:2"], "not a positive whole number: ''"),
    (["sweep", MAKE, "--rates", "1:2:1"], "no low:high:count of at least 2: '1:2:1'"),
    (["sweep", MAKE, "--rates", "1:2:3:4"], "no low:high:count of at least 2: '1:2:3:4'"),
    (["sweep", MAKE, "--rates", "2:1:3"], "Rates are not positive and rising"),
    (["sweep", MAKE, "--rates", "0.1,0.1"], "rates do not rise: '0.1,0.1'. Sort them, each once"),
    (["sweep", MAKE, "--rates", "0.1,,1"], "not a positive number: ''"),
    (["sweep", MAKE, "--rates", "nan"], "not a positive number: 'nan'"),
    (["sweep", MAKE, "--rates", "1", "--halving", "1"], "argument --halving: nothing would stop: 1"),
    (["sweep", MAKE, "--rates", "1", "--freeze-above", "1"], "argument --freeze-above: not above 1: 1.0"),
]


@pytest.mark.parametrize("command", ["find", "sweep"])
def test_help_names_the_exit_statuses(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"usage: fastlr {command} " in shown
    assert "exit status: 0 a rate was found, 1 failed (the reason is on stderr), 2 wrong usage, 3 the search" in shown


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_wrong_usage_ends_with_2(arguments: list[str], message: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


RATES = [
    ("0.1", [0.1]),
    ("0.01,0.1, 1", [0.01, 0.1, 1.0]),
    ("1:4:3", [1.0, 2.0, 4.0]),
    ("0.001:1:4", [0.001, 0.01, 0.1, 1.0]),
]


@pytest.mark.parametrize(("text", "expected"), RATES)
def test_rates(text: str, expected: list[float]) -> None:
    found = rate_list(text)
    assert found == pytest.approx(expected, rel=1e-14)
    assert (found[0], found[-1]) == (expected[0], expected[-1])


OPTIONS = [
    ("momentum=0.5", 0.5),
    ("betas=(0.9, 0.98)", (0.9, 0.98)),
    ("nesterov=True", True),
    ("ema_decay=None", None),
    ("weight_decay=Cosine(.1, 0, 90)", Cosine(0.1, 0.0, 90)),
]


@pytest.mark.parametrize(("text", "expected"), OPTIONS)
def test_options(text: str, expected: Any) -> None:
    assert option(text) == (text.partition("=")[0], expected)
