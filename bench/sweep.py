"""Cost of training 16 replicas side by side (fastlr.sweep) against one training of the same length.

The one training is a plain loop with fastlr.SGD on as many threads as torch has; the sweep is the whole call, with the
choice of its engine. The losses of the sweep are first compared with those of 16 separate trainings. Both sides are
timed in turns. A run takes some five minutes on two cores with nothing beside it.
Run: python bench/sweep.py [--cases NAME ...] [--steps N] [--threads N] [--budget SECONDS] [--json FILE]
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch
from sweep_sides import CASES, RATES, Case, compare, one_training, side_by_side

from fastlr._command import table, write_json
from fastlr._machine import machine, machine_line
from fastlr.benchmarks.results import CaseResult, Row
from fastlr.benchmarks.timing import Effort, alternate, ratios, seconds, spread

CHECKED_STEPS = 50
ONE, ALL = "one training", "16 side by side"


def run(case: Case, effort: Effort) -> tuple[CaseResult, str]:
    """Check and then time one case; also says which engine ran."""
    short = dataclasses.replace(case, steps=min(CHECKED_STEPS, case.steps))
    check, correct = compare(short, side_by_side(short))
    found = side_by_side(case)
    actions = {
        ONE: lambda: seconds(lambda: one_training(case, RATES[8])),
        ALL: lambda: seconds(lambda: side_by_side(case)),
    }
    measured = alternate(actions, effort)
    each = {name: [1e6 * value / case.steps for value in values] for name, values in measured.items()}
    rows = [
        Row(ONE, {"step": spread(each[ONE])}),
        Row(ALL, {"step": spread(each[ALL])}, spread(ratios(each[ALL], each[ONE])), check, correct),
    ]
    parameters = sum(param.numel() for param in case.start()[0].parameters())
    description = f"{case.description}, batch {case.batch}, {case.steps} steps ({parameters} parameters)"
    return CaseResult(case.name, "SGD", description, rows), str(found.engine)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES, metavar="NAME")
    parser.add_argument("--steps", type=int, metavar="N", help="of each training, in place of the case's own")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch and fastlr")
    parser.add_argument("--budget", type=float, default=15.0, metavar="SECONDS", help="of each case's timing")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    before = machine()
    print(f"{machine_line()}\nMedians (quartiles). The ratio is that of 16 side by side to one, within each round.")
    effort = Effort(budget=arguments.budget, least=5, most=200, warmup=1)
    results, found, engines = [], {}, {}
    for name in arguments.cases:
        case = CASES[name]
        if arguments.steps is not None:
            case = dataclasses.replace(case, steps=arguments.steps)
        result, engines[name] = run(case, effort)
        results.append(result)
        ratio = result.rows[1].ratio
        assert ratio is not None
        found[name] = {"16 / one": round(ratio.median, 3), "most": case.most, "engine": engines[name].split(":")[0]}
        print(f"\n{result.text().replace('time / fastlr', '16 / one')}\n{engines[name]}", flush=True)
    rows = [[name, f"{one['16 / one']:.2f}", f"{one['most']:g}", str(one["engine"])] for name, one in found.items()]
    print(f"\n{table(['case', '16 / one', 'at most', 'engine'], rows)}\n\n{json.dumps(found)}")
    if arguments.json:
        cases = [result.record() for result in results]
        write_json(arguments.json, {"machine": before, "cases": cases, "engines": engines, "verdicts": found})
    return 0 if all(result.correct for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
