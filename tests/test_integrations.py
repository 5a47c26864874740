"""What is made for other libraries, without them: Lightning's dict, and lengths from loaders."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import fastlr

WARM = fastlr.warmup_cosine(0.1, 20)


def test_lightning_s_dict() -> None:
    optimizer = torch.optim.AdamW([torch.zeros(1)])
    scheduler = fastlr.LRScheduler(optimizer, lr=WARM)
    entry = {"scheduler": scheduler, "interval": "step", "frequency": 1}
    assert fastlr.lightning(optimizer, scheduler) == {"optimizer": optimizer, "lr_scheduler": entry}


@pytest.mark.parametrize("make", [fastlr.SGD, fastlr.AdamW, fastlr.Lion])
def test_lightning_s_dict_with_a_follower(make: Any) -> None:
    optimizer = make([torch.zeros(1)], lr=WARM)
    made = fastlr.lightning(optimizer)["lr_scheduler"]["scheduler"]
    assert isinstance(made, fastlr.LRScheduler)
    assert made.get_last_lr() == [WARM(0)]


def test_lightning_s_dict_is_refused_what_it_cannot_hold() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)])
    with pytest.raises(TypeError, match="Give lr= or factor= a schedule"):
        fastlr.lightning(optimizer)
    with pytest.raises(TypeError, match="Not a scheduler"):
        fastlr.lightning(optimizer, WARM)  # type: ignore[arg-type]
    other = fastlr.LRScheduler(torch.optim.SGD([torch.zeros(1)]), lr=WARM)
    with pytest.raises(ValueError, match="another optimizer"):
        fastlr.lightning(optimizer, other)


LENGTHS = [(10, 1, 10), (10, 3, 4), (9, 3, 3), (10, 10, 1), (10, 99, 1), (1, 1, 1), (10**12, 7, 142857142858)]


@pytest.mark.parametrize(("batches", "accumulate", "updates"), LENGTHS)
def test_steps_per_epoch(batches: int, accumulate: int, updates: int) -> None:
    assert fastlr.steps_per_epoch(range(batches), accumulate) == updates
    assert fastlr.steps_per_epoch(range(batches), accumulate=accumulate) == updates


@pytest.mark.parametrize(("drop_last", "updates"), [(False, 2), (True, 1)])
def test_steps_per_epoch_of_a_loader(drop_last: bool, updates: int) -> None:
    loader: DataLoader[Any] = DataLoader(range(11), batch_size=4, drop_last=drop_last)  # type: ignore[arg-type]
    assert fastlr.steps_per_epoch(loader) == updates + 1
    assert fastlr.steps_per_epoch(loader, accumulate=2) == updates


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@pytest.mark.parametrize("loader", [iter(range(3)), DataLoader(Stream()), None, 3], ids=lambda one: type(one).__name__)
def test_a_loader_without_a_length_is_refused(loader: Any) -> None:
    with pytest.raises(TypeError, match="has no length"):
        fastlr.steps_per_epoch(loader)


@pytest.mark.parametrize(
    ("accumulate", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_a_bad_accumulate_is_refused(accumulate: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="accumulate"):
        fastlr.steps_per_epoch(range(3), accumulate)
