"""``fastlr bench``: fastlr's optimizers against every way in which torch does the same update."""

from collections.abc import Sequence
from pathlib import Path

import torch

from fastlr._command import check_writable, write_json
from fastlr._machine import machine, machine_line
from fastlr.benchmarks.models import TRAINING_CASES
from fastlr.benchmarks.peers import PEERS
from fastlr.benchmarks.results import CaseResult
from fastlr.benchmarks.rules import RULES, Rule
from fastlr.benchmarks.shapes import SHAPE_LISTS
from fastlr.benchmarks.steps import time_steps
from fastlr.benchmarks.timing import Effort
from fastlr.benchmarks.training import time_training

__all__ = ["CASES", "FULL", "PEERS", "QUICK", "RULES", "bench"]

CASES = (*SHAPE_LISTS, *TRAINING_CASES)
FULL = Effort(budget=12.0, least=40, most=2000)
QUICK = Effort(budget=2.0, least=15, most=500)


def bench(
    cases: Sequence[str] = CASES,
    peers: Sequence[str] = tuple(PEERS),
    *,
    rules: Sequence[str] = ("sgd",),
    effort: Effort = FULL,
    threads: int | None = None,
    json_file: Path | None = None,
) -> bool:
    """Run the named cases, print a table for each, and say whether all sides computed the same.

    Args:
        cases: of ``CASES``.
        peers: of ``PEERS``. Compiling takes up to two minutes a case, and takes no part in whole training steps.
        rules: of ``RULES``.
        effort: how long each case is timed.
        threads: of torch and fastlr; by default torch's choice.
        json_file: where every figure goes, times in microseconds.

    Raises:
        CommandError: ``json_file`` cannot be written.
    """
    if json_file is not None:
        check_writable(json_file)
    if threads is not None:
        torch.set_num_threads(threads)
    before = machine()  # the load is that of other programs now, and the bench's own later
    print(f"fastlr bench on {machine_line()}")
    print("Medians (quartiles). `time / fastlr` is the ratio within each round: above 1 fastlr is faster.")
    results = []
    for rule in rules:
        for name in cases:
            results.append(run_case(RULES[rule], name, peers, effort))
            print(f"\n{results[-1].text()}", flush=True)
    if json_file is not None:
        write_json(json_file, {"machine": before, "cases": [result.record() for result in results]})
    return all(result.correct for result in results)


def run_case(rule: Rule, name: str, peers: Sequence[str], effort: Effort) -> CaseResult:
    if name in SHAPE_LISTS:
        return time_steps(rule, SHAPE_LISTS[name], peers, effort)
    return time_training(rule, TRAINING_CASES[name], [peer for peer in peers if peer != "compiled"], effort)
