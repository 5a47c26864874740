"""The engine is the fastest of those that are right; what is wrong or fails is left out, with the reason."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from sweep_cases import MODELS, OTHERS, RATES, model_of, torch_threads
from torch import Tensor, nn

from fastlr.schedules import Cosine
from fastlr.sweeping import calibration, running, sweep
from fastlr.sweeping.engines import Sequential, losses, makers
from fastlr.sweeping.engines.batched import Batched
from fastlr.sweeping.engines.vmapped import Vmapped
from fastlr.sweeping.settings import ENGINES
from fastlr.sweeping.training import Record, Training

CROSS_ENTROPY = nn.functional.cross_entropy


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that takes its time, however short the training."""
    monkeypatch.setattr(calibration, "PART", 1e9)
    monkeypatch.setattr(calibration, "WHOLE", 1e9)


@pytest.fixture
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture
def two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_every_engine_is_timed_or_left_out(name: str) -> None:
    model, loader = model_of(name)
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert {*choice.milliseconds, *choice.excluded} == set(ENGINES)
    assert "sequential" in choice.milliseconds
    assert min(choice.milliseconds.values()) >= calibration.GAIN * choice.milliseconds[choice.name]
    assert ("batched" in choice.milliseconds) == (name in MODELS)
    unmapped = {"vmapped", "grad_and_value"} & set(choice.excluded)
    assert unmapped == ({"vmapped", "grad_and_value"} if name == "cumulative" else set())
    for reason in choice.excluded.values():
        assert reason in str(choice)


def test_the_trial_of_a_short_training_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[str] = []
    for owner in (Sequential, Vmapped, Batched):
        monkeypatch.setattr(owner, "train", noting(owner.train, passes))
    monkeypatch.setattr(running, "BlockedTraining", Nothing)
    monkeypatch.setattr(running, "Training", Nothing)
    model, loader = model_of("mlp")
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert set(passes) - {"threaded"} == {"batched", "sequential"}
    assert len(passes) - passes.count("batched") <= 2  # and batched: one that is checked, two each with few, one, all
    assert passes.count("batched") <= 1 + 3 * calibration.FIRST
    assert choice.excluded["vmapped"] == "not tried in so short a training"


@pytest.mark.usefixtures("patient")
def test_the_trial_ends_no_schedule() -> None:
    model, loader = model_of("mlp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sweep(model, CROSS_ENTROPY, loader, RATES, steps=1, shape=Cosine(1.0, 0.0, 1))


def noting(train: Callable[..., Tensor], passes: list[str]) -> Callable[..., Tensor]:
    def noted(engine: Any, batch: Any) -> Tensor:
        passes.append(type(engine).__name__.lower())
        return train(engine, batch)

    return noted


class Nothing(Training):
    def run(self, batches: Any) -> Record:
        return self.record


SECONDS = {"threaded": 2 / 3, "sequential": 1.0, "batched": 1.0, "vmapped": 1.0, "grad_and_value": 1.0}


@pytest.mark.usefixtures("patient", "two_threads")
@pytest.mark.parametrize("slow", SECONDS)
def test_the_slow_one_is_not_taken(slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is counted here in passes of three replicas; those of the slow engine take a hundred times as long.

    A thread of the threaded engine has a clock of its own, as if it ran alone.
    """
    own, main, lock = threading.local(), [0.0], threading.Lock()

    def now() -> float:
        return main[0] if threading.current_thread() is threading.main_thread() else getattr(own, "now", 0.0)

    monkeypatch.setattr(calibration.time, "perf_counter", now)

    def counting(work: Callable[..., Tensor], seconds: float) -> Callable[..., Tensor]:
        def counted(engine: Any, *given: Any) -> Tensor:
            name = "grad_and_value" if getattr(engine, "_functional", False) else type(engine).__name__.lower()
            taken = 100.0 * seconds if name == slow else seconds
            own.now = getattr(own, "now", 0.0) + taken
            with lock:
                main[0] += taken
            return work(engine, *given)

        return counted

    for owner in (Batched, Vmapped):
        monkeypatch.setattr(owner, "train", counting(owner.train, 1.0))
    monkeypatch.setattr(Sequential, "train_one", counting(Sequential.train_one, 1 / 3))
    model, loader = model_of("mlp")
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    assert choice.name != slow
    expected = {name: 1e3 * one * (100.0 if name == slow else 1.0) for name, one in SECONDS.items()}
    assert choice.milliseconds == pytest.approx(expected)
    assert "against " in str(choice)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("alone", "engine", "sizes"), [(6.0, "batched", {1, 4, 12}), (2.5, "sequential", {1, 4})])
def test_few_replicas_tell_what_to_expect_of_all(
    alone: float, engine: str, sizes: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass takes 5 seconds here and 2 more for each replica: 29 for twelve, which is to gain a twentieth at least."""
    now: list[float] = [0.0]
    seen: set[int] = set()
    passes, steps = Batched.train, Sequential.train_one

    def batched(engine: Any, batch: Any) -> Tensor:
        seen.add(len(engine.replicas.live))
        now[0] += 5.0 + 2.0 * len(engine.replicas.live)
        return passes(engine, batch)

    def by_itself(engine: Any, *given: Any) -> Tensor:
        now[0] += alone
        return steps(engine, *given)

    monkeypatch.setattr(calibration.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(calibration, "makers", lambda *given: {name: makers(*given)[name] for name in PAIR})
    monkeypatch.setattr(Batched, "train", batched)
    monkeypatch.setattr(Sequential, "train_one", by_itself)
    model, loader = model_of("mlp")
    choice = sweep(model, CROSS_ENTROPY, loader, [0.01 * (i + 1) for i in range(12)], steps=2).engine
    assert choice.milliseconds == pytest.approx({"batched": 1e3 * 29.0, "sequential": 1e3 * 12 * alone})
    assert choice.name == engine
    assert seen == sizes


PAIR = ("batched", "sequential")


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
    right = Batched._losses
    monkeypatch.setattr(Batched, "_losses", lambda *given: fault(right(*given)))
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


@pytest.mark.usefixtures("patient", "one_thread")
def test_a_model_for_torch_alone_runs_one_after_another() -> None:
    model, (_, loader) = Counting(), model_of("linear")
    found = sweep(model, CROSS_ENTROPY, loader, RATES, steps=3)
    assert found.engine.name == "sequential"
    assert set(found.engine.excluded) == set(ENGINES) - {"sequential"}
    assert found.engine.excluded["threaded"] == "torch has one thread"
    assert "Counting is no layer that it knows" in str(found.engine)
    assert "the only one" in str(found.engine)


@pytest.mark.usefixtures("patient")
def test_an_engine_that_fails_leaves_the_random_numbers_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(engine: Any, batch: Any) -> Tensor:
        torch.rand(7)
        raise RuntimeError("no")

    monkeypatch.setattr(Batched, "train", failing)
    model, loader = model_of("dropout")
    choice = sweep(model, CROSS_ENTROPY, loader, RATES, steps=2).engine
    reasons = {"batched": "RuntimeError: no", "threaded": "the model draws random numbers, whose order threads mix up"}
    assert choice.excluded == reasons


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
