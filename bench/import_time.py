"""What ``import fastlr`` adds to ``import torch``, each time in a fresh process.

Two figures: the import statement itself after ``import torch``, and the difference of whole processes with and
without it, started in turn (noisier, but it counts everything). The budget is 20 ms.

Run: python bench/import_time.py [--rounds N] [--json FILE]
"""

import argparse
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from fastlr._command import table, write_json
from fastlr._machine import machine, machine_line
from fastlr.benchmarks.results import interval
from fastlr.benchmarks.timing import Effort, alternate, spread

BUDGET_MS = 20.0
ALONE = "import torch"
BOTH = """import time, torch
start = time.perf_counter()
import fastlr
print(time.perf_counter() - start)"""


def process(code: str) -> tuple[float, float]:
    """Milliseconds of the whole process, and those that it printed (0 where it printed none)."""
    start = time.perf_counter()
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return 1e3 * (time.perf_counter() - start), 1e3 * float(printed or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    before = machine()
    effort = Effort(budget=float("inf"), least=arguments.rounds, most=arguments.rounds, warmup=1)
    measured = alternate({"alone": lambda: process(ALONE), "both": lambda: process(BOTH)}, effort)
    pairs = list(zip(measured["alone"], measured["both"], strict=True))
    figures = {
        "import torch (process)": spread([alone for (alone, _), _ in pairs]),
        "import torch, fastlr (process)": spread([both for _, (both, _) in pairs]),
        "difference within a round": spread([both - alone for (alone, _), (both, _) in pairs]),
        "import fastlr after torch": spread([statement for _, (_, statement) in pairs]),
    }
    print(f"{machine_line()}\nMilliseconds, median (quartiles); budget of the last line: {BUDGET_MS:.0f}\n")
    print(table(["what", "ms"], [[name, interval(figure, "{:.1f}".format)] for name, figure in figures.items()]))
    if arguments.json:
        write_json(arguments.json, {"machine": before, "ms": {name: asdict(f) for name, f in figures.items()}})


if __name__ == "__main__":
    main()
