"""Small models as users write them, for the tests of parameter groups."""

from collections.abc import Iterable

import torch
from torch import nn

WIDTH = 4


class Block(nn.Module):
    """Attention and a feed-forward part, whose Sequential is called `layers`: no list of blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 1)
        self.layers = nn.Sequential(nn.Linear(WIDTH, 8), nn.GELU(), nn.Linear(8, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln(x)
        return x + self.layers(self.attention(y, y, y)[0])


class Transformer(nn.Module):
    """Embeddings, two blocks in a list called h, a norm, and a head, tied to the embedding if asked."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 5, WIDTH))
        self.wte = nn.Embedding(7, WIDTH)
        self.h = nn.ModuleList([Block(), Block()])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 7, bias=False)
        if tied:
            self.head.weight = self.wte.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.wte(tokens) + self.position
        for block in self.h:
            x = block(x)
        out: torch.Tensor = self.head(self.norm(x))
        return out


def residual(width: int) -> nn.Module:
    return nn.ModuleDict({"conv": nn.Conv2d(width, width, 3, bias=False), "bn": nn.BatchNorm2d(width)})


def conv_net() -> nn.Module:
    """As a ResNet is built: two lists, layer1 and layer2, side by side."""
    parts: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 2, 3, bias=False),
        "bn1": nn.BatchNorm2d(2),
        "layer1": nn.Sequential(residual(2), residual(2)),
        "layer2": nn.Sequential(residual(2)),
        "fc": nn.Linear(2, 3),
    }
    return nn.ModuleDict(parts)


def stage(name: str, blocks: int) -> nn.Module:
    lists = {name: nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(blocks)))}
    return nn.ModuleDict({"down": nn.Linear(2, 2, bias=False), **lists})


def stages(outer: str, inner: str) -> nn.Module:
    """Two stages with a reduction each in front of their one and two blocks."""
    lists = nn.ModuleList([stage(inner, 1), stage(inner, 2)])
    return nn.ModuleDict({"stem": nn.Linear(2, 2, bias=False), outer: lists, "head": nn.Linear(2, 2, bias=False)})


def stacks(*names: str) -> nn.Module:
    """Several towers of layers, each at home in a module of its own."""
    return nn.ModuleDict({name: nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2)])}) for name in names})


def chain(modules: Iterable[nn.Module]) -> nn.Module:
    """One list called blocks and nothing else."""
    return nn.ModuleDict({"blocks": nn.ModuleList(modules)})
