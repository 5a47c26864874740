"""Cost of parameter groups: 465 groups of one tensor against one group of 465 tensors, and torch fused beside them.

Every side updates tensors of its own with the same values; fastlr's follow a schedule, and each of the many groups has
another factor of it. The results are compared with torch's loop first. Targets: within 1.3 times at 54 000 elements a
tensor, 2.5 times at 1.
Run: python bench/many_groups.py [--optimizer CLASS] [--budget SECONDS] [--json FILE]
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import fastlr
from fastlr._command import table, write_json
from fastlr._machine import machine, machine_line
from fastlr.benchmarks.results import interval
from fastlr.benchmarks.steps import TOLERANCE, largest_difference, make_parameters
from fastlr.benchmarks.timing import Effort, alternate, ratios, seconds, spread
from fastlr.schedules import Constant, Cosine

TENSORS, UPDATES, CHECKED = 465, 10_000, 5
TARGETS = {54_000: 1.3, 1: 2.5}
RATE = 0.1
OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "weight_decay": 1e-4},
    "Adam": {},
    "AdamW": {},
    "Lion": {},
}
MANY, ONE = "465 groups of one tensor", "one group of 465"

Optimizer = torch.optim.Optimizer
Group = dict[str, Any]


def many(elements: int) -> list[Group]:
    """A group for each tensor, each with a rate of its own."""
    params = make_parameters([(elements,)] * TENSORS)
    return [{"params": [param], "lr_scale": 1.0 - index / (2 * TENSORS)} for index, param in enumerate(params)]


def one(elements: int) -> list[Group]:
    return [{"params": make_parameters([(elements,)] * TENSORS)}]


def with_rates(groups: list[Group]) -> list[Group]:
    """What torch's optimizers take: each group's own rate in place of a factor."""
    return [{"params": group["params"], "lr": RATE * group.get("lr_scale", 1.0)} for group in groups]


def sides(name: str, elements: int) -> dict[str, Optimizer]:
    """fastlr's two, which are compared, and torch's two."""
    schedule, options = Cosine(RATE, 0.0, UPDATES), OPTIONS[name]
    found: dict[str, Optimizer] = {}
    for label, make in ((MANY, many), (ONE, one)):
        found[f"fastlr, {label}"] = getattr(fastlr, name)(make(elements), lr=schedule, **options)
        if hasattr(torch.optim, name):
            groups = with_rates(make(elements))
            found[f"torch fused, {label}"] = getattr(torch.optim, name)(groups, fused=True, **options)
    return found


def parameters(optimizer: Optimizer) -> list[torch.Tensor]:
    return [param.detach() for group in optimizer.param_groups for param in group["params"]]


def check(name: str, elements: int) -> None:
    """A few updates at a constant rate end as those of torch's loop; where torch has no such rule, of single groups."""
    for make in (many, one):
        ours = getattr(fastlr, name)(make(elements), lr=Constant(RATE), **OPTIONS[name])
        if hasattr(torch.optim, name):
            groups = with_rates(make(elements))
            theirs = [getattr(torch.optim, name)(groups, foreach=False, fused=False, **OPTIONS[name])]
        else:
            theirs = [getattr(fastlr, name)([group], lr=RATE, **OPTIONS[name]) for group in with_rates(make(elements))]
        for optimizer in (ours, *theirs):
            for _ in range(CHECKED):
                optimizer.step()
        expected = [param for optimizer in theirs for param in parameters(optimizer)]
        if not largest_difference(expected, parameters(ours)) <= TOLERANCE:
            raise SystemExit(f"fastlr.{name} differs from the expected result at {elements} elements: {make.__name__}")


def timed(optimizer: Optimizer) -> Callable[[], float]:
    return lambda: 1e6 * seconds(optimizer.step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--optimizer", default="SGD", choices=[name for name in OPTIONS if hasattr(fastlr, name)])
    parser.add_argument("--budget", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    before = machine()
    rows, record = [], {}
    for elements, target in TARGETS.items():
        check(arguments.optimizer, elements)
        actions = {label: timed(optimizer) for label, optimizer in sides(arguments.optimizer, elements).items()}
        measured = alternate(actions, Effort(budget=arguments.budget, least=20, most=2000))
        base = measured[f"fastlr, {ONE}"]
        figures = {label: (spread(values), spread(ratios(values, base))) for label, values in measured.items()}
        for label, (time, ratio) in figures.items():
            shown = f"{target}" if label == f"fastlr, {MANY}" else ""
            rows.append(
                [label, str(elements), interval(time, "{:.0f}".format), interval(ratio, "{:.2f}".format), shown]
            )
        record[str(elements)] = {
            "target": target,
            "sides": {label: {"us": asdict(time), "ratio": asdict(ratio)} for label, (time, ratio) in figures.items()},
        }
    print(f"{machine_line()}\nfastlr.{arguments.optimizer}, median (quartiles)\n")
    header = ["side", "elements a tensor", "us a step", f"times fastlr, {ONE}", "target"]
    print(table(header, rows))
    if arguments.json:
        write_json(arguments.json, {"machine": before, "optimizer": arguments.optimizer, "elements": record})


if __name__ == "__main__":
    main()
