"""One case of the bench on CUDA: memory, then checks, then times of all sides in turn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from fastlr.benchmarks.cuda.check import Checks, Verdict
from fastlr.benchmarks.cuda.device import Device, Times
from fastlr.benchmarks.cuda.results import CudaCase, CudaRow
from fastlr.benchmarks.cuda.sides import OURS_GRAPH, CudaSide, Tensors, labels, make_cuda_side
from fastlr.benchmarks.peers import OURS, UPDATES
from fastlr.benchmarks.rules import Rule
from fastlr.benchmarks.shapes import ShapeList
from fastlr.benchmarks.timing import Effort, Spread, alternate, ratios, spread

COPY = "copy_ of as many bytes"
COPIED_BYTES = 1 << 29  # at once; far more than any GPU's cache holds


def held(rule: Rule) -> int:
    """Values an element: parameter, gradient and state; copies to compare with, all but the gradient; temporaries."""
    return 2 * (1 + len(rule.states)) + 1 + rule.temporaries


def time_case(
    rule: Rule, case: ShapeList, dtype: torch.dtype, peers: Sequence[str], effort: Effort, device: Device
) -> CudaCase:
    """Check and then time one case, or skip it where the device's free memory is too small."""
    size = case.elements * dtype.itemsize
    described = f"{case.description} ({len(case.shapes)} tensors, {case.elements} elements)"
    step_bytes = rule.moved * size
    found = CudaCase(case.name, rule.name, str(dtype).removeprefix("torch."), described, step_bytes)
    needed, free = held(rule) * size + 2 * COPIED_BYTES, device.free_memory()
    if needed > free:
        return replace(found, skipped=f"needs {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free")
    try:
        verdicts, rows = _measured(rule, case, dtype, peers, effort, device)
    except torch.OutOfMemoryError:
        return replace(found, skipped=f"ran out of memory: {free / 1e9:.1f} GB were free")
    shown = labels(rule)
    untimed = {shown[name]: verdict.text for name, verdict in verdicts.items() if not verdict.right}
    failed = any(verdict.failed for verdict in verdicts.values())
    return replace(found, rows=rows, untimed=untimed, correct=not failed)


def _measured(
    rule: Rule, case: ShapeList, dtype: torch.dtype, peers: Sequence[str], effort: Effort, device: Device
) -> tuple[dict[str, Verdict], list[CudaRow]]:
    tensors = Tensors(rule, case.shapes, dtype, device.device)
    checks = Checks(rule, tensors, device)
    verdicts = {name: checks.verdict(name) for name in (OURS, OURS_GRAPH, *peers)}
    del checks  # its copies
    right = {name: verdict.text for name, verdict in verdicts.items() if verdict.right}
    step_bytes = rule.moved * case.elements * dtype.itemsize
    return verdicts, _timed(rule, right, tensors, step_bytes, effort, device) if right else []


def _timed(
    rule: Rule, checks: Mapping[str, str], tensors: Tensors, step_bytes: int, effort: Effort, device: Device
) -> list[CudaRow]:
    tensors.reset()
    sides = {name: make_cuda_side(rule, name, tensors, UPDATES, device) for name in checks}
    actions = {name: _timer(side, device) for name, side in sides.items()}
    copy = _copy(step_bytes, device.device)
    measured = alternate({**actions, COPY: lambda: device.time(copy)}, effort)
    devices = {name: [times.device for times in measured[name]] for name in measured}
    hosts = {name: [times.host for times in measured[name]] for name in measured}

    def against(all_times: Mapping[str, list[float]], name: str) -> Spread | None:
        return None if name == OURS or OURS not in checks else spread(ratios(all_times[name], all_times[OURS]))

    shown = labels(rule)
    return [
        CudaRow(
            shown.get(name, name),
            device=spread([1e6 * seconds for seconds in devices[name]]),
            host=spread([1e6 * seconds for seconds in hosts[name]]),
            bandwidth=spread([step_bytes / 1e9 / seconds for seconds in devices[name]]),
            of_copy=spread(ratios(devices[COPY], devices[name])),
            device_ratio=against(devices, name),
            host_ratio=against(hosts, name),
            check=checks.get(name, ""),
        )
        for name in measured
    ]


def _timer(side: CudaSide, device: Device) -> Callable[[], Times]:
    return lambda: device.time(side.update)


def _copy(moved: int, device: torch.device) -> Callable[[], None]:
    """Copies on the device that read and write as many bytes in all as ``moved``, to the nearest few."""
    times = math.ceil(moved / (2 * COPIED_BYTES))
    source, target = (torch.zeros(moved // (2 * times), dtype=torch.int8, device=device) for _ in range(2))

    def copies() -> None:
        for _ in range(times):
            target.copy_(source)

    return copies
