"""Writes docs/schedules.md and its pictures: every schedule with its picture, expression, formula and sources.

Run: python docs/gallery.py
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gallery_tables import ALGEBRA, DIALECTS, ENDS, FAMILIES, KERAS, RECIPES, Entry
from matplotlib.figure import Figure

import fastlr
from fastlr.schedules import parse

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "gallery"
ENTRIES = (*FAMILIES, *ALGEBRA, *ENDS, *RECIPES)
INTRODUCTION = """\
# Schedules

Every schedule of `fastlr.schedules`, as text that Python and `fastlr.schedules.parse` read alike. Draw your own with
`s.plot()`, `fastlr.plot([a, b])` or, in a terminal, `fastlr plot "Warmup(.1, 500) >> Cosine(.1, 0, 9500)"`.

Steps `t` count the updates done before: the first update uses `t = 0`. In the formulas `u = clamp(t / length, 0, 1)`.
In the pictures a shaded band is a warm-up, a dotted line the start of a piece or a cycle, a broken line the momentum.

This page is written by `docs/gallery.py`.
"""


class Doc(NamedTuple):
    """What a class or function says of itself."""

    summary: str
    formula: str
    source: str


def described(name: str) -> Doc:
    """The first paragraph, the formula and the sources in the docstring of a public name."""
    text = (getattr(fastlr.schedules, name).__doc__ or "").partition(">>>")[0]
    formula, source = (
        re.search(r"Formula: (.*?)(?=\n\s*\n|\s+Raises|\s+Source:|$)", text, re.DOTALL),
        re.search(r"Source: (.*?)(?=\n\s*\n|$)", text, re.DOTALL),
    )
    found = [text.partition("\n\n")[0], formula[1] if formula else "", source[1] if source else ""]
    return Doc(*(" ".join(part.split()) for part in found))


def markdown(text: str) -> str:
    """Text of a docstring as Markdown: one backtick, and no links of Sphinx."""
    return text.replace("``", "`")


def picture_name(entry: Entry) -> str:
    return f"{entry.picture}.png"


def draw(entry: Entry) -> None:
    """One small picture, without a legend: the text stands below it."""
    figure = Figure(figsize=(3.6, 1.9), layout="constrained")
    axes = figure.subplots()
    fastlr.plot([parse(text) for text in entry.expressions], ax=axes, steps=entry.steps)
    legend = axes.get_legend()
    if legend is not None:
        legend.remove()
    for one in figure.axes:
        one.tick_params(labelsize="x-small")
        one.set(xlabel="", ylabel="")
        one.locator_params(nbins=4)
    figure.savefig(PICTURES / picture_name(entry), dpi=100)


def section(entry: Entry, level: str) -> str:
    """One entry: heading, what it is, picture, text and sources."""
    lines = [f"{level} {entry.title}", "", markdown(entry.text)]
    lines += ["", f"![{entry.title}](gallery/{picture_name(entry)})", "", "```python", *entry.expressions, "```"]
    if entry.documented:
        doc = described(entry.documented)
        lines[2] = markdown(" ".join(filter(None, (doc.summary, entry.text))))
        named = (("Formula", doc.formula), ("In other libraries", doc.source))
        lines += ["", *(f"- {name}: {markdown(text)}" for name, text in named if text)]
    return "\n".join(lines)


def sections(title: str, text: str, entries: Sequence[Entry]) -> str:
    return "\n\n".join([f"## {title}", text, *(section(entry, "###") for entry in entries)])


def dialect_table() -> str:
    """Names of other libraries beside what one writes here."""
    rows = [f"| `{theirs}` | `{ours}` |" for theirs, ours in (*DIALECTS, *KERAS)]
    return "\n".join(["| in the other library | here |", "| :--- | :--- |", *rows])


def page() -> str:
    """The whole of schedules.md."""
    parts = [
        INTRODUCTION.rstrip(),
        sections(
            "Shapes",
            "Single schedules: frozen dataclasses, which compare, hash and pickle.",
            FAMILIES,
        ),
        sections(
            "Algebra", "Operators and methods make schedules from schedules. `>>` binds loosest, as in Python.", ALGEBRA
        ),
        sections(
            "Past the end",
            "A schedule with a length holds its last value. `past_end` chooses something else.",
            ENDS,
        ),
        sections("Recipes", "Functions that write common combinations.", RECIPES),
        "## Names of other libraries\n\n"
        "`fastlr.compat` has the other libraries' schedulers under their own names and arguments, with the base rate "
        "in front: `fastlr.compat.torch.StepLR(0.1, step_size=30)`. `ema_decay` is the decay of averaged weights, for "
        "the [optimizers' option](recipe.md#averages) of that name. Both sides of a row have the same values. keras "
        "has no module there.\n\n" + dialect_table(),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for entry in ENTRIES:
        draw(entry)
    (DOCS / "schedules.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
