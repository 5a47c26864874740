"""A small training, its sweeps and what is kept of them, for the tests of studies."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cli_search_example as example
import numpy as np
import torch
from torch import nn

from fastlr.schedules import warmup_cosine
from fastlr.sweeping import Sweep

RATES = [0.01, 0.1, 0.3, 1.0, 3.0]
STEPS = 20
# One engine without a trial: the same bits every time.
EXACT: dict[str, Any] = {"steps": STEPS, "shape": warmup_cosine(1.0, STEPS), "engine": "sequential"}


def training(seed: int = 0) -> tuple[nn.Module, Any, list[Any]]:
    """A model, its loss function and its batches, always the same."""
    torch.manual_seed(seed)
    return example.network(), nn.functional.cross_entropy, example.batches(7)


def shuffled(seed: int = 0) -> tuple[nn.Module, Any, Any]:
    """With batches in another order in each pass."""
    model, loss_fn, batches = training(seed)
    inputs, targets = (torch.cat(parts) for parts in zip(*batches, strict=True))
    data = torch.utils.data.TensorDataset(inputs, targets)
    return model, loss_fn, torch.utils.data.DataLoader(data, batch_size=16, shuffle=True)


def assert_same(found: Sweep, expected: Sweep, *without: str) -> None:
    """Every field is the same, floats by their bits; but for how they were timed."""
    for name in {one.name for one in dataclasses.fields(Sweep)} - {"engine", *without}:
        one, other = getattr(found, name), getattr(expected, name)
        if isinstance(other, np.ndarray):
            np.testing.assert_array_equal(one, other, name, strict=True)
        elif name == "last_validation":
            np.testing.assert_equal(one, other, name)
        else:
            assert one == other, name
    assert found.engine.name == expected.engine.name


@contextmanager
def quick_folder() -> Iterator[Path]:
    """In memory where the system has such a folder: a database waits for the disk at every write."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


def changed(file: Path, statement: str) -> None:
    """Change a database by SQL."""
    with closing(sqlite3.connect(file, isolation_level=None)) as database:
        database.execute(statement)


class Counted:
    """A progress function that knows whether anything has been trained."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, done: int, *_: object) -> None:
        self.steps.append(done)
