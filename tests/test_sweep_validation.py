"""The validation loss: taken in evaluation mode at intervals, and then what ranks the entries."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sweep_cases import RATES, STEPS, batches, model_of
from torch import nn

import fastlr
from fastlr.sweeping import sweep
from fastlr.sweeping.settings import ENGINES

CROSS_ENTROPY = nn.functional.cross_entropy


class Both(nn.Module):
    """What has other outputs in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.4), nn.Linear(5, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def trained(model: nn.Module, loader: list, rate: float, every: int, held_out: list) -> list[float]:
    """The mean validation losses of a training alone."""
    model = copy.deepcopy(model)
    torch.manual_seed(5)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    found = []
    for step in range(STEPS):
        x, y = loader[step % len(loader)]
        optimizer.zero_grad()
        CROSS_ENTROPY(model(x), y).backward()
        optimizer.step()
        if (step + 1) % every == 0 or step + 1 == STEPS:
            model.eval()
            with torch.no_grad():
                outputs = torch.cat([model(x) for x, _ in held_out])
            found.append(float(CROSS_ENTROPY(outputs, torch.cat([y for _, y in held_out]))))
            model.train()
    return found


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "threaded"])  # not for dropout
def test_means_over_the_samples_in_evaluation_mode(engine: str) -> None:
    torch.manual_seed(1)
    whole = Both().double()
    model = whole.net if engine == "batched" else whole
    loader = [(x.double(), y) for x, y in batches()]
    held_out = [(x.double(), y) for x, y in batches(sizes=(9, 4), seed=1)]
    found = sweep(
        model, CROSS_ENTROPY, loader, RATES, steps=STEPS, seed=5, engine=engine, validation=held_out, validate_every=5
    )
    assert found.validated == (5, 10, 12)
    expected = np.array([trained(model, loader, rate, 5, held_out) for rate in RATES]).T
    np.testing.assert_allclose(found.validation, expected, rtol=1e-9)
    np.testing.assert_array_equal(found.scores, found.validation[-1])
    assert found.best == RATES[int(np.argmin(expected[-1]))]
    assert model.training


def test_the_training_goes_on_as_without_it() -> None:
    model, loader = model_of("dropout", torch.float64)
    data = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*loader, strict=True)))
    held_out = torch.utils.data.DataLoader(data, batch_size=5, shuffle=True)
    without = sweep(model, CROSS_ENTROPY, loader, RATES, steps=STEPS, seed=5)
    found = sweep(model, CROSS_ENTROPY, loader, RATES, steps=STEPS, seed=5, validation=held_out, validate_every=3)
    np.testing.assert_allclose(found.losses, without.losses, rtol=1e-9)


def test_it_ranks_where_training_losses_would_say_otherwise() -> None:
    model, loader = model_of("mlp", torch.float64)
    flipped = [(x, 2 - y) for x, y in loader]
    usual = sweep(model, CROSS_ENTROPY, loader, [0.001, 0.3], steps=40, optimizer=fastlr.SGD)
    found = sweep(model, CROSS_ENTROPY, loader, [0.001, 0.3], steps=40, optimizer=fastlr.SGD, validation=flipped)
    assert (usual.best, found.best) == (0.3, 0.001)
    assert found.validated == tuple(range(4, 41, 4))


def test_diverged_entries_have_none() -> None:
    model, loader = model_of("mlp")
    found = sweep(model, CROSS_ENTROPY, loader, [0.1, 1e30], steps=10, validation=loader)
    assert np.isnan(found.validation[-1]).tolist() == [False, True]
    assert found.best == 0.1
