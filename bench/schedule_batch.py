"""Cost of one value among many: 1024 mixed schedules at 100 000 steps, beside optax, NumPy and torch's stepping.

Every side computes blocks of 8 schedules x 100 000 steps of float64 (--width: fewer steps), eight blocks before the
next side's turn, into memory that it has already. NumPy's temporaries come on top: with rows that fit into the cache it
is faster. All sides are checked against each other first.
Run: python bench/schedule_batch.py [--width STEPS] [--budget SECONDS] [--json FILE] (the optax side needs
`pip install optax` and compiles each schedule first, which takes most of a minute).
"""

import argparse
import itertools
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from schedule_families import FAMILIES, STEPS, setting

import fastlr
from fastlr._command import table, write_json
from fastlr._machine import machine, machine_line
from fastlr.benchmarks.results import interval
from fastlr.benchmarks.timing import Effort, alternate, ratios, seconds, spread

COUNT, BLOCK, TORCH_STEPS = 1024, 8, 1000
RUN = 8  # blocks that a side computes before the next side's turn: its own steady state
SETTINGS = [(FAMILIES[i % len(FAMILIES)], setting(i)) for i in range(COUNT)]

# Computes the block that starts at a schedule and a step.
Side = Callable[[int, int], Any]


def starts(width: int) -> list[tuple[int, int]]:
    return [(first, begin) for first in range(0, COUNT, BLOCK) for begin in range(0, STEPS, width)]


def fastlr_side(width: int) -> Side:
    schedules = [family.fastlr(numbers) for family, numbers in SETTINGS]
    out = np.empty((BLOCK, width))

    def block(first: int, begin: int) -> Any:
        return fastlr.evaluate(schedules[first : first + BLOCK], range(begin, begin + width), out=out)

    return block


def numpy_side(width: int) -> Side:
    out = np.empty((BLOCK, width))
    steps = np.arange(STEPS, dtype=np.float64)

    def block(first: int, begin: int) -> NDArray[np.float64]:
        for row, (family, numbers) in zip(out, SETTINGS[first : first + BLOCK], strict=True):
            row[:] = family.numpy(numbers, steps[begin : begin + width])
        return out

    return block


def optax_side(width: int) -> Side:
    """Each schedule under jit and vmap over the steps, in x64; the memory of its last values is donated."""
    import jax
    import optax

    jax.config.update("jax_enable_x64", True)
    steps = {begin: jax.numpy.arange(begin, begin + width) for begin in range(0, STEPS, width)}

    def filler(schedule: Callable[[Any], Any]) -> Callable[..., jax.Array]:
        def fill(used: jax.Array, at: jax.Array) -> jax.Array:
            return jax.vmap(schedule)(at)

        return jax.jit(fill, donate_argnums=0, keep_unused=True)

    fill = [filler(family.optax(optax, numbers)) for family, numbers in SETTINGS]
    rows = [jax.numpy.zeros(width) for _ in range(BLOCK)]

    def block(first: int, begin: int) -> list[jax.Array]:
        for i in range(BLOCK):
            rows[i] = fill[first + i](rows[i], steps[begin])
        return jax.block_until_ready(rows)

    return block


def torch_side() -> Side:
    """One scheduler, stepped; a value of a scheduler costs the same whatever the others do."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

    def block(first: int, begin: int) -> None:
        for _ in range(TORCH_STEPS):
            scheduler.step()

    return block


def fill_side(width: int) -> Side:
    """What the memory takes: the same block filled with a constant."""
    out = torch.empty((BLOCK, width), dtype=torch.float64)
    return lambda first, begin: out.fill_(float(begin))


def check(sides: dict[str, Side], width: int) -> None:
    """All values of all sides; this also compiles what is to be compiled."""
    for first, begin in starts(width):
        want = sides["NumPy"](first, begin)
        for name in sides:
            for row, values in zip(want, sides[name](first, begin), strict=True):
                np.testing.assert_allclose(np.asarray(values), row, rtol=1e-9, atol=1e-12, err_msg=name)


def timed(side: Side, width: int, values: int) -> Callable[[], float]:
    """Nanoseconds a value of a run of blocks, the blocks in turn."""
    turn = itertools.cycle(starts(width))

    def run() -> None:
        for start in itertools.islice(turn, RUN):
            side(*start)

    return lambda: 1e9 * seconds(run) / (RUN * values)


def sides_here(width: int) -> dict[str, Side]:
    sides = {"fastlr": fastlr_side(width), "NumPy": numpy_side(width)}
    try:
        sides["optax"] = optax_side(width)
    except ModuleNotFoundError as error:
        print(f"optax is left out: {error}")
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=STEPS, metavar="STEPS")
    parser.add_argument("--budget", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    before = machine()
    width = arguments.width
    if not 1 <= width <= STEPS or STEPS % width:
        parser.error(f"not a divisor of {STEPS}: {width}")
    sides = sides_here(width)
    check(sides, width)
    actions = {name: timed(side, width, BLOCK * width) for name, side in sides.items()}
    actions["memory filled"] = timed(fill_side(width), width, BLOCK * width)
    actions["torch CosineAnnealingLR.step()"] = timed(torch_side(), width, TORCH_STEPS)
    measured = alternate(actions, Effort(budget=arguments.budget, least=20, most=600, warmup=4))
    rows, record = [], {}
    for name, values in measured.items():
        time, ratio = spread(values), spread(ratios(values, measured["fastlr"]))
        rows.append([name, interval(time, "{:.3f}".format), interval(ratio, "{:.2f}".format)])
        record[name] = {"ns": asdict(time), "ratio": asdict(ratio)}
    print(f"{machine_line()}\n{COUNT} schedules x {STEPS} steps in blocks of {BLOCK} x {width}\n")
    print(table(["side", "ns a value, median (quartiles)", "times fastlr's, paired"], rows))
    if arguments.json:
        write_json(arguments.json, {"machine": before, "width": width, "sides": record})


if __name__ == "__main__":
    main()
