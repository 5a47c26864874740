"""docs/sweeping.md: its code runs as pasted, and its tables say what there is."""

import dataclasses
import importlib
import re
from pathlib import Path

import doc_blocks
import pytest
import torch

import fastlr.sweeping
from fastlr.sweeping import Sweep, halving
from fastlr.sweeping.engines.table import TABLE
from fastlr.sweeping.settings import ENGINES

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "sweeping.md").read_text(encoding="utf-8")


def first_cells(heading: str) -> list[str]:
    """The names in the first column of the table that has this heading."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0]
    return [name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)", line.split("|")[1])]


def test_the_python_blocks_run_as_pasted_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    namespace, printed = doc_blocks.run(PAGE, capsys)
    import matplotlib.pyplot

    matplotlib.pyplot.close("all")
    shown = PAGE.split("```text\n", 1)[1].split("```", 1)[0].splitlines()
    assert [without_numbers(line) for line in printed[: len(shown) - 2]] == [
        without_numbers(line) for line in shown[:-2]
    ]
    assert printed[-5:] == ["True", "(100, 3)", "to the end: 2", "(50, 100) (2, 3)", "20"]
    result = namespace["result"]
    assert isinstance(result, Sweep)
    assert result.engine.milliseconds.keys() | result.engine.excluded.keys() == set(ENGINES)


def without_numbers(line: str) -> str:
    """Figures, and how wide they make a table, differ between machines."""
    return re.sub(r"[\d.e:| -]+", " ", line)


def test_the_picture_is_there_and_can_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    docs = Path(__file__).resolve().parents[1] / "docs"
    monkeypatch.syspath_prepend(docs)
    importlib.import_module("sweep_picture").main(tmp_path / "drawn.png")
    pyplot.close("all")
    for picture in (tmp_path / "drawn.png", docs / "sweep.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_every_engine_is_listed() -> None:
    assert first_cells("engine") == list(ENGINES)


def test_what_a_result_has_is_listed() -> None:
    listed = set(first_cells("name"))
    assert all(hasattr(Sweep, name) or name in {one.name for one in dataclasses.fields(Sweep)} for name in listed)
    public = {name for name in (*vars(Sweep), *(one.name for one in dataclasses.fields(Sweep))) if name[0] != "_"}
    unlisted = {"entries", "rates", "start", "last_validation", "confidence", "shaped", "is_ordered", "has_schedules"}
    assert public - listed == unlisted | {"from_json"}


def test_the_layers_named_are_those_that_are_known() -> None:
    known = {layer.__name__ for layer in TABLE}
    paragraph = PAGE.split("`batched` knows", 1)[1].split("\n\n", 1)[0]
    named = {name for name in re.findall(r"`(\w+)`", paragraph) if hasattr(torch.nn, name)}
    assert named - {"Sequential"} <= known


def test_the_numbers_are_those_of_the_code() -> None:
    assert "ten times the best one on the same batch and twice the first loss" in " ".join(PAGE.split())
    assert (halving.RISEN, halving.EARLIEST, halving.WINDOW) == (2.0, 0.1, 0.25)
    assert fastlr.sweeping.sweep.__kwdefaults__["freeze_above"] == 10.0


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (Path(__file__).resolve().parents[1] / "docs" / link).exists(), link
