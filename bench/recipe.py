"""Cost of a whole training recipe: clip, step, average, zero and schedule by fastlr.SGD's options and by torch's calls.

Each part also alone, on the parameters of a ResNet-50 and on many tiny tensors. Gradients get their first values before
every update, untimed, on both sides alike. All sides are checked against fastlr's first, after a few updates. Memory:
see bench/recipe_memory.py; without its process on systems other than Linux.
Run: python bench/recipe.py [--cases PART ...] [--shapes NAME ...] [--budget SECONDS] [--json FILE]
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipe_memory import in_a_process
from recipe_sides import OURS, PARTS, Part, Side, compare, sides

from fastlr._command import table, write_json
from fastlr._machine import machine, machine_line
from fastlr.benchmarks.results import CaseResult, Row
from fastlr.benchmarks.shapes import SHAPE_LISTS, ShapeList
from fastlr.benchmarks.steps import CHECKED_UPDATES
from fastlr.benchmarks.timing import Effort, alternate, ratios, seconds, spread

SHAPES = ("resnet50-like", "many-tiny")
LINUX = sys.platform == "linux"


def timed(side: Side) -> Callable[[], float]:
    """Microseconds of one update."""

    def measure() -> float:
        side.refill()
        return 1e6 * seconds(side.update)

    return measure


def run(part: Part, case: ShapeList, effort: Effort) -> CaseResult:
    """Check and then time one part."""
    made = {label: make(case.shapes) for label, make in sides(part).items()}
    for side in made.values():
        for _ in range(CHECKED_UPDATES):
            side.refill()
            side.update()
    checks = {label: compare(part, made[OURS], side) for label, side in made.items() if label != OURS}
    measured = alternate({label: timed(side) for label, side in made.items()}, effort)
    rows = []
    for label, values in measured.items():
        check, correct = checks.get(label, ("", True))
        ratio = None if label == OURS else spread(ratios(values, measured[OURS]))
        rows.append(Row(label, {"update": spread(values)}, ratio, check, correct))
    size = f"{part.description} ({len(case.shapes)} tensors, {case.elements} elements)"
    return CaseResult(f"{part.name} on {case.name}", "SGD", size, rows)


def memory(parts: Sequence[str], case: ShapeList) -> tuple[str, dict[str, Any]]:
    """A table and a record of what each side keeps and needs beyond."""
    found = {part: {label: in_a_process(part, case.name, label) for label in sides(PARTS[part])} for part in parts}
    rows = [
        [part, label, f"{one['kept'] / case.elements:.1f}", f"{one['beyond'] / 1e6:.1f}"]
        for part, labels in found.items()
        for label, one in labels.items()
    ]
    header = ["part", "side", "kept, bytes an element", "peak beyond, MB"]
    return f"memory on {case.name}, gradients among what is kept\n\n{table(header, rows)}", found


def verdicts(results: Sequence[CaseResult], parts: Sequence[str], shapes: Sequence[str]) -> dict[str, dict[str, float]]:
    """For every case, torch's time over fastlr's and the least that it should be."""
    cases = [(PARTS[part], name) for name in shapes for part in parts]
    found = {}
    for (part, name), result in zip(cases, results, strict=True):
        ratio = result.rows[-1].ratio
        assert ratio is not None
        found[result.name] = {"torch / fastlr": round(ratio.median, 3), "least": (part.least or {}).get(name, 1.0)}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(PARTS), choices=PARTS, metavar="PART")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), choices=SHAPE_LISTS, metavar="NAME")
    parser.add_argument("--budget", type=float, default=10.0, metavar="SECONDS", help="of each case's timing")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    before = machine()
    print(f"{machine_line()}\nMedians (quartiles). `time / fastlr` is the ratio within each round.")
    effort = Effort(budget=arguments.budget, least=15, most=2000)
    results, memories = [], {}
    for name in arguments.shapes:
        for part in arguments.cases:
            results.append(run(PARTS[part], SHAPE_LISTS[name], effort))
            print(f"\n{results[-1].text()}", flush=True)
        if LINUX:
            text, memories[name] = memory(arguments.cases, SHAPE_LISTS[name])
            print(f"\n{text}", flush=True)
    found = verdicts(results, arguments.cases, arguments.shapes)
    rows = [[name, f"{one['torch / fastlr']:.2f}", f"{one['least']:g}"] for name, one in found.items()]
    print(f"\n{table(['case', 'torch / fastlr', 'at least'], rows)}\n\n{json.dumps(found)}")
    if arguments.json:
        cases = [result.record() for result in results]
        write_json(arguments.json, {"machine": before, "cases": cases, "memory": memories, "verdicts": found})
    return 0 if all(result.correct for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
