"""The sides of bench/recipe.py: a part of the training recipe by fastlr's options, and by torch's calls in a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim.lr_scheduler import CosineAnnealingLR

import fastlr
from fastlr.benchmarks.peers import RATE
from fastlr.benchmarks.shapes import Shape
from fastlr.benchmarks.steps import CHECKED_UPDATES, TOLERANCE, largest_difference, make_parameters, worst
from fastlr.schedules import Cosine

OURS, THEIRS, NEAREST = "fastlr.SGD", "torch, call by call", "fastlr.SGD to nearest"
OPTIONS: dict[str, Any] = {"momentum": 0.9, "weight_decay": 1e-4}
CLIP_VALUE, DECAY, SCALE = 0.5, 0.99, 1024.0
# Half a period of the rate: so short that a few updates at a wrong one are noticed.
UPDATES = 100
# torch adds up squares in float32: of 473000 values of bfloat16 its norm is off by 2e-5, fastlr's by less than 1e-12.
CLIP_TOLERANCE = 1e-4
HALF_SPACING = 2.0**-8  # of bfloat16, relative: what one rounding to nearest may change

Results = Mapping[str, Sequence[torch.Tensor]]
Calls = list[Callable[[], object]]


@dataclass(frozen=True)
class Part:
    """What one update consists of beside the step itself.

    Attributes:
        least: By shapes, how many times as long torch has to take; 1 where nothing is said.
        loosest: By result, how far sides may be apart, relative to the largest element; else TOLERANCE or, of what is
            clipped by norm, CLIP_TOLERANCE.
    """

    name: str
    description: str
    clip: bool = False
    clip_value: bool = False
    average: bool = False
    zero: bool = False
    schedule: bool = False
    scaler: bool = False
    masters: bool = False
    stochastic: bool = False
    least: Mapping[str, float] | None = None
    loosest: Mapping[str, float] | None = None

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.masters or self.stochastic else torch.float32


WHOLE: dict[str, Any] = {"clip": True, "average": True, "zero": True, "schedule": True}
# Both sides round to 16 bits what differs by a few float32 roundings.
ROUNDED = {"parameters": 2 * HALF_SPACING}
# Every update rounds up or down, where the other side rounds to nearest.
STOCHASTIC = {"parameters": 4 * HALF_SPACING * CHECKED_UPDATES, "momentum": 4 * HALF_SPACING * CHECKED_UPDATES}

PARTS = {
    part.name: part
    for part in (
        Part("recipe", "clip, step, average, zero, schedule", **WHOLE, least={"resnet50-like": 2.0, "many-tiny": 10.0}),
        Part("clip", "clip by norm, step", clip=True),
        Part("clip-value", "clip by value, step", clip_value=True),
        Part("average", "step, average", average=True),
        Part("zero", "step, zero", zero=True),
        Part("schedule", "step, schedule", schedule=True),
        Part("unscale", "GradScaler.step and update", scaler=True),
        Part("masters", "bfloat16, step with float32 masters", masters=True, loosest=ROUNDED),
        Part("recipe-masters", "the recipe, in bfloat16 with float32 masters", **WHOLE, masters=True, loosest=ROUNDED),
        Part("stochastic", "bfloat16, step with stochastic rounding", stochastic=True, loosest=STOCHASTIC),
    )
}


@dataclass(frozen=True)
class Side:
    """An optimizer, its whole update, the gradients that it uses and what it has computed.

    Attributes:
        refill: Gives the gradients their first values, which updates scale, clip or zero: not part of an update.
        results: By name, tensors that all sides of a part have.
        held: All tensors that it keeps from one update to the next, the gradients among them.
    """

    optimizer: torch.optim.Optimizer
    update: Callable[[], object]
    gradients: Sequence[torch.Tensor]
    refill: Callable[[], object]
    results: Callable[[], Results]
    held: Callable[[], list[torch.Tensor]]


def start(part: Part, shapes: Sequence[Shape]) -> tuple[list[torch.nn.Parameter], Callable[[], object]]:
    """Parameters with gradients, the same at every call, and what gives the gradients these values again."""
    exact = make_parameters(shapes)
    params = [torch.nn.Parameter(param.detach().to(part.dtype)) for param in exact]
    for param, gradient in zip(params, gradients_of(exact), strict=True):
        param.grad = gradient.mul_(SCALE if part.scaler else 1.0).to(part.dtype)
    gradients = gradients_of(params)
    kept = [gradient.clone() for gradient in gradients]
    return params, lambda: torch._foreach_copy_(gradients, kept)


def gradients_of(params: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [param.grad for param in params if param.grad is not None]


def max_norm(shapes: Sequence[Shape]) -> float:
    """About half of the norm of the gradients, which are normally distributed."""
    return 0.5 * sum(prod(shape) for shape in shapes) ** 0.5


def scaled_step(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """A step by a gradient scaler that never changes its scale."""
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=2**31 - 1)
    scaler.scale(torch.zeros(()))  # its scale is made by the first loss

    def step() -> None:
        scaler.step(optimizer)
        scaler.update()

    return step


def ours(part: Part, shapes: Sequence[Shape], *, nearest: bool = False) -> Side:
    """One optimizer whose step is the whole update."""
    params, refill = start(part, shapes)
    optimizer = fastlr.SGD(
        params,
        lr=Cosine(RATE, 0.0, UPDATES).past_end("extrapolate") if part.schedule else RATE,
        **OPTIONS,
        max_grad_norm=max_norm(shapes) if part.clip else None,
        max_grad_value=CLIP_VALUE if part.clip_value else None,
        ema_decay=DECAY if part.average else None,
        zero_grad_in_step=part.zero,
        master_weights=part.masters,
        stochastic_rounding=part.stochastic and not nearest,
    )

    names = {"momentum": "momentum_buffer"}
    names |= {"averages": "ema"} if part.average else {}
    names |= {"masters": "master_param"} if part.masters else {}

    def results() -> Results:
        state = [optimizer.state[param] for param in params]
        return {"parameters": params, **{name: [one[key] for one in state] for name, key in names.items()}}

    gradients = gradients_of(params)
    update = scaled_step(optimizer) if part.scaler else optimizer.step
    return Side(optimizer, update, gradients, refill, results, lambda: held(results(), gradients))


def theirs(part: Part, shapes: Sequence[Shape]) -> Side:
    """What torch has for the same, each with its own pass over the memory; the fastest that computes it.

    Its fused step leaves most elements of bfloat16 parameters as they are (torch 2.13), so that these take the foreach
    one where there are no masters.
    """
    params, refill = start(part, shapes)
    gradients = gradients_of(params)
    updated, before, after = with_masters(params) if part.masters else (params, [], [])
    optimizer = torch.optim.SGD(updated, lr=RATE, **OPTIONS, **{"foreach" if part.stochastic else "fused": True})
    weights = [param.detach() for param in updated]
    averages = [weight.clone() for weight in weights] if part.average else []
    # Before the step is looked up, of which a scheduler makes another one.
    scheduling = [CosineAnnealingLR(optimizer, UPDATES).step] if part.schedule else []
    choices: tuple[tuple[bool, Callable[[], object]], ...] = (
        (part.clip, lambda: clip_grad_norm_(updated, max_norm(shapes), foreach=True)),
        (part.clip_value, lambda: clip_grad_value_(updated, CLIP_VALUE, foreach=True)),
        (True, scaled_step(optimizer) if part.scaler else optimizer.step),
        (part.average, lambda: torch._foreach_lerp_(averages, weights, 1.0 - DECAY)),
        (part.zero, lambda: torch._foreach_zero_(gradients)),
    )
    calls = [*before, *(call for chosen, call in choices if chosen), *after, *scheduling]

    def update() -> None:
        for call in calls:
            call()

    def results() -> Results:
        found = {"parameters": params, "momentum": [optimizer.state[param]["momentum_buffer"] for param in updated]}
        found |= {"averages": averages} if part.average else {}
        return found | ({"masters": updated} if part.masters else {})

    wide = gradients_of(updated) if part.masters else []
    return Side(optimizer, update, gradients, refill, results, lambda: [*held(results(), gradients), *wide])


def with_masters(params: list[torch.nn.Parameter]) -> tuple[list[torch.nn.Parameter], Calls, Calls]:
    """Parameters in float32, what brings them their gradients and what takes their values back."""
    masters = [torch.nn.Parameter(param.detach().float()) for param in params]
    for master in masters:
        master.grad = torch.empty_like(master)
    wide, narrow = gradients_of(masters), gradients_of(params)
    exact, rounded = ([param.detach() for param in some] for some in (masters, params))
    return masters, [lambda: torch._foreach_copy_(wide, narrow)], [lambda: torch._foreach_copy_(rounded, exact)]


def held(results: Results, gradients: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [*(tensor for tensors in results.values() for tensor in tensors), *gradients]


def sides(part: Part) -> dict[str, Callable[[Sequence[Shape]], Side]]:
    """What makes each side from shapes; fastlr's comes first."""
    found = {OURS: lambda shapes: ours(part, shapes)}
    if part.stochastic:
        found[NEAREST] = lambda shapes: ours(part, shapes, nearest=True)
    return {**found, THEIRS: lambda shapes: theirs(part, shapes)}


@torch.no_grad()
def compare(part: Part, mine: Side, other: Side) -> tuple[str, bool]:
    """After as many updates: by how much the other side differs, and whether that is right."""
    first, second = mine.results(), other.results()
    apart = {name: largest_difference(second[name], first[name]) for name in first}
    bounds, usual = part.loosest or {}, CLIP_TOLERANCE if part.clip else TOLERANCE
    correct = all(apart[name] <= bounds.get(name, usual) for name in apart)
    if part.zero:
        correct = correct and not any(gradient.any() for side in (mine, other) for gradient in side.gradients)
    return f"{'within' if correct else 'WRONG by'} {worst(*apart.values()):.0e}", correct
