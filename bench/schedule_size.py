"""Cost of large schedules: a table of a million entries and a schedule of 10^9 steps, beside small ones.

For each: building it, one value, one of many values at steps spread over its length, and its JSON.
Run: python bench/schedule_size.py [--budget SECONDS] [--json FILE]
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

import fastlr
from fastlr._command import table, write_json
from fastlr._machine import machine, machine_line
from fastlr.benchmarks.results import interval
from fastlr.benchmarks.timing import Effort, alternate, seconds, spread
from fastlr.schedules import Schedule, Table

CALLS, MANY = 200, 100_000


def values(count: int) -> np.ndarray:
    return 0.1 + 0.05 * np.sin(np.arange(count))


SCHEDULES: dict[str, tuple[int, Callable[[], Schedule]]] = {
    "a table of 10 entries": (10, lambda: Table(values(10))),
    "a table of 1 000 000 entries": (10**6, lambda: Table(values(10**6))),
    "warm-up and cosine over 1000 steps": (10**3, lambda: fastlr.warmup_cosine(0.1, 10**3)),
    "warm-up and cosine over 10^9 steps": (10**9, lambda: fastlr.warmup_cosine(0.1, 10**9)),
}


def one(schedule: Schedule, length: int) -> Callable[[], float]:
    """Nanoseconds of one value, at steps spread over the length; the loop's own cost is included."""
    steps = [index * 7919 * 104729 % length for index in range(CALLS)]

    def loop() -> None:
        for step in steps:
            schedule(step)

    return lambda: 1e9 * seconds(loop) / CALLS


def many(schedule: Schedule, length: int) -> Callable[[], float]:
    """Nanoseconds a value of an array of steps in random order."""
    steps = np.random.default_rng(0).integers(0, length, MANY)
    out = np.empty((1, MANY))
    return lambda: 1e9 * seconds(lambda: fastlr.evaluate([schedule], steps, out=out)) / MANY


def build(make: Callable[[], Schedule]) -> Callable[[], float]:
    """Milliseconds until the first value."""
    return lambda: 1e3 * seconds(lambda: make()(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    before = machine()
    made = {name: (make(), length) for name, (length, make) in SCHEDULES.items()}
    for name, (schedule, length) in made.items():
        if schedule(np.array([0, length]))[1] != schedule(10 * length):
            raise SystemExit(f"does not hold its end: {name}")
    actions: dict[tuple[str, str], Callable[[], float]] = {}
    for name, (schedule, length) in made.items():
        actions[name, "build, ms"] = build(SCHEDULES[name][1])
        actions[name, "one value, ns"] = one(schedule, length)
        actions[name, "of many, ns"] = many(schedule, length)
    keys = {" | ".join(key): key for key in actions}
    measured = alternate(
        {text: actions[key] for text, key in keys.items()}, Effort(arguments.budget, 10, 100, warmup=1)
    )
    spreads = {keys[text]: spread(times) for text, times in measured.items()}
    columns = ("build, ms", "one value, ns", "of many, ns")
    rows = [
        [
            name,
            *(interval(spreads[name, column], "{:.2f}".format) for column in columns),
            str(len(made[name][0].to_json())),
        ]
        for name in made
    ]
    print(f"{machine_line()}\nMedian (quartiles)\n")
    print(table(["schedule", *columns, "bytes of JSON"], rows))
    if arguments.json:
        figures = {name: {column: asdict(spreads[name, column]) for column in columns} for name in made}
        write_json(arguments.json, {"machine": before, "schedules": figures})


if __name__ == "__main__":
    main()
