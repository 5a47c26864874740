"""Sweeps are separate trainings: to the bit one after another, and by products of all replicas but for rounding."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import sweep_cases
import torch
from sweep_cases import MODELS, OTHERS, RATES, STEPS, alone, model_of
from torch import nn

import fastlr
from fastlr.sweeping import blocks, sweep
from fastlr.sweeping.settings import ENGINES

# Sums of products come in another order; training carries the difference on. In float64 it is far below what any other
# fault would make, in float32 it is what that arithmetic has.
ROUNDING = {torch.float64: 1e-9, torch.float32: 2e-4}

SHAPE = fastlr.warmup_cosine(1.0, STEPS, warmup=3)
# torch's own average over all batches reads their number out of the tensor, which torch.func does not let it.
MAPPED = [name for name in (*MODELS, *OTHERS) if name != "cumulative"]
CROSS_ENTROPY = nn.functional.cross_entropy


def swept(name: str, engine: str, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    model, loader = model_of(name, dtype)
    options = {"loss_fn": CROSS_ENTROPY, "rates": RATES, "steps": STEPS, "engine": engine, "seed": 5, **options}
    return sweep(model, options.pop("loss_fn"), loader, options.pop("rates"), **options)


def separate(name: str, dtype: torch.dtype, make: Any, loss_fn: Any = CROSS_ENTROPY, **options: Any) -> Any:
    model, loader = model_of(name, dtype)
    return np.stack([alone(model, loss_fn, loader, lambda p, r=r: make(p, r), **options) for r in RATES], axis=1)


@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_one_after_another_has_the_bits_of_separate_trainings(name: str) -> None:
    found = swept(name, "sequential", shape=SHAPE)
    expected = separate(name, torch.float32, lambda p, r: fastlr.SGD(p, lr=r * SHAPE, momentum=0.9))
    assert np.array_equal(found.losses, expected)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, "batched") for name in MODELS),
        *((name, engine) for name in MAPPED for engine in ("vmapped", "grad_and_value")),
    ],
)
def test_all_at_once_equals_separate_trainings_by_torch(name: str, engine: str, dtype: torch.dtype) -> None:
    found = swept(name, engine, dtype, shape=SHAPE)
    expected = separate(name, dtype, lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.9), shape=SHAPE)
    np.testing.assert_allclose(found.losses, expected, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])


RULES: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "SGD": (fastlr.SGD, {"weight_decay": 0.1, "nesterov": True, "momentum": 0.8}, torch.optim.SGD),
    "Adam": (fastlr.Adam, {"amsgrad": True}, torch.optim.Adam),
    "AdamW": (fastlr.AdamW, {"betas": (0.8, 0.95), "weight_decay": 0.3}, torch.optim.AdamW),
}


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_with_its_options(rule: str, engine: str, clip: float | None) -> None:
    own, options, torchs = RULES[rule]
    given = options if clip is None else {**options, "max_grad_norm": clip}
    found = swept("mlp", engine, torch.float64, optimizer=own, shape=SHAPE, **given)
    expected = separate("mlp", torch.float64, lambda p, r: torchs(p, lr=r, **options), shape=SHAPE, clip=clip)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-9)


def test_lion_and_an_average_are_those_of_lion_alone() -> None:
    found = swept("mlp", "sequential", optimizer=fastlr.Lion, ema_decay=0.9, weight_decay=0.1)
    expected = separate("mlp", torch.float32, lambda p, r: fastlr.Lion(p, lr=r, ema_decay=0.9, weight_decay=0.1))
    assert np.array_equal(found.losses, expected)


@pytest.mark.parametrize("engine", ["batched", "vmapped"])
def test_each_replica_follows_its_own_schedule(engine: str) -> None:
    schedules = [fastlr.schedules.Linear(0.3, 0.1, 6), fastlr.schedules.Constant(0.1), SHAPE * 0.5]
    found = swept("mlp", engine, torch.float64, rates=schedules, shape=fastlr.schedules.Exponential(1.0, 0.9))
    model, loader = model_of("mlp", torch.float64)
    for place, one in enumerate(schedules):
        rates = [one(t) * 0.9**t for t in range(STEPS + 1)]
        expected = alone(
            model, CROSS_ENTROPY, loader, lambda p: torch.optim.SGD(p, lr=1.0, momentum=0.9), shape=rates.__getitem__
        )
        np.testing.assert_allclose(found.losses[:, place], expected, rtol=1e-9)
    assert found.best in schedules


def own_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output.logsumexp(1) - output.gather(1, target.unsqueeze(1)).squeeze(1)).square().mean()


def unmappable(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return own_loss(output, target) * (2.0 if float(output.detach().sum()) < 1e9 else 1.0)


def to_one_hot(loss_fn: Any) -> Any:
    return lambda output, target: loss_fn(output, torch.nn.functional.one_hot(target, 3).to(output.dtype))


LOSSES: dict[str, Any] = {
    "cross entropy module": nn.CrossEntropyLoss(),
    "smoothed": nn.CrossEntropyLoss(label_smoothing=0.1),
    "weighted": nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)),
    "summed": nn.CrossEntropyLoss(reduction="sum"),
    "own": own_loss,
    "unmappable": unmappable,
    "mse": to_one_hot(nn.functional.mse_loss),
    "bce": to_one_hot(nn.BCEWithLogitsLoss()),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_any_loss(loss: str) -> None:
    found = swept("mlp", "batched", torch.float64, loss_fn=LOSSES[loss])
    make = lambda p, r: torch.optim.SGD(p, lr=r, momentum=0.9)  # noqa: E731
    expected = separate("mlp", torch.float64, make, LOSSES[loss])
    np.testing.assert_allclose(found.losses, expected, rtol=1e-9)


KNOWN = [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss(), nn.functional.binary_cross_entropy_with_logits]


@pytest.mark.parametrize("loss_fn", KNOWN, ids=lambda loss_fn: getattr(loss_fn, "__name__", str(loss_fn)))
def test_known_losses_over_stacked_outputs(loss_fn: Any) -> None:
    model, loader = model_of("mlp", torch.float64)
    loader = [(x, torch.rand(len(x), 3, dtype=torch.float64)) for x, _ in loader]
    found = sweep(model, loss_fn, loader, RATES, steps=STEPS, engine="batched")
    for place, rate in enumerate(RATES):
        expected = alone(model, loss_fn, loader, lambda p, r=rate: torch.optim.SGD(p, lr=r, momentum=0.9))
        np.testing.assert_allclose(found.losses[:, place], expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["log softmax", "softmax"])
def test_ignored_targets_and_log_softmax(name: str) -> None:
    last = nn.LogSoftmax(dim=1) if name == "log softmax" else nn.Softmax(dim=-1)
    loss_fn = nn.NLLLoss() if name == "log softmax" else nn.CrossEntropyLoss()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3), last).double()
    loader = [(x.double(), y.masked_fill(y == 1, -100)) for x, y in sweep_cases.batches()]
    found = sweep(model, loss_fn, loader, RATES, steps=STEPS, engine="batched")
    for place, rate in enumerate(RATES):
        expected = alone(model, loss_fn, loader, lambda p, r=rate: torch.optim.SGD(p, lr=r, momentum=0.9))
        np.testing.assert_allclose(found.losses[:, place], expected, rtol=1e-9)


@pytest.mark.parametrize("engine", ["batched", "vmapped", "grad_and_value"])
def test_chunks_are_the_same_training(engine: str) -> None:
    for name in ("dropout", "normed"):
        whole = swept(name, engine, torch.float64, rates=[0.01, 0.02, 0.05, 0.1, 0.2])
        parts = swept(name, engine, torch.float64, rates=[0.01, 0.02, 0.05, 0.1, 0.2], chunk=2)
        assert (whole.engine.chunk, parts.engine.chunk) == (5, 2)
        np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-9)


def test_a_shuffled_loader_gives_the_batches_of_a_training_alone() -> None:
    model, loader = model_of("dropout")
    data = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*loader, strict=True)))
    shuffled = torch.utils.data.DataLoader(data, batch_size=7, shuffle=True)
    torch.manual_seed(5)
    found = sweep(model, CROSS_ENTROPY, shuffled, RATES, steps=STEPS)
    for place, rate in enumerate(RATES):
        expected = alone(model, CROSS_ENTROPY, shuffled, lambda p, r=rate: fastlr.SGD(p, lr=r, momentum=0.9))
        np.testing.assert_allclose(found.losses[:, place], expected, rtol=2e-4)


class Dropping(nn.Module):
    """Draws from Python and NumPy, outside of torch's sight."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x) * (1.0 + random.random() + float(np.random.uniform()))


@pytest.mark.parametrize("engine", ["sequential", "vmapped"])
def test_random_numbers_of_python_and_numpy_are_the_same_for_all(engine: str) -> None:
    torch.manual_seed(0)
    model, (_, loader) = Dropping(), model_of("linear")
    random.seed(3)
    np.random.seed(3)
    found = sweep(model, CROSS_ENTROPY, loader, RATES, steps=STEPS, engine=engine)
    for place, rate in enumerate(RATES):
        random.seed(3)
        np.random.seed(3)
        expected = alone(model, CROSS_ENTROPY, loader, lambda p, r=rate: torch.optim.SGD(p, lr=r, momentum=0.9))
        np.testing.assert_allclose(found.losses[:, place], expected, rtol=2e-4)


@pytest.mark.parametrize("bytes_kept", [1, 2**27])
def test_blocks_of_steps_are_the_same_training(bytes_kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "KEPT", bytes_kept)
    monkeypatch.setattr(blocks, "BLOCK", 5)
    model, loader = model_of("dropout")
    data = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*loader, strict=True)))
    shuffled = torch.utils.data.DataLoader(data, batch_size=7, shuffle=True)
    torch.manual_seed(5)
    found = sweep(model, CROSS_ENTROPY, shuffled, RATES, steps=STEPS, engine="sequential")
    for place, rate in enumerate(RATES):
        expected = alone(model, CROSS_ENTROPY, shuffled, lambda p, r=rate: fastlr.SGD(p, lr=r, momentum=0.9))
        assert np.array_equal(found.losses[:, place], expected)
