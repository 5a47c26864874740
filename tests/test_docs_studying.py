"""docs/studying.md: its code runs as pasted, its commands are there, and it says what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import doc_blocks
import pytest
from study_cases import quick_folder

from fastlr.cli import parser
from fastlr.demo import one_thread

pytest.importorskip("optuna")
pytest.importorskip("sklearn")
DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = (DOCS / "studying.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with quick_folder() as found, one_thread():
        monkeypatch.chdir(found)
        yield found


def test_the_python_blocks_run_as_pasted_one_after_another(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, printed = doc_blocks.run(PAGE, capsys)
    best, numbers, error, kinds = printed
    assert best == "0.3 0.3"
    assert numbers == f"{list(range(12))} find_lr"
    assert error == PAGE.split("```text\n")[1].split("\n```")[0]
    assert kinds == "['optuna', 'optuna']"
    assert [path.name for path in folder.iterdir()] == ["fastlr.db"]


def test_the_commands_are_there() -> None:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    commands = [line.split()[1:] for line in lines if line.startswith("fastlr ")]
    assert {tuple(command[:2]) for command in commands if command[0] == "runs"} == {
        ("runs", action) for action in ("list", "show", "compare", "export")
    }
    for command in commands:
        parser().parse_args(command)


def test_the_numbers_are_those_of_the_code() -> None:
    from fastlr.studying import opening, owners, store

    assert f"heartbeat is {owners.GRACE} s old" in PAGE
    assert (store.PATIENCE, opening.FILE) == (60.0, "fastlr.db")


def test_links_lead_somewhere() -> None:
    assert all((DOCS / picture).exists() for picture in re.findall(r"\]\((\w+\.png)\)", PAGE))
    for page, heading in re.findall(r"\]\((\w+\.md)(?:#([\w-]+))?\)", PAGE):
        text = (DOCS / page).read_text(encoding="utf-8")
        headings = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
                    for line in text.splitlines() if line.startswith("#")}  # fmt: skip
        assert not heading or heading in headings, heading
