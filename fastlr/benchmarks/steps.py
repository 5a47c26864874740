"""Optimizer steps alone: fixed gradients, every side in turn on parameters of its own."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from fastlr.benchmarks.floor import FLOOR_LABEL, FLOOR_LEAST_ELEMENTS, floor
from fastlr.benchmarks.peers import DEFAULT_ON_CPU, OURS, Side, label, make_side
from fastlr.benchmarks.results import CaseResult, Row
from fastlr.benchmarks.shapes import Shape, ShapeList
from fastlr.benchmarks.timing import Effort, alternate, ratios, seconds, spread

# Other sides round in another order; after a few updates more than this apart is a mistake.
TOLERANCE = 1e-5
CHECKED_UPDATES = 5
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


def momentum_of(side: Side) -> list[torch.Tensor]:
    return [side.optimizer.state[p]["momentum_buffer"] for p in parameters_of(side)]


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


@torch.no_grad()
def compare(side: Side, ours: Side) -> tuple[str, bool]:
    """How the side's parameters and momentum compare with fastlr's, and whether that is right.

    The loop has to be bit-equal, but where torch runs its kernels without AVX2 and rounds otherwise.
    """
    apart = worst(*(largest_difference(tensors(side), tensors(ours)) for tensors in (parameters_of, momentum_of)))
    if apart == 0:
        return "bit-equal", True
    bits_promised = side.name == DEFAULT_ON_CPU and torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    correct = apart <= TOLERANCE and not bits_promised
    return f"{'within' if correct else 'WRONG by'} {apart:.0e}", correct


def start(case: ShapeList, names: Sequence[str]) -> tuple[list[Side], dict[str, str]]:
    """Sides that have done ``CHECKED_UPDATES`` updates, and why others could not."""
    sides, missing = [], {}
    for name in names:
        side = make_side(name, make_parameters(case.shapes))
        try:
            for _ in range(CHECKED_UPDATES):
                side.update()
        except RuntimeError as error:
            if name != "compiled":
                raise
            missing[label(name)] = str(error).strip().splitlines()[0]
            continue
        sides.append(side)
    return sides, missing


def time_steps(case: ShapeList, peers: Sequence[str], effort: Effort) -> CaseResult:
    """Check and then time one case."""
    sides, missing = start(case, [OURS, *peers])
    checks = {side.name: compare(side, sides[0]) for side in sides[1:]}
    actions = {side.name: _timed(side.update) for side in sides}
    with_floor = case.elements >= FLOOR_LEAST_ELEMENTS
    if with_floor:
        actions[FLOOR_LABEL] = _timed(floor(case.elements))
    measured = alternate(actions, effort)
    rows = []
    for name in actions:
        times = {"step": spread([1e6 * value for value in measured[name]])}
        check, correct = checks.get(name, ("", True))
        ratio = None if name == OURS else spread(ratios(measured[name], measured[OURS]))
        rows.append(Row(FLOOR_LABEL if name == FLOOR_LABEL else label(name), times, ratio, check, correct))
    size = f"{case.description} ({len(case.shapes)} tensors, {case.elements} elements)"
    return CaseResult(case.name, size, rows, missing)


def _timed(action: Callable[[], object]) -> Callable[[], float]:
    return lambda: seconds(action)
