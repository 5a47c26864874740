"""Memory of one side of bench/recipe.py: what it keeps, and the peak of an update beyond that.

The peak is that of the process's resident memory (VmHWM, which Linux resets on request) during a late update, when all
state is there and all pages have been touched: neither Python's tracemalloc nor torch sees what operators allocate on a
CPU. It needs a process of its own with MALLOC_MMAP_THRESHOLD_ set, so that freed temporaries go back to the system and
do not hide in memory that is resident before. Good to about 1 MB.
Run by bench/recipe.py: python bench/recipe_memory.py PART SHAPES SIDE
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from recipe_sides import PARTS, sides

from fastlr.benchmarks.shapes import SHAPE_LISTS

UPDATES_BEFORE = 3
FIXED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def status(name: str) -> int:
    """Bytes, from what Linux says of this process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:")]
    return 1024 * int(line.split()[1])


def measured(part: str, shapes: str, label: str) -> dict[str, int]:
    side = sides(PARTS[part])[label](SHAPE_LISTS[shapes].shapes)
    for _ in range(UPDATES_BEFORE):
        side.refill()
        side.update()
    side.refill()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    side.update()
    return {"kept": sum(tensor.nbytes for tensor in side.held()), "beyond": max(status("VmHWM") - before, 0)}


def in_a_process(part: str, shapes: str, label: str) -> dict[str, int]:
    """The same, measured by this file as a script."""
    command = [sys.executable, __file__, part, shapes, label]
    printed = subprocess.run(command, env={**os.environ, **FIXED}, capture_output=True, text=True, check=True).stdout
    found: dict[str, int] = json.loads(printed)
    return found


if __name__ == "__main__":
    print(json.dumps(measured(*sys.argv[1:])))
