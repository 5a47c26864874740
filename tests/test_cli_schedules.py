"""``fastlr plot`` and ``fastlr eval``: output, files, mistakes with a caret, ranges without end, readers that leave."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from fastlr._schedule_commands import steps_range
from fastlr.cli import main
from fastlr.schedules import Schedule, from_dict, parse

Capture: TypeAlias = pytest.CaptureFixture[str]

FULL = "Warmup(.1, 500) >> Cosine(.1, 0, 9500)"
STEP = "Step(.3, 20, .7)"

USAGE = [
    (["plot"], "EXPR"),
    (["eval"], "EXPR"),
    (["plot", FULL, "-o", "lr.gif"], "unknown kind of picture: 'lr.gif'. End it in .pdf, .png, .svg"),
    (["plot", FULL, "--steps", "0"], "not a positive whole number: '0'"),
    (["eval", FULL, "--steps", "a"], "no steps: 'a'. Give N, begin:end or begin:end:stride"),
    (["eval", FULL, "--steps", "1:2:3:4"], "no steps: '1:2:3:4'"),
    (["eval", FULL, "--steps", "1:"], "no steps: '1:'"),
    (["eval", FULL, "--steps=-1"], "no steps: '-1'"),
    (["eval", FULL, "--steps", "0:9:0"], "out of range: '0:9:0'"),
    (["eval", FULL, "--steps", str(2**63)], "out of range: '9223372036854775808'"),
    (["eval", FULL, "--steps", "9" * 5000], "no steps"),
    (["eval", FULL, "--format", "xml"], "xml"),
    (["eval", FULL, "--dtype", "float16"], "float16"),
]

FAILURES = [
    (
        ["plot", "Cosin(.1, 0, 100)"],
        "Unknown schedule: 'Cosin' at column 1. Did you mean Cosine?\n  Cosin(.1, 0, 100)\n  ^",
    ),
    (["eval", "Warmup(.1, 5) >> Cosine(.1, 0)"], "\n  Warmup(.1, 5) >> Cosine(.1, 0)\n                   ^\n"),
    (["eval", "1 +\n\tCosin(.1)"], "at column 6. Did you mean Cosine?\n  1 +  Cosin(.1)\n       ^\n"),
    (["eval", f"{'Constant(1, 1) >> ' * 20}2"], "Constant(1, 1) >> 2\n" + " " * 60 + "  ^"),
    (["eval", STEP], "no schedule has an end: without it there is no last step. Give --steps N"),
    (["eval", '{"kind": "Cosin"}'], "schedule kind is unknown: 'Cosin'"),
    (["eval", '{"kind": '], "schedule text is no JSON"),
    (["eval", "@no/such/file"], "cannot read: no/such/file (No such file or directory)"),
    (["eval", "Constant(1, 9).past_end('error')", "--steps", "99"], "A schedule has no value: step 98."),
    (["eval", "Exponential(1, 10)", "--steps", "999", "--format", "json"], "a value is not finite: JSON has no number"),
    (["eval", FULL, "-o", "{file}/out.csv"], "cannot write: {file}/out.csv ("),
    (["plot", FULL, "-o", "{file}/out.png"], "cannot write: {file}/out.png ("),
]


@pytest.mark.parametrize(("arguments", "message"), USAGE)
def test_wrong_usage_ends_with_2(arguments: list[str], message: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), FAILURES, ids=[one[1][:30] for one, _ in FAILURES])
def test_a_failure_ends_with_1_and_the_reason(
    arguments: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert main([argument.replace("{file}", str(file)) for argument in arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"fastlr {arguments[0]}: ")
    assert message.replace("{file}", str(file)) in error


STEPS = [
    ("7", range(7)),
    ("3:7", range(3, 7)),
    ("0:1000:10", range(0, 1000, 10)),
    ("7:3", range(7, 3)),
    ("0", range(0)),
]


@pytest.mark.parametrize(("text", "steps"), STEPS)
def test_ranges(text: str, steps: range) -> None:
    assert steps_range(text) == steps


def rows_of(printed: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(printed)))


@pytest.mark.parametrize(("arguments", "steps"), [([], range(10_001)), (["--steps", "0:100:7"], range(0, 100, 7))])
def test_csv_reads_back_with_the_same_bits(arguments: list[str], steps: range, capsys: Capture) -> None:
    assert main(["eval", FULL, STEP, *arguments]) == 0
    header, *rows = rows_of(capsys.readouterr().out)
    assert header == ["step", FULL, STEP]
    assert [int(row[0]) for row in rows] == list(steps)
    for column, text in ((1, FULL), (2, STEP)):
        s = parse(text)
        assert [float(row[column]) for row in rows] == [s(t) for t in steps]


def test_float32_is_written_shortly_and_reads_back(capsys: Capture) -> None:
    assert main(["eval", "Linear(.1, 0, 3)", "--dtype", "float32"]) == 0
    rows = rows_of(capsys.readouterr().out)[1:]
    assert rows[0] == ["0", "0.1"]
    s = parse("Linear(.1, 0, 3)")
    assert [np.float32(row[1]) for row in rows] == [np.float32(s(t)) for t in range(4)]


def test_json_has_the_schedules_and_their_values(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "new" / "values.json"
    assert main(["eval", FULL, STEP, "--format", "json", "--steps", "5", "-o", str(file)]) == 0
    assert capsys.readouterr().out == ""
    found = json.loads(file.read_text())
    full, step = (parse(text) for text in (FULL, STEP))
    assert [from_dict(one) for one in found["schedules"]] == [full, step]
    assert found["rows"] == [[t, full(t), step(t)] for t in range(5)]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_no_steps_give_no_rows(form: str, capsys: Capture) -> None:
    assert main(["eval", FULL, "--steps", "0", "--format", form]) == 0
    printed = capsys.readouterr().out
    assert (rows_of(printed)[1:] if form == "csv" else json.loads(printed)["rows"]) == []


def test_the_last_steps_of_int64(capsys: Capture) -> None:
    assert main(["eval", FULL, "--steps", f"{2**63 - 3}:{2**63 - 1}"]) == 0
    assert rows_of(capsys.readouterr().out)[1:] == [[str(2**63 - 3), "0.0"], [str(2**63 - 2), "0.0"]]


@pytest.mark.parametrize("content", [FULL, f"\n{FULL}\n", parse(FULL).to_json(), f" {parse(FULL).to_json()}\n"])
def test_a_schedule_from_a_file(content: str, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "schedule"
    file.write_text(content)
    assert main(["eval", f"@{file}", "--steps", "3"]) == 0
    s: Schedule = parse(FULL)
    assert [float(row[1]) for row in rows_of(capsys.readouterr().out)[1:]] == [s(t) for t in range(3)]


SIGNATURES = [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]


@pytest.mark.parametrize(("suffix", "start"), SIGNATURES)
def test_a_picture_is_written(suffix: str, start: bytes, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "new" / f"lr.{suffix}"
    assert main(["plot", FULL, STEP, "-o", str(file), "--steps", "100", "--title", "both"]) == 0
    assert file.read_bytes().startswith(start)
    assert capsys.readouterr().out == f"wrote {file}\n"


def test_a_picture_in_the_terminal(capsys: Capture) -> None:
    assert main(["plot", FULL, STEP, "--ascii", "--width", "50", "--title", "Two"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["Two", "", FULL]
    assert STEP in lines
    assert sum(line.endswith("step 10000") for line in lines) == 2
    assert max(len(line) for line in lines) <= 50


def test_without_matplotlib_a_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["plot", FULL, "-o", str(tmp_path / "lr.png")]) == 1
    assert "pip install 'torch-fastlr[demo]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["plot", FULL]) == 0  # the terminal needs nothing


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_reader_that_leaves_ends_a_long_table_quietly(form: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastlr", "eval", FULL, STEP, "--steps", str(10**15), "--format", form]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        assert ran.stdout is not None
        assert ran.stderr is not None
        first = ran.stdout.readline()
        ran.stdout.close()
        assert ran.wait(60) == 0
        assert ran.stderr.read() == ""
    assert first.startswith("step," if form == "csv" else '{"schedules"')


@pytest.mark.parametrize("command", ["eval", "plot"])
def test_a_full_disk_is_told(command: str, tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        arguments = [sys.executable, "-m", "fastlr", command, FULL]
        ran = subprocess.run(arguments, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 1
    assert ran.stderr == f"fastlr {command}: [Errno 28] No space left on device\n"


def test_ascii_where_the_output_cannot_write_braille(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastlr", "plot", FULL]
    ran = {
        encoding: subprocess.run(
            command, cwd=tmp_path, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": encoding}
        ).stdout.decode(encoding)
        for encoding in ("ascii", "utf-8")
    }
    assert "*" in ran["ascii"]
    assert "⠉" in ran["utf-8"]
    assert "*" not in ran["utf-8"]
