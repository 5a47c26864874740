"""docs/schedules.md: complete, up to date, and true where it names other libraries' schedulers."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fastlr.schedules import Schedule, parse
from fastlr.schedules.serialize import KINDS
from fastlr.schedules.vocabulary import FUNCTIONS

DOCS = Path(__file__).resolve().parents[1] / "docs"
STEPS = np.arange(100)


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(DOCS)
    return importlib.import_module("gallery")


def test_the_page_is_what_the_script_writes(gallery: ModuleType) -> None:
    assert (DOCS / "schedules.md").read_text(encoding="utf-8") == gallery.page()


def test_every_class_and_recipe_has_its_picture(gallery: ModuleType) -> None:
    shown = {entry.documented for entry in gallery.ENTRIES}
    inline = {name for entry in gallery.ENTRIES for name in FUNCTIONS if f"{name}(" in " ".join(entry.expressions)}
    assert shown | inline >= {*KINDS, *FUNCTIONS}


def test_pictures_exist_and_are_small(gallery: ModuleType) -> None:
    files = {path.name: path.stat().st_size for path in (DOCS / "gallery").iterdir()}
    assert set(files) == {f"{entry.picture}.png" for entry in gallery.ENTRIES}
    assert sum(files.values()) < 600_000


def test_every_entry_says_formula_and_source(gallery: ModuleType) -> None:
    for entry in gallery.ENTRIES:
        assert all(isinstance(parse(text), Schedule) for text in entry.expressions)
        if entry.documented:
            summary, formula, source = gallery.described(entry.documented)
            assert summary.endswith(".")
            assert formula or entry.documented == "ReduceOnPlateau"  # what was reported decides
            assert source or entry in gallery.ALGEBRA


def test_both_sides_of_the_dialects_have_the_same_values(gallery: ModuleType) -> None:
    for theirs, ours in gallery.DIALECTS:
        np.testing.assert_allclose(parse(ours)(STEPS), parse(theirs)(STEPS), rtol=1e-12, atol=1e-16, err_msg=theirs)


KERAS = [
    ("CosineDecay", lambda t: 0.1 * 0.5 * (1 + np.cos(np.pi * np.minimum(t, 100) / 100))),
    ("ExponentialDecay", lambda t: 0.1 * 0.5 ** (t / 20)),
    ("InverseTimeDecay", lambda t: 0.1 / (1 + 0.5 * t / 20)),
    ("PolynomialDecay", lambda t: (0.1 - 0.01) * (1 - np.minimum(t, 100) / 100) ** 2 + 0.01),
    ("PiecewiseConstantDecay", lambda t: np.where(t <= 20, 0.1, np.where(t <= 50, 0.05, 0.01))),
    ("CosineDecayRestarts", None),
]


def keras_restarts(t: int) -> float:
    """Cycles of 10, 20, 40, ... steps, each from 0.9 times the peak before."""
    length, peak = 10, 0.1
    while t >= length:
        t, length, peak = t - length, 2 * length, 0.9 * peak
    return float(peak * 0.5 * (1 + np.cos(np.pi * t / length)))


def test_rows_of_keras_are_its_formulas(gallery: ModuleType) -> None:
    rows = {theirs.split()[1].partition("(")[0]: ours for theirs, ours in gallery.KERAS}
    assert set(rows) == {name for name, _ in KERAS}
    for name, formula in KERAS:
        expected = [keras_restarts(t) for t in range(100)] if formula is None else formula(STEPS)
        np.testing.assert_allclose(parse(rows[name])(STEPS), expected, rtol=1e-9, atol=1e-15, err_msg=name)
