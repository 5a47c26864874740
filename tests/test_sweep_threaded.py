"""Replicas on several threads at once: the bits of trainings on one thread, and nothing left behind."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sweep_cases import MODELS, OTHERS, RATES, STEPS, alone, model_of, torch_threads
from test_sweep_untouched import Picture
from torch import Tensor, nn

import fastlr
from fastlr.sweeping import blocks, sweep

CROSS_ENTROPY = nn.functional.cross_entropy
SHAPE = fastlr.warmup_cosine(1.0, STEPS, warmup=3)
WITHOUT_DRAWS = [name for name in (*MODELS, *OTHERS) if name not in ("dropout", "cnn")]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with torch_threads(2):
        yield
        assert torch.get_num_threads() == 2
        seen: list[int] = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [2]
    assert not [one for one in threading.enumerate() if one.name.startswith("fastlr-sweep")]


def on_threads(model: nn.Module, loader: Any, loss_fn: Any = CROSS_ENTROPY, **options: Any) -> Any:
    return sweep(model, loss_fn, loader, RATES, **{"steps": STEPS, "engine": "threaded", "seed": 5, **options})


@pytest.mark.parametrize("block", [5, 32])
@pytest.mark.parametrize("name", WITHOUT_DRAWS)
def test_the_bits_of_separate_trainings_on_one_thread(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", block)
    model, loader = model_of(name)
    found = on_threads(model, loader, shape=SHAPE)
    assert (found.engine.name, found.engine.chunk) == ("threaded", 2)
    with torch_threads(1):
        for place, rate in enumerate(RATES):
            expected = alone(model, CROSS_ENTROPY, loader, lambda p, r=rate: fastlr.SGD(p, lr=r * SHAPE, momentum=0.9))
            assert np.array_equal(found.losses[:, place], expected)


def test_torchs_threads_are_dealt_out() -> None:
    model, loader = model_of("linear")
    seen = set()

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        seen.add((threading.current_thread() is threading.main_thread(), torch.get_num_threads()))
        return CROSS_ENTROPY(output, target)

    with torch_threads(4):
        found = on_threads(model, loader, loss_fn, chunk=2)
    assert found.engine.chunk == 2
    assert seen == {(True, 4), (False, 2)}  # the first look at the model is the main thread's


def test_a_model_that_draws_is_none_for_threads() -> None:
    model, loader = model_of("dropout")
    with pytest.raises(ValueError, match="'threaded' does not take this model: the model draws random numbers"):
        on_threads(model, loader)


class Drawing(nn.Module):
    """Begins to draw random numbers at its fifth batch."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.calls = nn.Linear(6, 3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.line(x)
        return out + torch.rand(3) if self.calls > 4 else out


def test_a_model_that_draws_later_is_trained_again_without_threads() -> None:
    torch.manual_seed(0)
    model, (_, loader) = Drawing(), model_of("linear")
    data = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*loader, strict=True)))
    shuffled = torch.utils.data.DataLoader(data, batch_size=7, shuffle=True)
    found = on_threads(model, shuffled)
    assert found.engine.name == "sequential"
    assert "drew random numbers" in str(found.engine)
    expected = on_threads(model, shuffled, engine="sequential")
    assert np.array_equal(found.losses, expected.losses)
    assert found.notes == expected.notes


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("event", ["ctrl-c", "error"])
def test_whatever_ends_it_ends_the_threads(event: str) -> None:
    model, loader = model_of("linear")
    before, calls = Picture(model), 0

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:
            if event == "error":
                raise OSError("the disk is gone")
            _thread.interrupt_main()
        return CROSS_ENTROPY(output, target)

    with pytest.raises(OSError if event == "error" else KeyboardInterrupt):
        on_threads(model, loader, loss_fn, steps=100_000)
    assert calls < 10_000
    before.require_same(Picture(model))


def test_no_gradients_are_recorded_for_a_validation_loss() -> None:
    model, loader = model_of("normed")
    enabled = set()

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        enabled.add(output.requires_grad)
        return CROSS_ENTROPY(output, target)

    options = {"validation": loader, "validate_every": 6}
    found = on_threads(model, loader, loss_fn, **options)
    assert enabled == {True, False}
    expected = on_threads(model, loader, engine="sequential", **options)
    np.testing.assert_allclose(found.validation, expected.validation, rtol=1e-6)
