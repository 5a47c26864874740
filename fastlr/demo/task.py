"""What is trained: scikit-learn's digits and a small network without normalization, for which the rate matters."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from fastlr._command import optional_module

BATCH = 64
TRAIN_IMAGES = 18 * BATCH
VALIDATION_IMAGES = 285
VALIDATION_BATCH = 19  # small, so that there are enough of them to be drawn again for the intervals
TEST_IMAGES = 360
WIDTH = 64
HYPER: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


@dataclass(frozen=True)
class Part:
    """Images, float32 ``[N, 1, 8, 8]`` in [0, 1], with labels, int64 ``[N]``."""

    images: Tensor
    labels: Tensor

    def loader(self, batch: int, *, shuffle: bool = False, generator: torch.Generator | None = None) -> DataLoader[Any]:
        """Batches, in a new order at each pass where they are shuffled."""
        return DataLoader(TensorDataset(self.images, self.labels), batch, shuffle=shuffle, generator=generator)


@dataclass(frozen=True)
class Digits:
    """Three parts without a common image: to train on, to rank rates by, and to judge by what was chosen."""

    train: Part
    validation: Part
    test: Part

    @property
    def batches(self) -> int:
        """Updates in one pass."""
        return len(self.train.labels) // BATCH


def load_digits(seed: int) -> Digits:
    """The 1797 digits that come with scikit-learn (nothing is downloaded), split at random."""
    data = optional_module("sklearn.datasets", "scikit-learn").load_digits()
    images = torch.from_numpy(data.images).float().div(16).unsqueeze(1)
    labels = torch.from_numpy(data.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    sizes = [TRAIN_IMAGES, VALIDATION_IMAGES, TEST_IMAGES]
    return Digits(*(Part(images[chosen], labels[chosen]) for chosen in torch.split(order, sizes)))


def network(seed: int) -> nn.Sequential:
    """Three linear layers; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(64, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, 10),
        )


def parameters(seed: int) -> int:
    return sum(one.numel() for one in network(seed).parameters())
