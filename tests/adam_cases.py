"""Cases and comparisons shared by the tests of fastlr.Adam, fastlr.AdamW and fastlr.Lion."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import adam_reference
import pytest
import torch
from adam_standard import torch_adam, torch_adamw
from sgd_cases import LAYOUTS, NATIVE, assert_same_bits, filled, gradient_like, set_gradients
from torch import Tensor

import fastlr

Optimizer = torch.optim.Optimizer
Make = Callable[..., Optimizer]
Give = Callable[[list[Tensor], int], None]
# Without it torch's operators do all of it, with roots of their own.
needs_fma = pytest.mark.skipif(not NATIVE, reason="needs a CPU with fused multiply-add")


# fastlr's class and the standard for it.
PAIRS: dict[str, tuple[type[fastlr.Adam], Make]] = {
    "Adam": (fastlr.Adam, torch_adam),
    "AdamW": (fastlr.AdamW, torch_adamw),
}
# fastlr's classes, their update in adam_reference.py and what it is called there.
RULES: dict[str, tuple[Make, adam_reference.Update, dict[str, Any]]] = {
    "Adam": (fastlr.Adam, adam_reference.adam, {}),
    "AdamW": (fastlr.AdamW, adam_reference.adam, {"decoupled_weight_decay": True}),
    "Lion": (fastlr.Lion, adam_reference.lion, {}),
}
BETAS = [(0.9, 0.999), (0.3, 0.5), (0.0, 0.0)]


def combinations(**values: Sequence[Any]) -> list[dict[str, Any]]:
    return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]


FLAGS = combinations(amsgrad=(False, True), maximize=(False, True), weight_decay=(0, 0.1))
OPTIONS = [{**flags, "betas": BETAS[0], "eps": 1e-8} for flags in FLAGS] + [
    {**FLAGS[-1], "betas": betas, "eps": eps} for betas in BETAS[1:] for eps in (0.0, 1e-8)
]
SOME = [OPTIONS[0], OPTIONS[7], OPTIONS[8]]
LION_OPTIONS = combinations(maximize=(False, True), weight_decay=(0, 0.1), betas=[(0.9, 0.99), (0.3, 0.5), (0.0, 0.0)])
OPTIONS_OF = {"Adam": OPTIONS, "AdamW": OPTIONS, "Lion": LION_OPTIONS}
EVERY = [(name, options) for name, table in OPTIONS_OF.items() for options in table]


def describe(case: Any) -> str:
    name, options = case if isinstance(case, tuple) else ("", case)
    return ",".join([name, *(f"{key}={value}" for key, value in options.items())]).lstrip(",")


def parameters(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """One of every layout; equal in every call."""
    return [filled(layout, dtype, seed) for seed, layout in enumerate(LAYOUTS)]


def few(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [filled(layout, dtype, i) for i, layout in enumerate(["31", "channels_last", "1", "257"])]


def params_of(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def train(optimizer: Optimizer, steps: range, give: Give = set_gradients) -> None:
    for step in steps:
        give(params_of(optimizer), step)
        optimizer.step()


def give_all(params: Sequence[Tensor], step: int) -> None:
    """Every parameter has a gradient at every step."""
    for index, param in enumerate(params):
        param.grad = gradient_like(param, 1000 * index + step)


def states(optimizer: Optimizer) -> list[dict[str, Tensor]]:
    """What the optimizer has for each parameter, by name."""
    return [optimizer.state.get(param, {}) for param in params_of(optimizer)]


def assert_same_state(actual: Optimizer, expected: Optimizer, where: str = "") -> None:
    """Equal parameters and equal state, its step included, bit for bit."""
    assert_same_bits(params_of(actual), params_of(expected), f"parameter {where}")
    for index, (ours, theirs) in enumerate(zip(states(actual), states(expected), strict=True)):
        assert ours.keys() == theirs.keys(), f"{sorted(ours)}, not {sorted(theirs)}, of parameter {index} {where}"
        assert_same_bits(
            ours.values(), [theirs[name] for name in ours], f"of {list(ours)} of parameter {index} {where}"
        )


def assert_follows(optimizer: Optimizer, oracle: adam_reference.Oracle, where: str = "") -> None:
    """Equal to an oracle's parameters and averages; the step is its count."""
    assert_same_bits(params_of(optimizer), oracle.params, f"parameter {where}")
    for index, (ours, theirs) in enumerate(zip(states(optimizer), oracle.states, strict=True)):
        averages = {name: tensor for name, tensor in ours.items() if name != "step"}
        assert averages.keys() == theirs.keys(), f"of parameter {index} {where}"
        assert_same_bits(averages.values(), [theirs[name] for name in averages], f"state of parameter {index} {where}")
        assert float(ours.get("step", oracle.counts[index])) == oracle.counts[index]


def follow(name: str, params: list[Tensor], give: Give, updates: int, **options: Any) -> Optimizer:
    """Updates beside the oracle, compared after each."""
    make, update, own = RULES[name]
    optimizer = make(params, **options)
    oracle = adam_reference.Oracle(update, params, adam_reference.Hyper(**options, **own))
    for step in range(updates):
        give(params, step)
        oracle.step([p.grad for p in params])
        optimizer.step()
        assert_follows(optimizer, oracle, f"after update {step}")
    return optimizer


def copied(optimizer: Optimizer) -> tuple[list[Tensor], list[dict[str, Tensor]], list[dict[str, Any]]]:
    """Copies of everything that a step may change."""
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    kept = [{name: tensor.clone() for name, tensor in state.items()} for state in states(optimizer)]
    return [param.detach().clone() for param in params_of(optimizer)], kept, groups


@contextlib.contextmanager
def refused(optimizer: Optimizer, *errors: type[Exception], match: str | None = None) -> Iterator[None]:
    """The block raises one of the errors, and nothing differs afterwards, bit for bit."""
    before = copied(optimizer)
    with pytest.raises(errors, match=match):
        yield
    now = copied(optimizer)
    assert_same_bits(now[0], before[0])
    for present, earlier in zip(now[1], before[1], strict=True):
        assert present.keys() == earlier.keys()
        assert_same_bits(present.values(), earlier.values())
    assert now[2] == before[2]
