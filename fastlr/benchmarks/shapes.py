"""The parameter shapes that are timed, by name."""

from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeList:
    """A named list of parameter shapes."""

    name: str
    description: str
    shapes: tuple[Shape, ...]

    @property
    def elements(self) -> int:
        return sum(prod(shape) for shape in self.shapes)


def resnet50() -> tuple[Shape, ...]:
    """ResNet-50 for 1000 classes (He et al. 2015), in the order in which the usual implementations register them."""

    def convolution(out: int, into: int, size: int) -> list[Shape]:
        return [(out, into, size, size), (out,), (out,)]  # the two of its batch norm follow

    shapes = convolution(64, 3, 7)
    into = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            shapes += convolution(width, into, 1) + convolution(width, width, 3) + convolution(4 * width, width, 1)
            if block == 0:
                shapes += convolution(4 * width, into, 1)
            into = 4 * width
    return (*shapes, (1000, into), (1000,))


def vit(width: int) -> tuple[Shape, ...]:
    """ViT/16 for 224 x 224 images and 1000 classes (Dosovitskiy et al. 2020): 12 blocks."""
    shapes: list[Shape] = [(1, 1, width), (1, 197, width), (width, 3, 16, 16), (width,)]
    for _ in range(12):
        for out, into in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width)):
            shapes += [(out, into), (out,)]
        shapes += [(width,)] * 4
    return (*shapes, (width,), (width,), (1000, width), (1000,))


def gpt2() -> tuple[Shape, ...]:
    """GPT-2, the smallest (Radford et al. 2019): 12 blocks of width 768, the head tied to the embedding."""
    width = 768
    shapes: list[Shape] = [(50257, width), (1024, width)]
    for _ in range(12):
        shapes += [(width,)] * 4
        for into, out in ((width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)):
            shapes += [(into, out), (out,)]
    return (*shapes, (width,), (width,))


def llama_1b() -> tuple[Shape, ...]:
    """Llama-3.2-1B (Meta 2024): 16 blocks of width 2048, 8 heads of 64 for keys and values, the head tied."""
    width, keys, hidden = 2048, 512, 8192
    attention: list[Shape] = [(width, width), (keys, width), (keys, width), (width, width)]
    feed_forward: list[Shape] = [(hidden, width), (hidden, width), (width, hidden)]
    return ((128256, width), *(attention + feed_forward + [(width,), (width,)]) * 16, (width,))


RESNET50 = ShapeList("resnet50", "ResNet-50", resnet50())

SHAPE_LISTS = {
    case.name: case
    for case in (
        ShapeList("many-tiny", "1000 tensors of 1 element", ((1,),) * 1000),
        ShapeList("small", "161 tensors of 16", ((16,),) * 161),
        ShapeList("vit-tiny", "a small transformer, ViT-Ti/16", vit(192)),
        RESNET50,
        ShapeList("resnet50-like", "107 tensors of 64, 54 of 473000", ((64,),) * 107 + ((473_000,),) * 54),
    )
}

# What a GPU is timed on: more than its caches hold, and models as they are trained.
LARGE_SHAPE_LISTS = {
    case.name: case
    for case in (
        *(ShapeList(f"flat-{millions}m", "one tensor", ((millions * 10**6,),)) for millions in (25, 100, 250, 1000)),
        RESNET50,
        ShapeList("vit-base", "ViT-B/16", vit(768)),
        ShapeList("gpt2", "GPT-2, 124M", gpt2()),
        ShapeList("llama-1b", "Llama-3.2-1B", llama_1b()),
    )
}
