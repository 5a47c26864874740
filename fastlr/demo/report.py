"""What the demo shows at the end: a table, one sentence, a picture and a record."""

from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from fastlr._command import optional_module, table
from fastlr._machine import machine
from fastlr.benchmarks.results import interval
from fastlr.benchmarks.timing import ratios, spread
from fastlr.demo.train import HYPER, PEAK, Run, Side


def largest_difference(first: list[float], second: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def results_table(run: Run) -> str:
    ours = run.sides[0]
    header = ["optimizer", "test accuracy", "last loss", "loss apart", "us per step"]
    rows = [
        [
            side.name,
            f"{side.accuracy:.2%}",
            f"{side.losses[-1]:.6f}",
            "" if side is ours else f"{_apart(side, ours):.3g}",
            interval(spread(side.microseconds), "{:.1f}".format),
        ]
        for side in run.sides
    ]
    return table(header, rows)


def _apart(side: Side, ours: Side) -> float:
    return largest_difference(side.losses, ours.losses)


def verdict(run: Run) -> str:
    """What the table says about fastlr and torch's default, in words."""
    ours, default, fused = run.sides
    if ours.losses == default.losses:
        losses = f"All {run.updates} losses of fastlr and of torch's default are the same number, bit for bit."
    else:
        losses = f"The losses of fastlr and of torch's default differ by at most {_apart(default, ours):.3g}."
    ratio = spread(ratios(default.microseconds, ours.microseconds)).median
    fused_ratio = spread(ratios(fused.microseconds, ours.microseconds)).median
    rates = largest_difference(ours.rates, default.rates)
    return (
        f"{losses} Their rates differ by at most {rates:.1g}.\n"
        "torch's fused kernel rounds in another order; training amplifies that, and its losses drift apart.\n"
        "A step is optimizer.step() and, for torch, scheduler.step(); fastlr's schedule is part of its step.\n"
        f"torch takes {ratio:.1f} times as long for it by default and {fused_ratio:.1f} times with fused=True "
        "(medians of the ratios, update by update).\n"
        f"{run.updates} updates of each optimizer took {run.seconds:.0f} s together."
    )


def draw(run: Run, path: Path) -> None:
    """Rate at each update, and loss averaged over each epoch, of all sides."""
    figure = optional_module("matplotlib.figure", "matplotlib").Figure(figsize=(8, 6), layout="constrained")
    rate_axes, loss_axes = figure.subplots(2, 1, sharex=True)
    epoch_ends = range(run.batches, run.updates + 1, run.batches)
    for side, style in zip(run.sides, ("-", "--", ":"), strict=True):
        rate_axes.plot(range(1, run.updates + 1), side.rates, style, label=side.name)
        means = [fmean(side.losses[end - run.batches : end]) for end in epoch_ends]
        loss_axes.plot(epoch_ends, means, style, label=side.name)
    rate_axes.set_ylabel("learning rate")
    rate_axes.legend()
    loss_axes.set(ylabel="training loss, mean of each epoch", xlabel="update", yscale="log")
    figure.savefig(path, dpi=120)


def record(run: Run, *, epochs: int, seed: int) -> dict[str, Any]:
    """Everything measured, as JSON takes it. Times are in microseconds."""
    return {
        "machine": machine(),
        "epochs": epochs,
        "seed": seed,
        "updates": run.updates,
        "schedule": {"peak": PEAK, "warmup": run.warmup, "total": run.updates},
        "hyper": HYPER,
        "seconds": run.seconds,
        "sides": [
            {
                "name": side.name,
                "test_accuracy": side.accuracy,
                "largest_loss_difference": _apart(side, run.sides[0]),
                "largest_rate_difference": largest_difference(side.rates, run.sides[0].rates),
                "step_us": asdict(spread(side.microseconds)),
                "rates": side.rates,
                "losses": side.losses,
            }
            for side in run.sides
        ],
    }
