"""The parameter shapes that are timed, by name."""

from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ShapeList:
    """A named list of parameter shapes, all float32."""

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


def vit_tiny() -> tuple[Shape, ...]:
    """ViT-Ti/16 for 224 x 224 images and 1000 classes (Touvron et al. 2020): 12 blocks of width 192."""
    width = 192
    shapes: list[Shape] = [(1, 1, width), (1, 197, width), (width, 3, 16, 16), (width,)]
    for _ in range(12):
        for out, into in ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width)):
            shapes += [(out, into), (out,)]
        shapes += [(width,)] * 4
    return (*shapes, (width,), (width,), (1000, width), (1000,))


SHAPE_LISTS = {
    case.name: case
    for case in (
        ShapeList("many-tiny", "1000 tensors of 1 element", ((1,),) * 1000),
        ShapeList("small", "161 tensors of 16", ((16,),) * 161),
        ShapeList("vit-tiny", "a small transformer, ViT-Ti/16", vit_tiny()),
        ShapeList("resnet50", "ResNet-50", resnet50()),
        ShapeList("resnet50-like", "107 tensors of 64, 54 of 473000", ((64,),) * 107 + ((473_000,),) * 54),
    )
}
