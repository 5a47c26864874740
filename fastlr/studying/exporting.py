"""Runs as tables and as plain data."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TextIO

from fastlr._command import table
from fastlr.searching.files import plain
from fastlr.studying.reading import Run

HEADER = ["run", "kind", "state", "rate", "score", "interval", "optimizer", "steps", "label", "begun"]


def listed(runs: Sequence[Run]) -> str:
    """A table of runs, a line each."""
    rows = [
        [
            str(run.number),
            run.kind,
            run.state,
            run.entry,
            _number(run.score),
            "" if run.interval is None else f"{run.interval[0]:.4g} to {run.interval[1]:.4g}",
            str(run.asked.get("optimizer", "")),
            str(run.asked.get("steps", "")),
            run.label or "",
            "" if run.begun is None else f"{run.begun:%Y-%m-%d %H:%M}",
        ]
        for run in runs
    ]
    return table(HEADER, rows)


def told(run: Run) -> str:
    """Everything that is kept of a run, but for its losses, in lines; and what its result says."""
    lines = list(_lines(record(run), ""))
    result = run.result
    return "\n".join([*lines, *([] if result is None else ["", str(result)])])


def _lines(found: dict[str, Any], indent: str) -> Iterator[str]:
    """A line for each entry that says something, those of dicts further in."""
    for name, value in found.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{name}:"
            yield from _lines(value, f"{indent}  ")
        elif value not in (None, "", {}, []):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"{indent}{name}: {text}"


def record(run: Run) -> dict[str, Any]:
    """A run as plain data, without its losses."""
    found = {one.name: getattr(run, one.name) for one in fields(run) if one.compare}
    return {name: value.isoformat() if isinstance(value, datetime) else plain(value) for name, value in found.items()}


def with_losses(run: Run) -> dict[str, Any]:
    """A run as plain data, with what its result writes as JSON."""
    result = run.result
    return {**record(run), "seconds": run.seconds, "result": None if result is None else json.loads(result.to_json())}


def write_csv(runs: Sequence[Run], file: TextIO) -> None:
    """A line for each run, every number with all its digits; what is no number or text as JSON."""
    names = [one.name for one in fields(Run) if one.compare]
    writer = csv.writer(file)
    writer.writerow([*names, "seconds"])
    for run in runs:
        values = [*record(run).values(), run.seconds]
        writer.writerow([json.dumps(one) if isinstance(one, (dict, list)) else one for one in values])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
