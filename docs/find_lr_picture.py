"""Draws docs/find-lr.png: runs the first Python block of docs/finding.md and plots its result.

Run: python docs/find_lr_picture.py
"""

import re
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

DOCS = Path(__file__).resolve().parent


def main(picture: Path = DOCS / "find-lr.png") -> None:
    block = re.search(r"```python\n(.*?)```", (DOCS / "finding.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    namespace: dict[str, Any] = {}
    exec(block.group(1), namespace)
    figure = Figure(figsize=(8, 4), layout="constrained")
    namespace["result"].plot(figure.subplots())
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
