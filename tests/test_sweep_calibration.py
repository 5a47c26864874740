"""The engine is the fastest of those that are right; what is wrong or fails is left out, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sweep_cases import MODELS, OTHERS, RATES, model_of
from torch import Tensor, nn

from fastlr.sweeping import calibration, sweep
from fastlr.sweeping.engines import batched, losses, sequential, vmapped
from fastlr.sweeping.settings import ENGINES

CROSS_ENTROPY = nn.functional.cross_entropy


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that takes its time, however short the training."""
    monkeypatch.setattr(calibration, "PART", 1e9)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_every_engine_is_timed_or_left_out(name: str) -> None:
    model, loader = model_of(name)
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert {*choice.milliseconds, *choice.excluded} == set(ENGINES)
    assert "sequential" in choice.milliseconds
    assert choice.name == min(choice.milliseconds, key=choice.milliseconds.__getitem__)
    assert ("batched" in choice.milliseconds) == (name in MODELS)
    unmapped = {"vmapped", "grad_and_value"} & set(choice.excluded)
    assert unmapped == ({"vmapped", "grad_and_value"} if name == "cumulative" else set())
    for reason in choice.excluded.values():
        assert reason in str(choice)


def test_the_trial_of_a_short_training_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = [0.0]
    for owner in (sequential.Sequential, vmapped.Vmapped, batched.Batched):
        monkeypatch.setattr(owner, "train", counting(owner.train, "", passes))
    model, loader = model_of("mlp")
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert passes == [2.0 + 2.0]  # one of each of two engines, and the training
    assert choice.excluded["vmapped"] == "not tried in so short a training"


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("slow", ["batched", "vmapped", "grad_and_value", "sequential"])
def test_the_slow_one_is_not_taken(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is counted in passes here, of which the slow engine takes a hundred."""
    now = [0.0]
    monkeypatch.setattr(calibration.time, "perf_counter", lambda: now[0])
    for owner in (sequential.Sequential, vmapped.Vmapped, batched.Batched):
        monkeypatch.setattr(owner, "train", counting(owner.train, slow, now))
    model, loader = model_of("mlp")
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert choice.name != slow
    assert choice.milliseconds[slow] == 100_000.0
    assert choice.milliseconds[choice.name] == 1000.0
    assert "against " in str(choice)


def counting(train: Callable[..., Tensor], slow: str, now: list[float]) -> Callable[..., Tensor]:
    def counted(engine: Any, batch: Any) -> Tensor:
        name = type(engine).__name__.lower()
        if getattr(engine, "_functional", False):
            name = "grad_and_value"
        now[0] += 100.0 if name == slow else 1.0
        return train(engine, batch)

    return counted


def mixed(losses: Tensor) -> Tensor:
    return losses.mean().expand_as(losses)


def without_gradients(losses: Tensor) -> Tensor:
    return losses.detach() + 0.9 * (losses - losses.detach())


@pytest.mark.parametrize(
    ("fault", "reason"), [(mixed, "its losses are others"), (without_gradients, "its gradients are others")]
)
def test_a_wrong_engine_is_noticed(
    fault: Callable[[Tensor], Tensor], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = batched.Batched._losses
    monkeypatch.setattr(batched.Batched, "_losses", lambda *given: fault(right(*given)))
    model, loader = model_of("mlp")
    choice = sweep(model, nn.CrossEntropyLoss(label_smoothing=0.1), loader, RATES, steps=2).engine
    assert choice.name != "batched"
    assert choice.excluded["batched"].startswith(reason)


def test_a_wrong_gradient_of_the_cross_entropy_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = losses.with_gradient

    def wrong(*given: Any) -> Any:
        values, gradient = right(*given)  # type: ignore[misc]
        return values, gradient * 1.01

    monkeypatch.setattr(losses, "with_gradient", wrong)
    model, loader = model_of("mlp")
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert choice.excluded["batched"].startswith("its gradients are others")


def test_buffers_that_do_not_change_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = nn.functional.batch_norm

    def without_statistics(x: Tensor, mean: Any, var: Any, *rest: Any, **more: Any) -> Tensor:
        copied = [None if one is None else one.clone() for one in (mean, var)]
        return right(x, *copied, *rest, **more)

    from fastlr.sweeping.engines import layers

    monkeypatch.setattr(layers, "F", Patched(without_statistics))
    model, loader = model_of("normed")
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert choice.excluded["batched"].startswith("its buffers are others")


class Patched:
    """torch.nn.functional with another batch_norm."""

    def __init__(self, batch_norm: Callable[..., Tensor]) -> None:
        self.batch_norm = batch_norm

    def __getattr__(self, name: str) -> Any:
        return getattr(nn.functional, name)


class Counting(nn.Module):
    """What torch.func has much against: values that leave the tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.line(x)
        return out * (1.0 if float(out.detach().sum()) > 0 else 1.5)


@pytest.mark.usefixtures("patient")
def test_a_model_for_torch_alone_runs_one_after_another() -> None:
    model, (_, loader) = Counting(), model_of("linear")
    found = sweep(model, CROSS_ENTROPY, loader, RATES, steps=3)
    assert found.engine.name == "sequential"
    assert set(found.engine.excluded) == {"batched", "vmapped", "grad_and_value"}
    assert "Counting is no layer that it knows" in str(found.engine)
    assert "the only one" in str(found.engine)


@pytest.mark.usefixtures("patient")
def test_an_engine_that_fails_leaves_the_random_numbers_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(engine: Any, batch: Any) -> Tensor:
        torch.rand(7)
        raise RuntimeError("no")

    monkeypatch.setattr(batched.Batched, "train", failing)
    model, loader = model_of("dropout")
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert choice.excluded == {"batched": "RuntimeError: no"}


def hooked() -> nn.Module:
    model, _ = model_of("mlp")
    model[2].register_forward_hook(lambda module, inputs, output: output * 2)  # type: ignore[index]
    return model


def weight_normed() -> nn.Module:
    model, _ = model_of("mlp")
    torch.nn.utils.parametrizations.weight_norm(model[2])  # type: ignore[index]
    return model


@pytest.mark.parametrize("make", [hooked, weight_normed])
def test_layers_that_are_more_than_they_seem_are_not_batched(make: Callable[[], nn.Module]) -> None:
    _, loader = model_of("mlp")
    found = sweep(make(), CROSS_ENTROPY, loader, RATES, steps=3)
    assert "batched" in found.engine.excluded
