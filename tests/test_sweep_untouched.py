"""Whatever a sweep does and however it ends: model, gradients, flags, random numbers and loader are as before."""

from __future__ import annotations

import random
import signal
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from find_cases import interrupted
from sweep_cases import MODELS, OTHERS, RATES, alone, model_of
from torch import nn

from fastlr.sweeping import sweep
from fastlr.sweeping.settings import ENGINES

CROSS_ENTROPY = nn.functional.cross_entropy


class Picture:
    """Everything of a model, and where the random numbers are."""

    def __init__(self, model: nn.Module) -> None:
        named = [*model.named_parameters(), *model.named_buffers()]
        self.tensors = [(name, id(one), one.detach().clone(), one.requires_grad, one._version) for name, one in named]
        self.grads = [(id(one.grad), None if one.grad is None else one.grad.clone()) for one in model.parameters()]
        self.flags = [(id(one), one.training, sorted(vars(one))) for one in model.modules()]
        self.random = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes())
        self.enabled = torch.is_grad_enabled()

    def require_same(self, other: Picture) -> None:
        assert self.flags == other.flags
        assert self.random == other.random
        assert self.enabled == other.enabled
        for mine, its in zip(self.tensors, other.tensors, strict=True):
            assert mine[:2] + mine[3:] == its[:2] + its[3:]
            assert torch.equal(mine[2], its[2])
        for (identity, grad), (other_identity, other_grad) in zip(self.grads, other.grads, strict=True):
            assert identity == other_identity
            assert grad is None or torch.equal(grad, other_grad)


def prepared(name: str) -> tuple[nn.Module, Any]:
    """With gradients of the user's own, and a module whose flag is another."""
    model, loader = model_of(name)
    CROSS_ENTROPY(model(loader[0][0]), loader[0][1]).backward()
    for module in list(model.modules())[-1:]:
        module.training = False
    return model, loader


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        (name, engine)
        for name in ("normed", "dropout", "frozen sequence")
        for engine in ("auto", *ENGINES)
        if (name, engine) != ("dropout", "threaded")
    ],
)
def test_nothing_has_changed(name: str, engine: str) -> None:
    model, loader = prepared(name)
    inputs = [x.clone() for x, _ in loader]
    before = Picture(model)
    sweep(model, CROSS_ENTROPY, loader, RATES, steps=5, engine=engine, seed=11, validation=loader)
    before.require_same(Picture(model))
    assert all(torch.equal(x, copy) for (x, _), copy in zip(loader, inputs, strict=True))


class Failing:
    """A loader that fails, or is interrupted, at its fourth batch."""

    def __init__(self, batches: list[Any], error: BaseException) -> None:
        self.batches, self.error = batches, error

    def __iter__(self) -> Any:
        yield from self.batches
        raise self.error


@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("name", [*MODELS, *OTHERS])
def test_nothing_has_changed_after_an_exception(name: str, error: BaseException) -> None:
    model, loader = prepared(name)
    before = Picture(model)
    with pytest.raises(type(error)):
        sweep(model, CROSS_ENTROPY, Failing(loader, error), RATES, steps=10, seed=2)
    before.require_same(Picture(model))


ENTRY_AND_EXIT = ("fastlr.sweeping", "fastlr.searching", "contextlib", "warnings", "torch.autograd.grad_mode")


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_anywhere_in_entry_and_exit_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loader = prepared("linear")
    generator = torch.Generator().manual_seed(4)
    held_out = torch.utils.data.DataLoader([1], shuffle=True, generator=generator)
    before, handler, state = Picture(model), signal.getsignal(signal.SIGINT), generator.get_state()

    def run(*_: Any) -> None:
        assert torch.is_grad_enabled()
        for draw in (random.random, np.random.rand, lambda: torch.rand(1), lambda: list(held_out)):
            draw()

    def call() -> None:
        sweep(model, CROSS_ENTROPY, loader, RATES, steps=1, seed=3, validation=held_out)

    monkeypatch.setattr("fastlr.sweeping.run", run)
    call()  # whose imports may change the filters
    total, filters = interrupted(call, -1, ENTRY_AND_EXIT), list(warnings.filters)
    with torch.no_grad():
        before.enabled = False
        for at in range(1, total + 1):
            with pytest.raises(KeyboardInterrupt):
                interrupted(call, at, ENTRY_AND_EXIT)
            before.require_same(Picture(model))
            assert torch.equal(generator.get_state(), state), at
            assert signal.getsignal(signal.SIGINT) is handler, at
            assert warnings.filters == filters, at


def test_the_loaders_own_generators_are_as_before() -> None:
    model, loader = prepared("mlp")
    data = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*loader, strict=True)))
    generator = torch.Generator().manual_seed(4)
    shuffled = torch.utils.data.DataLoader(data, batch_size=6, shuffle=True, generator=generator)
    state = generator.get_state()
    one_way = {"steps": 9, "engine": "sequential"}  # the fastest may be another one each time, and round otherwise
    first = sweep(model, CROSS_ENTROPY, shuffled, RATES, validation=shuffled, **one_way)
    assert torch.equal(generator.get_state(), state)
    assert np.array_equal(sweep(model, CROSS_ENTROPY, shuffled, RATES, **one_way).losses, first.losses)


def test_a_loss_with_parameters_gets_no_gradients() -> None:
    class Tempered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.temperature = nn.Parameter(torch.tensor(2.0))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return CROSS_ENTROPY(output / self.temperature, target)

    model, loader = prepared("mlp")
    loss_fn = Tempered()
    for engine in ENGINES:
        sweep(model, loss_fn, loader, RATES, steps=3, engine=engine)
        assert loss_fn.temperature.grad is None
        assert float(loss_fn.temperature.detach()) == 2.0


def test_what_a_loss_uses_beside_the_model_gets_no_gradients() -> None:
    model, loader = prepared("mlp")
    temperature = nn.Parameter(torch.tensor(2.0))
    for engine in ENGINES:
        sweep(model, lambda output, y: CROSS_ENTROPY(output / temperature, y), loader, RATES, steps=3, engine=engine)
        assert temperature.grad is None


def test_a_seed_says_where_random_numbers_start() -> None:
    model, loader = model_of("dropout")
    torch.manual_seed(1)
    first = sweep(model, CROSS_ENTROPY, loader, RATES, steps=5, seed=3, engine="sequential").losses
    torch.manual_seed(2)
    again = sweep(model, CROSS_ENTROPY, loader, RATES, steps=5, seed=3, engine="sequential").losses
    other = sweep(model, CROSS_ENTROPY, loader, RATES, steps=5, engine="sequential").losses
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_model_in_evaluation_mode_is_trained_in_train_mode() -> None:
    model, loader = model_of("dropout")
    expected = sweep(model, CROSS_ENTROPY, loader, RATES, steps=5, seed=3, engine="sequential").losses
    model.eval()
    found = sweep(model, CROSS_ENTROPY, loader, RATES, steps=5, seed=3, engine="sequential").losses
    assert np.array_equal(found, expected)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_inside_of_no_grad_and_inference_mode(mode: Any) -> None:
    model, loader = model_of("mlp")
    with mode():
        found = sweep(model, CROSS_ENTROPY, loader, RATES, steps=5)
        assert not torch.is_grad_enabled()
    assert np.isfinite(found.losses).all()


class Counted(nn.Linear):
    """Keeps a number of its own, which the output depends on."""

    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x) / self.calls


@pytest.mark.parametrize("engine", ["sequential", "vmapped", "auto"])
def test_numbers_that_a_model_keeps_begin_as_they_were(engine: str) -> None:
    torch.manual_seed(0)
    model, (_, loader) = Counted(6, 3), model_of("linear")
    model.calls = 2
    found = sweep(model, CROSS_ENTROPY, loader, RATES, steps=5, engine=engine)
    assert model.calls == 2
    expected = alone(model, CROSS_ENTROPY, loader, lambda p: torch.optim.SGD(p, lr=RATES[1], momentum=0.9), 5)
    np.testing.assert_allclose(found.losses[:, 1], expected, rtol=1e-5)
