"""What is trained: scikit-learn's digits and a small convolutional network."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fastlr._command import optional_module

BATCH = 64
TEST_IMAGES = 360


@dataclass(frozen=True)
class Digits:
    """Images are float32 ``[N, 1, 8, 8]`` in [0, 1], labels int64 ``[N]``."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @property
    def batches(self) -> int:
        """Updates in one pass; the last batch is a short one."""
        return -(-len(self.train_labels) // BATCH)

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over the training images in a new order."""
        for chosen in torch.split(torch.randperm(len(self.train_labels), generator=generator), BATCH):
            yield self.train_images[chosen], self.train_labels[chosen]


def load_digits(seed: int) -> Digits:
    """The 1797 digits that come with scikit-learn (nothing is downloaded), split at random."""
    data = optional_module("sklearn.datasets", "scikit-learn").load_digits()
    images = torch.from_numpy(data.images).float().div(16).unsqueeze(1)
    labels = torch.from_numpy(data.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    test, training = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return Digits(images[training], labels[training], images[test], labels[test])


def network(seed: int) -> nn.Sequential:
    """Three convolutions with batch norm and two linear layers; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )
