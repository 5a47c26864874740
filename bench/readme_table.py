"""Writes the recorded figures (bench/results) into README.md, between its two marks.

Run: python bench/readme_table.py
"""

import json
from pathlib import Path
from typing import Any

from fastlr._command import table

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RESULTS = Path(__file__).resolve().parent / "results"
BEGIN, END = "<!-- written by bench/readme_table.py -->\n", "<!-- end -->\n"
PEERS = ("torch loop (default)", "torch foreach", "torch fused", "torch compiled")
MANY = "fastlr, 465 groups of one tensor"
SCHEDULE, SCHEDULER = "fastlr Warmup >> Cosine", "torch CosineAnnealingLR.step()"


def ratio(rows: dict[str, Any], label: str) -> str:
    """How many times as long as fastlr, paired; a side that did not run has none."""
    return f"{rows[label]['ratio']['median']:.2f}" if label in rows else "-"


def rows_of(case: dict[str, Any]) -> dict[str, Any]:
    return {row["label"]: row for row in case["rows"]}


def steps_table(name: str, cases: list[dict[str, Any]]) -> str:
    header = ["optimizer step", f"{name}, us", *PEERS, "floor"]
    lines = []
    for case in cases:
        rows = rows_of(case)
        ours = f"{rows[name]['times']['step']['median']:.0f}"
        floor = next((label for label in rows if label.startswith("floor")), "")
        lines.append([f"`{case['name']}`", ours, *(ratio(rows, label) for label in (*PEERS, floor))])
    return table(header, lines)


def training_table(name: str, cases: list[dict[str, Any]]) -> str:
    peers = ("torch loop (default)", "torch fused")
    header = ["training step", f"with {name}, us", *peers, "the update's share: fastlr, loop, fused"]
    lines = []
    for case in cases:
        rows = rows_of(case)
        ours = f"{rows[name]['times']['training step']['median']:.0f}"
        shares = [f"{rows[label]['share']['median']:.1%}" for label in (name, *peers)]
        lines.append([f"`{case['name']}`", ours, *(ratio(rows, label) for label in peers), ", ".join(shares)])
    return table(header, lines)


def tables(name: str, cases: list[dict[str, Any]]) -> str:
    """Of one run: steps alone, and whole training steps."""
    training = [case for case in cases if case["rows"][0]["share"] is not None]
    steps = [case for case in cases if case["rows"][0]["share"] is None]
    return f"{steps_table(name, steps)}\n\n{training_table(name, training)}\n"


def recipe_table(record: dict[str, Any]) -> str:
    """Each part of a training recipe, on both lists of shapes."""
    cells: dict[str, list[str]] = {}
    for case in record["cases"]:
        ours, theirs = case["rows"][0], case["rows"][-1]
        part = cells.setdefault(case["description"].rsplit(" (", 1)[0], [])
        part += [f"{ours['times']['update']['median']:.0f}", f"{theirs['ratio']['median']:.2f}"]
    header = ["update", "25.5 M in 161 tensors: fastlr, us", "torch", "1000 tensors of 1: fastlr, us", "torch"]
    return table(header, [[part, *found] for part, found in cells.items()])


def batch_figure(batch: dict[str, Any], options: str) -> str:
    sides = batch["sides"]
    theirs = ", ".join(f"{name} {sides[name]['ratio']['median']:.1f}" for name in ("optax", "NumPy"))
    stepping = f"{sides[SCHEDULER]['ratio']['median']:.0f}"
    filled = f"{sides['memory filled']['ratio']['median']:.2f}"
    return (
        f"{sides['fastlr']['ns']['median']:.2f} ns a value; times as long: {theirs}, torch's stepping {stepping}, "
        f"filling the memory {filled} (`python bench/schedule_batch.py{options}`)"
    )


def alone_figures(fused: dict[str, Any]) -> str:
    return ", ".join(f"`{case['name']}` {ratio(rows_of(case), 'torch fused')}" for case in fused["cases"])


def groups_figures(record: dict[str, Any]) -> str:
    """How many times as long many groups take as one, by the elements of a tensor."""
    ratios = {elements: found["sides"][MANY]["ratio"]["median"] for elements, found in record["elements"].items()}
    return ", ".join(f"{ratio:.2f} at {elements}" for elements, ratio in ratios.items())


def single_figures(scalar: dict[str, Any], importing: dict[str, Any]) -> str:
    """What the smaller benches found, as a list."""
    fused, fused_adamw, groups, groups_adamw = read("fused", "fused_adamw", "many_groups_sgd", "many_groups_adamw")
    names = " ".join(case["name"] for case in fused["cases"])
    ours, theirs = (f"{scalar['ns'][side]['median']:.0f} ns" for side in (SCHEDULE, SCHEDULER))
    added = f"{importing['ms']['import fastlr after torch']['median']:.1f} ms"
    return (
        f"- Against torch fused alone, so that no third side takes the caches: {alone_figures(fused)} "
        f"(`fastlr bench --cases {names} --peers fused`); AdamW: {alone_figures(fused_adamw)} (`--optimizer adamw`).\n"
        f"- 465 groups of one tensor over one group of 465, by the elements of a tensor: {groups_figures(groups)}; "
        f"AdamW: {groups_figures(groups_adamw)} (`python bench/many_groups.py --optimizer AdamW`).\n"
        f"- The value of `Warmup >> Cosine` for one step: {ours}; `CosineAnnealingLR.step()`: {theirs} "
        "(`python bench/schedule_scalar.py`).\n"
        f"- `import fastlr` after `import torch`: {added} (`python bench/import_time.py`).\n"
    )


def read(*names: str) -> list[dict[str, Any]]:
    return [json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in names]


def section() -> str:
    """The tables, the single figures, and the machine that they come from."""
    bench, adamw, scalar, importing = read("bench", "adamw", "schedule_scalar", "import_time")
    facts = bench["machine"]
    batch, narrow, recipe = read("schedule_batch", "schedule_batch_50000", "recipe")
    whole = recipe["machine"]
    batches = (
        f"- 1024 mixed schedules at 100 000 steps: {batch_figure(batch, '')}.\n"
        f"- The same in rows of 50 000 steps, so that NumPy's temporaries stay in the cache: "
        f"{batch_figure(narrow, ' --width 50000')}.\n"
    )
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['instructions_fastlr']}, {facts['system']}, Python "
        f"{facts['python']}, torch {facts['torch']}, {facts['threads']} threads, load {facts['load']} before the run."
        f"\n\n{tables('fastlr.SGD', bench['cases'])}"
        f"\n`fastlr bench --optimizer adamw`, threads: {adamw['machine']['threads']}, load "
        f"{adamw['machine']['load']} before the run:\n"
        f"\n{tables('fastlr.AdamW', adamw['cases'])}\n"
        f"`python bench/recipe.py`, an update of `fastlr.SGD` beside torch's calls one after another, on "
        f"{whole['cpu']}, {whole['cores']} cores, {whole['threads']} threads, load {whole['load']} before the run:\n\n"
        f"{recipe_table(recipe)}\n\n"
        f"{single_figures(scalar, importing)}{batches}"
    )


def main() -> None:
    text = README.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    README.write_text(f"{head}{BEGIN}{section()}{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
