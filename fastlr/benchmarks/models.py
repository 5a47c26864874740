"""Two small models for whole training steps, with a batch each."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TrainingCase:
    """``network`` is called under a fixed seed; inputs and labels are one batch."""

    name: str
    description: str
    network: Callable[[], nn.Module]
    batch: Callable[[], tuple[Tensor, Tensor]]


def small_cnn() -> nn.Module:
    """A residual-free network in the shape of a small ResNet: 9 convolutions with batch norm."""
    layers: list[nn.Module] = []
    into = 3
    for width, stride in ((16, 1), (16, 1), (16, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)):
        layers += [nn.Conv2d(into, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        into = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(into, 10))


class SmallTransformer(nn.Module):
    """Two encoder layers of width 128 over 256 tokens; predicts a token at every place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 128)
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(128, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(self.embedding(tokens)))
        return logits.flatten(0, 1)


def image_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 32, 32, generator=generator), torch.randint(10, (8,), generator=generator)


def token_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(256, (4, 65), generator=generator)
    return tokens[:, :-1], tokens[:, 1:].flatten()


TRAINING_CASES = {
    case.name: case
    for case in (
        TrainingCase("train-cnn", "9 convolutions, 8 images of 32 x 32", small_cnn, image_batch),
        TrainingCase("train-transformer", "2 layers of width 128, 4 x 64 tokens", SmallTransformer, token_batch),
    )
}
