"""Draws docs/sweep.png: runs the first Python block of docs/sweeping.md, which plots its result.

Run: python docs/sweep_picture.py
"""

import re
from pathlib import Path
from typing import Any

import matplotlib

DOCS = Path(__file__).resolve().parent


def main(picture: Path = DOCS / "sweep.png") -> None:
    matplotlib.use("agg")
    block = re.search(r"```python\n(.*?)```", (DOCS / "sweeping.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    namespace: dict[str, Any] = {}
    exec(block.group(1), namespace)
    namespace["axes"].figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main()
