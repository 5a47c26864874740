"""Draws docs/first-loop.png: runs the first Python block of README.md and records rate and loss of every update.

Run: python docs/first_loop.py
"""

import re
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

DOCS = Path(__file__).resolve().parent


def run_first_block() -> tuple[list[float], list[float]]:
    """Rates and losses, seen by a hook before every update; the loop itself stays as the reader pastes it."""
    block = re.search(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    namespace: dict[str, Any] = {}
    rates: list[float] = []
    losses: list[float] = []

    def record(optimizer: Optimizer, *_: object) -> None:
        rates.append(float(optimizer.param_groups[0]["lr"]))
        losses.append(namespace["loss"].item())

    hook = register_optimizer_step_pre_hook(record)
    try:
        exec(block.group(1), namespace)
    finally:
        hook.remove()
    return rates, losses


def main() -> None:
    rates, losses = run_first_block()
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    for axes, values, label in zip(figure.subplots(1, 2), (rates, losses), ("learning rate", "loss"), strict=True):
        axes.plot(values)
        axes.set(xlabel="update", ylabel=label)
    figure.axes[1].set_yscale("log")
    figure.savefig(DOCS / "first-loop.png", dpi=110)


if __name__ == "__main__":
    main()
