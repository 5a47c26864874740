"""``fastlr bench --device cuda``: fastlr's optimizers against torch's steps on a GPU, in and out of CUDA graphs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch

from fastlr._command import CommandError, check_writable, write_json
from fastlr._info import info, info_text
from fastlr.benchmarks.cuda.check import TOLERANCES
from fastlr.benchmarks.cuda.device import CudaDevice
from fastlr.benchmarks.cuda.sides import CUDA_PEERS
from fastlr.benchmarks.cuda.steps import time_case
from fastlr.benchmarks.rules import RULES
from fastlr.benchmarks.shapes import LARGE_SHAPE_LISTS
from fastlr.benchmarks.timing import Effort

__all__ = ["CUDA_CASES", "CUDA_FULL", "CUDA_PEERS", "CUDA_QUICK", "DTYPES", "bench_cuda"]

CUDA_CASES = tuple(LARGE_SHAPE_LISTS)
CUDA_FULL = Effort(budget=4.0, least=20, most=500)
CUDA_QUICK = Effort(budget=1.0, least=10, most=100)
LEGEND = """\
Medians (quartiles) of an update, the scheduler's step included; ratios within each round, above 1 fastlr is faster.
device: by CUDA events, with the launches queued and the caches emptied beforehand
host: the calls, which do not wait for the device
GB/s: the bytes that an update cannot do without, over the time of the device
of copy: that bandwidth over the bandwidth of a copy on the device"""
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in TOLERANCES}


def bench_cuda(
    cases: Sequence[str] = CUDA_CASES,
    peers: Sequence[str] = CUDA_PEERS,
    dtypes: Sequence[str] = tuple(DTYPES),
    *,
    rules: Sequence[str] = ("sgd",),
    effort: Effort = CUDA_FULL,
    json_file: Path | None = None,
) -> bool:
    """Run the named cases on torch's current CUDA device, print a table for each, and say whether all went well.

    Args:
        cases: Of ``CUDA_CASES``. Those that need more memory than is free are skipped.
        peers: Of ``CUDA_PEERS``.
        dtypes: Of ``DTYPES``.
        rules: Of ``RULES``.
        effort: How long each case is timed in each dtype.
        json_file: Where every figure goes: times in microseconds, bandwidths in GB/s.

    Returns:
        False if a side computed something else than torch's loop, if fastlr could not run, or if nothing was timed.

    Raises:
        CommandError: There is no CUDA device that fastlr uses, or ``json_file`` cannot be written.
    """
    facts = info()
    if facts["why_no_cuda"]:
        raise CommandError(
            f"no CUDA device can be used: {facts['why_no_cuda']}. Leave out --device cuda, or see `fastlr info`"
        )
    if json_file is not None:
        check_writable(json_file)
    print(f"{info_text(facts)}\n")
    print(LEGEND)
    device = CudaDevice(torch.device("cuda", torch.cuda.current_device()))
    results = []
    for rule, name, dtype in product(rules, cases, dtypes):
        results.append(time_case(RULES[rule], LARGE_SHAPE_LISTS[name], DTYPES[dtype], peers, effort, device))
        print(f"\n{results[-1].text()}", flush=True)
    if json_file is not None:
        write_json(json_file, {"machine": facts, "cases": [result.record() for result in results]})
    return all(result.correct for result in results) and any(result.rows for result in results)
