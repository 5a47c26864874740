"""Cases and comparisons shared by the tests of the training recipe."""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from adam_cases import params_of, states
from recipe_reference import Oracle
from sgd_cases import LAYOUTS, assert_same_bits, cast, gradient_like
from torch import Tensor

import fastlr
from fastlr.schedules import Linear, Schedule

Options = dict[str, Any]
CLASSES: dict[str, Callable[..., Any]] = {
    "SGD": fastlr.SGD,
    "Adam": fastlr.Adam,
    "AdamW": fastlr.AdamW,
    "Lion": fastlr.Lion,
}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# What the rules are run with, in turn.
RATES: dict[str, list[Options]] = {
    "SGD": [
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
        {"lr": 0.3, "weight_decay": 0.2, "decoupled_weight_decay": True},
        {"lr": 0.2, "momentum": 0.7, "dampening": 0.3, "maximize": True, "decoupled_weight_decay": True},
        {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "Adam": [
        {"lr": 0.01, "weight_decay": 0.1},
        {"lr": 0.03, "betas": (0.3, 0.5), "amsgrad": True, "maximize": True},
    ],
    "AdamW": [
        {"lr": 0.01, "weight_decay": 0.1},
        {"lr": 0.03, "betas": (0.3, 0.5), "amsgrad": True, "maximize": True, "weight_decay": 0.2},
    ],
    "Lion": [
        {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1},
        {"lr": 0.03, "betas": (0.3, 0.5), "maximize": True},
    ],
}
RISING = Linear(0.2, 1.0, 3)  # goes through both ends that an average is taken from
FALLING = Linear(0.2, 0.01, 4)
# Every option with the values that it is tested with; the first is its default.
VALUES: dict[str, list[Any]] = {
    "max_grad_norm": [None, 0.7, 1e6],
    "norm_per_group": [False, True],
    "error_if_nonfinite": [False, True],
    "max_grad_value": [None, 0.02],
    "ema_decay": [None, 0.9, 0.3, RISING],
    "master_weights": [False, True],
    "stochastic_rounding": [False, True],
    "rounding_seed": [0, 2**53 - 1],
    "state_dtype": [None, torch.float32, torch.bfloat16, torch.float16],
    "zero_grad_in_step": [False, True],
    "lr": [None, FALLING],
}
ALONE = [{name: value} for name, values in VALUES.items() for value in values[1:]]
ODD: dict[str, Callable[[], Tensor]] = {
    **LAYOUTS,
    "transposed batch": lambda: torch.empty(4, 7, 3).transpose(1, 2),
    "transposed, offset 1": lambda: torch.empty(3 * 257 + 1)[1:].view(257, 3).t(),
}


def allowed(row: Options) -> bool:
    return not (row.get("master_weights") and row.get("stochastic_rounding"))


def pairs(rows: Iterable[Options]) -> set[tuple[Any, ...]]:
    """All pairs of an option's value with another's that stand in some row."""
    return {(*a, *b) for row in rows for a, b in itertools.combinations(sorted(numbered(row)), 2)}


def numbered(row: Options) -> list[tuple[str, int]]:
    return [(name, next(i for i, v in enumerate(VALUES[name]) if v is value)) for name, value in row.items()]


def covering() -> list[Options]:
    """Rows in which every pair of values stands that may: each the best of some drawn ones."""
    draw = random.Random(1)
    wanted = pairs(filter(allowed, every_pair()))
    rows: list[Options] = []
    while wanted:
        drawn = [{name: draw.choice(values) for name, values in VALUES.items()} for _ in range(60)]
        best = max(filter(allowed, drawn), key=lambda row: len(wanted & pairs([row])))
        wanted -= pairs([best])
        rows.append(best)
    return rows


def every_pair() -> Iterable[Options]:
    for (a, of_a), (b, of_b) in itertools.combinations(VALUES.items(), 2):
        yield from ({a: x, b: y} for x, y in itertools.product(of_a, of_b))


PAIRWISE = covering()


def describe(row: Options) -> str:
    def text(value: Any) -> str:
        return type(value).__name__ if isinstance(value, Schedule) else str(value).removeprefix("torch.")

    return ",".join(f"{name}={text(value)}" for name, value in row.items() if value not in (None, False)) or "none"


def tensors(dtypes: Sequence[torch.dtype], layouts: Iterable[str], seed: int = 0) -> list[Tensor]:
    """Leaves of the layouts, of the dtypes in turn; equal in every call."""
    made = []
    for index, layout in enumerate(layouts):
        param = cast(ODD[layout](), dtypes[index % len(dtypes)])
        values = torch.randn(param.shape, generator=torch.Generator().manual_seed(seed + index), dtype=torch.float64)
        made.append(torch.nn.Parameter(param.copy_(values)))
    return made


def options_for(rule: str, row: Options, number: int, dtypes: Sequence[torch.dtype]) -> Options:
    """A group's options: the rule's own, from place `number` of its table, and what of the row fits the dtypes."""
    rates = RATES[rule][number % len(RATES[rule])]
    row = {name: value for name, value in row.items() if name != "lr" or value is not None}
    if torch.float16 in dtypes:
        row["stochastic_rounding"] = False
    return {**rates, **row}


Grads = list[list[Tensor | None]]


def give(optimizer: Any, step: int) -> Grads:
    """Gradients of one step, and copies: parameter 3 gets its first one late, 4 never, 5 misses some steps."""
    given: Grads = []
    index = 0
    for group in optimizer.param_groups:
        row: list[Tensor | None] = []
        for param in group["params"]:
            absent = (index == 3 and step < 1) or index == 4 or (index == 5 and step % 3 == 1)
            param.grad = None if absent else gradient_like(param, 1000 * index + step)
            row.append(None if absent else param.grad.clone())
            index += 1
        given.append(row)
    return given


def step_both(optimizer: Any, oracle: Oracle, grads: Grads, scale: float | None = None) -> None:
    """An update by these gradients, which are left as they were, or zero."""
    if scale is not None:
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(0.0)
    optimizer.step()
    assert oracle.step(grads, scale or 1.0)
    for group, row in zip(optimizer.param_groups, grads, strict=True):
        given = [grad for grad in row if grad is not None]
        left = [p.grad for p in group["params"] if p.grad is not None]
        expected = [torch.zeros_like(grad) for grad in given] if group["zero_grad_in_step"] else given
        assert_same_bits(left, expected, f"gradient after update {oracle.count}")


def follow(optimizer: Any, oracle: Oracle, updates: range, scale: float | None = None) -> None:
    """Updates beside the oracle, compared after each."""
    for step in updates:
        step_both(optimizer, oracle, give(optimizer, step), scale)
        assert_follows(optimizer, oracle, f"after update {step}")


def assert_follows(optimizer: Any, oracle: Oracle, where: str = "") -> None:
    """Parameters, every entry of the state, counts and norms, bit for bit."""
    entries = [entry for group in oracle.entries for entry in group]
    assert_same_bits(params_of(optimizer), [entry.param for entry in entries], f"parameter {where}")
    for index, (ours, entry) in enumerate(zip(states(optimizer), entries, strict=True)):
        own = {name: value for name, value in ours.items() if name != "step"}
        assert own.keys() == entry.state.keys(), f"{sorted(own)} of parameter {index} {where}"
        for name, value in own.items():
            assert_same_bits([value], [entry.state[name]], f"{name} of parameter {index} {where}")
        assert float(ours.get("step", entry.updates)) == entry.updates
    assert optimizer.step_count == oracle.count
    for index, (group, expected) in enumerate(zip(optimizer.param_groups, oracle.norms, strict=True)):
        if group["max_grad_norm"] is not None:
            norm = optimizer.grad_norm
            assert (norm[index] if isinstance(norm, tuple) else norm) == expected, where


def both(rule: str, groups: list[Options]) -> tuple[Any, Oracle]:
    """An optimizer and its oracle."""
    oracle = Oracle(rule, groups)
    return CLASSES[rule](groups, lr=1.0), oracle
