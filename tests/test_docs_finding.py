"""docs/finding.md: its code runs as pasted, prints what it shows, and its picture can be drawn."""

import importlib
import re
from pathlib import Path

import doc_blocks
import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "finding.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[-+]\d+)?")


def test_the_python_blocks_run_as_pasted_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, printed = doc_blocks.run(PAGE, capsys)
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    lines = shown.splitlines()
    assert [NUMBER.sub("#", line) for line in printed[: len(lines)]] == [NUMBER.sub("#", line) for line in lines]
    values, expected = (
        [[float(number) for number in NUMBER.findall(line)] for line in text[:5]] for text in (printed, lines)
    )
    for found, wanted in zip(values, expected, strict=True):
        assert found == pytest.approx(wanted, rel=0.25)
    assert printed[len(lines) :] == ["145 updates done, the loss is below 0.2: True", "valley True True", "True"]


def test_the_picture_is_there_and_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "](find-lr.png)" in PAGE
    assert (DOCS / "find-lr.png").stat().st_size < 100_000
    monkeypatch.syspath_prepend(DOCS)
    importlib.import_module("find_lr_picture").main(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
