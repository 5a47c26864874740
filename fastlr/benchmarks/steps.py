"""Optimizer steps alone: fixed gradients, every side in turn on parameters of its own."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from fastlr.benchmarks.floor import FLOOR_LEAST_ELEMENTS, floor, floor_label
from fastlr.benchmarks.peers import DEFAULT_ON_CPU, OURS, Side, label, make_side
from fastlr.benchmarks.results import CaseResult, Row
from fastlr.benchmarks.rules import Rule
from fastlr.benchmarks.shapes import Shape, ShapeList
from fastlr.benchmarks.timing import Effort, alternate, ratios, seconds, spread

# Other sides round in another order; after a few updates more than this apart is a mistake.
TOLERANCE = 1e-5
CHECKED_UPDATES = 5
ULP = 2.0**-23
PIECE = 1 << 26


def make_parameters(shapes: Sequence[Shape]) -> list[torch.nn.Parameter]:
    """The same random parameters and gradients at every call."""
    generator = torch.Generator().manual_seed(0)
    parameters = []
    for shape in shapes:
        parameter = torch.nn.Parameter(torch.randn(shape, generator=generator))
        parameter.grad = torch.randn(shape, generator=generator)
        parameters.append(parameter)
    return parameters


def parameters_of(side: Side) -> list[torch.Tensor]:
    return [p for group in side.optimizer.param_groups for p in group["params"]]


def state_of(side: Side, name: str) -> list[torch.Tensor]:
    return [side.optimizer.state[p][name] for p in parameters_of(side)]


def pieces(tensors: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """All elements in pieces so small that temporaries of that size do no harm."""
    for tensor in tensors:
        yield from torch.split(tensor.view(-1), PIECE)


def worst(*values: float) -> float:
    """The largest; NaN if any is, which Python's max() would overlook."""
    return max(values, key=lambda value: (math.isnan(value), value))


def largest(tensors: Iterable[torch.Tensor]) -> float:
    """The largest magnitude; NaN if any element is NaN."""
    return worst(*(tensor.abs().max().item() for tensor in tensors))


def largest_difference(theirs: Sequence[torch.Tensor], mine: Sequence[torch.Tensor]) -> float:
    """Relative to the largest element of all tensors together: some have nothing but rounding in them."""
    return largest(a - b for a, b in zip(pieces(theirs), pieces(mine), strict=True)) / largest(pieces(mine))


def tolerance(side: Side, updates: int) -> float:
    """How far the side may be from fastlr after that many updates.

    The loop has to be bit-equal, or within the rule's ulps, but where torch runs its kernels without AVX2 and rounds
    otherwise.
    """
    if side.name != DEFAULT_ON_CPU or torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        return TOLERANCE
    return side.rule.loop_ulps * updates * ULP


@torch.no_grad()
def compare(side: Side, ours: Side, updates: int = CHECKED_UPDATES) -> tuple[str, bool]:
    """How the side's parameters and state compare with fastlr's, and whether that is right."""
    apart = worst(
        largest_difference(parameters_of(side), parameters_of(ours)),
        *(largest_difference(state_of(side, name), state_of(ours, name)) for name in side.rule.states),
    )
    if apart == 0:
        return "bit-equal", True
    correct = apart <= tolerance(side, updates)
    return f"{'within' if correct else 'WRONG by'} {apart:.0e}", correct


def start(rule: Rule, case: ShapeList, names: Sequence[str]) -> tuple[list[Side], dict[str, str]]:
    """Sides that have done ``CHECKED_UPDATES`` updates, and why others could not."""
    sides, missing = [], {}
    for name in names:
        side = make_side(rule, name, make_parameters(case.shapes))
        try:
            for _ in range(CHECKED_UPDATES):
                side.update()
        except RuntimeError as error:
            if name != "compiled":
                raise
            missing[label(name, rule)] = str(error).strip().splitlines()[0]
            continue
        sides.append(side)
    return sides, missing


def time_steps(rule: Rule, case: ShapeList, peers: Sequence[str], effort: Effort) -> CaseResult:
    """Check and then time one case."""
    sides, missing = start(rule, case, [OURS, *peers])
    checks = {side.name: compare(side, sides[0]) for side in sides[1:]}
    actions = {side.name: _timed(side.update) for side in sides}
    labels = {side.name: label(side.name, rule) for side in sides}
    if case.elements >= FLOOR_LEAST_ELEMENTS:
        actions["floor"] = _timed(floor(rule, case.elements))
        labels["floor"] = floor_label(rule)
    measured = alternate(actions, effort)
    rows = []
    for name in actions:
        times = {"step": spread([1e6 * value for value in measured[name]])}
        check, correct = checks.get(name, ("", True))
        ratio = None if name == OURS else spread(ratios(measured[name], measured[OURS]))
        rows.append(Row(labels[name], times, ratio, check, correct))
    size = f"{case.description} ({len(case.shapes)} tensors, {case.elements} elements)"
    return CaseResult(case.name, rule.name, size, rows, missing)


def _timed(action: Callable[[], object]) -> Callable[[], float]:
    return lambda: seconds(action)
