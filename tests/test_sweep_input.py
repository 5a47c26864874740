"""What a sweep refuses before it does anything, and what it says; and what else it takes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sweep_cases import RATES, STEPS, Batches, alone, batches, model_of
from torch import nn

import fastlr
from fastlr.schedules import Constant, ReduceOnPlateau
from fastlr.sweeping import memory, sweep
from fastlr.sweeping.settings import ENGINES

CROSS_ENTROPY = nn.functional.cross_entropy
LINE = nn.Linear(6, 3)
DATA: Batches = batches()
FROZEN = nn.Linear(6, 3).requires_grad_(False)
UNCOPIED = nn.Linear(6, 3)
UNCOPIED.lock = (one for one in ())  # type: ignore[assignment]


class InPlace(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.mul_(0.5))


def asked(**changed: Any) -> Any:
    given = {"model": LINE, "loss_fn": CROSS_ENTROPY, "loader": DATA, "rates": RATES, "steps": 3, **changed}
    first = [given.pop(name) for name in ("model", "loss_fn", "loader", "rates")]
    return sweep(*first, **given)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no model": ({"model": 3}, TypeError, "Not a torch.nn.Module: 3"),
    "no loss": ({"loss_fn": None}, TypeError, "loss_fn is no function: None"),
    "no forward": ({"forward": 3}, TypeError, "forward is no function: 3"),
    "frozen": ({"model": FROZEN}, ValueError, "No parameter to train: Linear"),
    "lazy": ({"model": nn.LazyLinear(3)}, ValueError, "Parameter not initialised: 'weight'"),
    "uncopied": ({"model": UNCOPIED}, TypeError, "The model cannot be copied: Linear"),
    "in place": ({"model": InPlace(6, 3)}, ValueError, "The model changes its input in place"),
    "empty loader": ({"loader": []}, ValueError, "The loader gives no batch"),
    "iterator": ({"loader": iter(DATA)}, TypeError, "The loader is an iterator"),
    "no loader": ({"loader": 3}, TypeError, "The loader cannot be iterated: 3"),
    "no batch": ({"loader": [torch.ones(3)]}, TypeError, r"A batch that is no \(input, target\)"),
    "empty validation": ({"validation": []}, ValueError, "The loader gives no batch"),
    "no target": ({"loader": [{"x": torch.ones(2, 6)}]}, TypeError, "A batch without a target"),
    "no rates": ({"rates": []}, ValueError, "rates are none"),
    "one rate": ({"rates": 0.1}, TypeError, "rates are no list: 0.1"),
    "text": ({"rates": "0.1"}, TypeError, "rates are no list: '0.1'"),
    "a text": ({"rates": ["0.1"]}, TypeError, "rate 0 is not a number: '0.1'"),
    "zero": ({"rates": [0.0, 0.1]}, ValueError, "rate 0 is not positive: 0.0"),
    "negative": ({"rates": [0.1, -0.2]}, ValueError, "rate 1 is not positive: -0.2"),
    "nan": ({"rates": [float("nan")]}, ValueError, "rate 0 is not finite: nan"),
    "falling": ({"rates": [0.1, 0.05]}, ValueError, "rates do not increase: 0.1 before 0.05"),
    "twice": ({"rates": [0.1, 0.1]}, ValueError, "rates do not increase: 0.1 before 0.1"),
    "plateau": ({"rates": [ReduceOnPlateau(0.1)]}, ValueError, "A rule that waits for a metric"),
    "no rate at all": ({"rates": [Constant(0.0)]}, ValueError, "Entry 0 has no positive, finite peak"),
    "shape": ({"shape": 2.0}, TypeError, "shape is no schedule: 2.0"),
    "no steps": ({"steps": 0}, ValueError, "steps is out of range: 0"),
    "float steps": ({"steps": 2.5}, TypeError, "steps is not an integer: 2.5"),
    "engine": ({"engine": "fast"}, ValueError, "engine is unknown: 'fast'"),
    "chunk": ({"chunk": 0}, ValueError, "chunk is out of range: 0"),
    "halving": ({"halving": 1}, ValueError, "halving is out of range: 1"),
    "freeze": ({"freeze_above": 0.5}, ValueError, "freeze_above is out of range: 0.5"),
    "confidence": ({"confidence": 1.0}, ValueError, "confidence is out of range: 1.0"),
    "an optimizer": (
        {"optimizer": fastlr.SGD(LINE.parameters())},
        TypeError,
        "optimizer is an optimizer already: SGD",
    ),
    "torch's": ({"optimizer": torch.optim.SGD}, TypeError, "optimizer is no class of fastlr's"),
    "lr": ({"lr": 0.1}, TypeError, "An option that the sweep itself sets: lr=0.1"),
    "an option": ({"momentun": 0.9}, TypeError, "momentun"),
    "a bad option": ({"momentum": -1.0}, ValueError, "Invalid momentum value: -1.0"),
    "unreduced": (
        {"loss_fn": lambda output, target: CROSS_ENTROPY(output, target, reduction="none")},
        ValueError,
        r"The loss is no number: torch.float32 of shape \[8\]",
    ),
    "no tensor": ({"loss_fn": lambda output, target: 1.0}, TypeError, "The loss is no tensor: float"),
    "nan loss": (
        {"loss_fn": lambda output, target: output.sum() * float("nan")},
        ValueError,
        "The loss is not finite before any update: nan",
    ),
    "detached": (
        {"loss_fn": lambda output, target: output.detach().sum()},
        ValueError,
        "The loss depends on no parameter",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_a_reason(case: str) -> None:
    changed, error, text = REFUSED[case]
    kept = [*LINE.parameters(), *(x for x, _ in DATA)]
    before = [tensor.detach().clone() for tensor in kept]
    with pytest.raises(error, match=text):
        asked(**changed)
    assert all(torch.equal(a, b) for a, b in zip(before, kept, strict=True))


def test_an_engine_that_does_not_take_the_model_says_why() -> None:
    model, loader = model_of("residual")
    with pytest.raises(ValueError, match="'batched' does not take this model: Residual is no layer that it knows"):
        asked(model=model, loader=loader, engine="batched")


def test_replicas_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 100)
    with pytest.raises(ValueError, match="3 replicas do not fit"):
        asked()


def test_chunks_are_chosen_by_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loader = model_of("mlp")
    rates = [0.01 * (i + 1) for i in range(6)]
    whole = asked(model=model, loader=loader, rates=rates, engine="batched")
    parameters = 6 * 3 * sum(param.nbytes for param in model.parameters())
    monkeypatch.setattr(memory, "available", lambda device: parameters + 10_000)
    parts = asked(model=model, loader=loader, rates=rates, engine="batched")
    assert 1 <= parts.engine.chunk < whole.engine.chunk == 6
    np.testing.assert_allclose(parts.losses, whole.losses, rtol=1e-4)


@pytest.mark.parametrize(
    ("kept", "free", "expected"),
    [(0, 100, 16), (10, None, 16), (10, 10**6, 16), (100, 1000, 3), (10**9, 1000, 1)],
)
def test_how_many_run_at_once(kept: int, free: int | None, expected: int) -> None:
    assert memory.replicas_at_once(kept, free, 16) == expected


def test_a_short_loader_begins_again_and_it_is_said() -> None:
    found = asked(steps=7)
    assert "The loader is shorter than 7 steps and began again 2 times" in found.notes
    assert "began again 2 times." in str(found)
    assert asked(steps=3).notes == ()


def test_a_shape_of_another_length_is_said() -> None:
    found = asked(shape=fastlr.warmup_cosine(1.0, 10))
    assert found.notes == ("The shape is 10 steps long, and the training 3",)


class Partly(nn.Module):
    """Trains what it uses; the rest is there."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


def test_unused_parameters_are_left_and_said() -> None:
    model = Partly()
    found = asked(model=model, weight_decay=0.1, steps=3)
    assert found.notes == ("Not trained, as the first loss does not depend on them: unused.weight, unused.bias",)
    expected = alone(
        model, CROSS_ENTROPY, DATA, lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.9, weight_decay=0.1), 3
    )
    np.testing.assert_allclose(found.losses[:, 2], expected, rtol=1e-5)


class Named(nn.Module):
    """Takes keywords and returns an object, as models of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> Any:
        return SimpleNamespace(logits=self.line(x) * scale)


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "batched"])
@pytest.mark.parametrize("form", ["dict", "tuple", "forward"])
def test_other_batches(form: str, engine: str) -> None:
    torch.manual_seed(0)
    model, two = Named(), torch.tensor(2.0)
    loss_fn = lambda output, target: CROSS_ENTROPY(output.logits, target)  # noqa: E731
    more: dict[str, Any] = {}
    if form == "dict":
        loader: list[Any] = [{"x": x, "scale": two, "labels": y} for x, y in DATA]
    elif form == "tuple":
        loader = [(x, two, y) for x, y in DATA]
    else:
        loader = [SimpleNamespace(x=x, y=y) for x, y in DATA]
        more["forward"] = lambda module, batch: loss_fn(module(batch.x, scale=two), batch.y)
    found = asked(model=model, loss_fn=None if more else loss_fn, loader=loader, steps=STEPS, engine=engine, **more)

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x, two).logits

    expected = alone(Alone(), CROSS_ENTROPY, DATA, lambda p: torch.optim.SGD(p, lr=0.2, momentum=0.9))
    np.testing.assert_allclose(found.losses[:, 2], expected, rtol=1e-4)


class Refilled:
    """A loader that gives the same tensor again, with other values."""

    inputs = torch.empty(8, 6)

    def __iter__(self) -> Any:
        for x, y in DATA[:2]:
            yield self.inputs.copy_(x), y


def test_batches_that_change_afterwards_are_refused() -> None:
    with pytest.raises(ValueError, match="A batch was changed after it was given"):
        asked(loader=Refilled(), steps=5, engine="sequential")


def test_one_rate_alone() -> None:
    found = asked(rates=[0.1])
    assert found.best == 0.1
    assert found.confidences == {}
