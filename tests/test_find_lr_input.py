"""Bad input of the range test: a clear error, and nothing changed."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from find_cases import ONE, Quadratic, batches, differences, everything, itself, network
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import fastlr
from fastlr.finder import find_lr

LOADER = batches()


def per_element(output: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(output, target, reduction="none")


def not_a_number(output: Tensor, _: Tensor) -> Tensor:
    return output.sum() * float("nan")


class Scaled(nn.Module):
    """A loss that is infinite from the first on."""

    def forward(self, output: Tensor, _: Tensor) -> Tensor:
        return output.sum() / 0.0


def endless() -> Iterator[Any]:
    return itertools.cycle(LOADER)


ARGUMENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"low": 0.0}, ValueError, "Rates are not positive and rising: low=0.0"),
    ({"low": -1e-3}, ValueError, "low=-0.001"),
    ({"low": 1.0, "high": 1.0}, ValueError, "Give 0 < low < high"),
    ({"low": 1.0, "high": 0.1}, ValueError, "Give 0 < low < high"),
    ({"high": float("inf")}, ValueError, "high=inf"),
    ({"high": float("nan")}, ValueError, "high=nan"),
    ({"low": "a"}, TypeError, "Not a number: low='a'"),
    ({"high": None}, TypeError, "Not a number: high=None"),
    ({"steps": 1}, ValueError, "steps are too few: 1"),
    ({"steps": 0}, ValueError, "steps"),
    ({"steps": 2.5}, TypeError, "steps"),
    ({"accumulate": 0}, ValueError, "accumulate"),
    ({"repeats": 0}, ValueError, "repeats"),
    ({"smoothing": 1.0}, ValueError, "Invalid smoothing: 1.0"),
    ({"smoothing": -0.1}, ValueError, "Invalid smoothing"),
    ({"stop": 1.0}, ValueError, "Invalid stop: 1.0"),
    ({"seed": -1}, ValueError, "Invalid seed: -1"),
    ({"loader": []}, ValueError, "The loader gives no batch: list"),
    ({"loader": iter(LOADER)}, TypeError, "The loader is an iterator.*itertools.islice"),
    ({"loader": endless()}, TypeError, "The loader is an iterator"),
    ({"loader": 3}, TypeError, "cannot be iterated: 3"),
    ({"loader": [LOADER[0][0]]}, TypeError, "A batch that is no (input, target) and no dict: Tensor"),
    ({"loader": [(LOADER[0][0],)]}, TypeError, "tuple of 1"),
    ({"loader": [{"input": LOADER[0][0]}]}, TypeError, "A batch without a target.*'labels'"),
    ({"loss_fn": None}, ValueError, "from loss_fn or from forward: neither given"),
    ({"forward": itself}, ValueError, "from loss_fn or from forward: both given"),
    ({"loss_fn": 3}, TypeError, "loss_fn is no function: 3"),
    ({"loss_fn": per_element}, ValueError, "The loss is no number: torch.float32 of shape [13]"),
    ({"loss_fn": not_a_number}, ValueError, "The loss is not finite before any update: nan"),
    ({"loss_fn": Scaled()}, ValueError, "not finite before any update: -?inf"),
    ({"loss_fn": lambda output, _: output.sum().item()}, TypeError, "The loss is no tensor: float"),
    ({"loss_fn": lambda output, _: output.detach().sum()}, ValueError, "depends on no parameter"),
    ({"loss_fn": lambda output, _: output.sum() * 1j}, ValueError, "The loss is no number: torch.complex64"),
    ({"model": 3}, TypeError, "Not a model: int"),
    ({"model": nn.ReLU()}, ValueError, "no trainable parameter"),
    ({"model": nn.Sequential(nn.LazyLinear(3))}, ValueError, "has no shape yet: 0.weight"),
    ({"model": network().requires_grad_(False)}, ValueError, "no trainable parameter"),
    ({"optimizer": 3}, TypeError, "Not an optimizer: 3"),
    ({"optimizer": torch.optim.LBFGS, "scaler": torch.amp.GradScaler("cpu")}, ValueError, "LBFGS takes a closure"),
    ({"scaler": 3}, TypeError, "Not a gradient scaler: 3"),
    ({"autocast": "bfloat16"}, TypeError, "Not a dtype.*'bfloat16'"),
    ({"optimizer": lambda _: 3}, TypeError, "No optimizer was made: 3"),
    ({"optimizer": torch.optim.SGD([torch.ones(1)])}, ValueError, "No parameter of the optimizer has a gradient"),
]


@pytest.mark.parametrize(("changed", "error", "message"), ARGUMENTS)
def test_bad_arguments(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    model = network().eval()
    arguments: dict[str, Any] = {"model": model, "loss_fn": cross_entropy, "loader": LOADER, **changed}
    owners = [arguments["model"]] if isinstance(arguments["model"], nn.Module) else []
    lazy = any(nn.parameter.is_lazy(param) for owner in owners for param in owner.parameters())
    before = everything(*([] if lazy else owners))
    pattern = re.escape(message).replace(r"\.\*", ".*").replace(r"\?", "?")
    with pytest.raises(error, match=pattern):
        find_lr(**arguments)
    assert differences(everything(*([] if lazy else owners)), before) == []


def test_shared_parameters_are_trained_once_and_frozen_ones_not() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3, dtype=torch.float64)
            self.second = nn.Linear(3, 3, dtype=torch.float64)
            self.second.weight = self.first.weight
            self.first.bias.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.second.weight is self.first.weight, self.first.bias.tolist()))
            out: Tensor = self.second(self.first(x))
            return out

    seen: list[Any] = []
    model = Tied()
    x = torch.randn(4, 3, dtype=torch.float64)
    before = everything(model)
    result = find_lr(model, nn.functional.mse_loss, [(x, x)], low=1e-3, high=0.1, steps=10)
    assert len(set(map(str, seen))) == 1
    assert np.unique(result.losses).size == 10
    assert differences(everything(model), before) == []


def test_a_loader_that_is_empty_the_second_time() -> None:
    class Once:
        def __init__(self) -> None:
            self.left = list(LOADER)

        def __iter__(self) -> Iterator[Any]:
            while self.left:
                yield self.left.pop()

    model = network()
    before = everything(model)
    with pytest.raises(ValueError, match="no batch: Once"):
        find_lr(model, cross_entropy, Once(), steps=20)
    assert differences(everything(model), before) == []


def test_a_loss_that_is_no_number_after_the_first_update_gives_no_rate() -> None:
    losses = iter([1.0, *[float("nan")] * 20])
    result = find_lr(Quadratic(1.0), lambda output, _: output * next(losses), ONE)
    assert result.lr is None
    assert result.reason.startswith("the loss is not finite: nan after update 1, with rates from 1e-07 on")
    assert np.isnan(result.losses).all()
    assert "No learning rate" in str(result)


def test_rates_that_are_all_too_high_give_none() -> None:
    result = find_lr(Quadratic(1.0), itself, ONE, fastlr.SGD, low=10.0, high=1000.0)
    assert (result.lr, result.suggest("minimum").lr) == (None, None)
    assert "Lower `low`" in result.reason


def test_rates_that_are_all_too_low_give_none() -> None:
    result = find_lr(network(), cross_entropy, LOADER, low=1e-9, high=1e-7)
    assert result.lr is None
    assert "Raise `high`" in result.reason


def test_an_unknown_method() -> None:
    with pytest.raises(ValueError, match=r"Not a method: 'best'.*valley, steepest, slide, minimum"):
        find_lr(Quadratic(1.0), itself, ONE).suggest("best")
