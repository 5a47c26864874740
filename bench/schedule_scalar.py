"""Cost of one schedule value, as an integer step gives it, beside torch's schedulers and plain Python.

Run: python bench/schedule_scalar.py [--budget SECONDS] [--json FILE]
"""

import argparse
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

import fastlr
from fastlr._command import table, write_json
from fastlr._machine import machine, machine_line
from fastlr.benchmarks.results import interval
from fastlr.benchmarks.timing import Effort, alternate, seconds, spread
from fastlr.schedules import Constant, Cosine, MultiStep, OneCycle, Warmup

TOTAL, WARMUP, PEAK = 100_000, 5_000, 0.1
CALLS = 200


def python_formula(step: int) -> float:
    """Warm-up and cosine as one would write them by hand."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    return 0.5 * PEAK * (1 + math.cos(math.pi * min(1.0, (step - WARMUP) / (TOTAL - WARMUP))))


def torch_schedulers() -> dict[str, Callable[[int], object]]:
    """Schedulers of one parameter group; each call advances them by one step."""

    def optimizer() -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)

    cosine = CosineAnnealingLR(optimizer(), TOTAL)
    joined = optimizer()
    pieces = [LinearLR(joined, 1 / WARMUP, total_iters=WARMUP - 1), CosineAnnealingLR(joined, TOTAL - WARMUP)]
    sequential = SequentialLR(joined, pieces, [WARMUP])
    return {
        "torch CosineAnnealingLR.step()": lambda _: cosine.step(),
        "torch SequentialLR(LinearLR, CosineAnnealingLR).step()": lambda _: sequential.step(),
    }


def sides() -> dict[str, Callable[[int], object]]:
    warm_cosine = fastlr.warmup_cosine(PEAK, TOTAL, warmup=WARMUP)
    return {
        "fastlr Constant": Constant(PEAK),
        "fastlr Cosine": Cosine(PEAK, 0.0, TOTAL),
        "fastlr Warmup >> Cosine": warm_cosine,
        "fastlr (Warmup >> Cosine) * MultiStep": warm_cosine * MultiStep(1.0, (30_000, 60_000), 0.1),
        "fastlr OneCycle": OneCycle(PEAK, TOTAL),
        "fastlr Warmup >> Constant": Warmup(PEAK, WARMUP) >> Constant(PEAK),
        "plain Python warm-up and cosine": python_formula,
        **torch_schedulers(),
    }


def calls(side: Callable[[int], object]) -> Callable[[], float]:
    """Time of one call, from CALLS of them at steps spread over the run; the loop's own cost is included."""
    steps = [index * 7919 % TOTAL for index in range(CALLS)]

    def loop() -> None:
        for step in steps:
            side(step)

    return lambda: seconds(loop) / CALLS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    before = machine()
    # The schedulers run without updates here, of which torch warns.
    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    effort = Effort(budget=arguments.budget, least=20, most=400)
    measured = alternate({name: calls(side) for name, side in sides().items()}, effort)
    times = {name: spread([1e9 * value for value in values]) for name, values in measured.items()}
    print(f"{machine_line()}\nNanoseconds a value, median (quartiles)\n")
    print(table(["side", "ns"], [[name, interval(time, "{:.0f}".format)] for name, time in times.items()]))
    if arguments.json:
        write_json(arguments.json, {"machine": before, "ns": {name: asdict(time) for name, time in times.items()}})


if __name__ == "__main__":
    main()
