"""The picture of the demo: the range test, the sweep, the training beside torch's, and the test images."""

from typing import Any

from fastlr._command import optional_module
from fastlr.demo.report import Story
from fastlr.demo.search import Swept
from fastlr.demo.task import TEST_IMAGES
from fastlr.demo.train import Trained
from fastlr.finder import RangeTest

PANEL = (5.5, 3.8)  # inches
FOUND, OTHERS = "C3", ("C0", "C1", "C2", "C4")


def draw(story: Story) -> Any:
    """A figure of four panels; where there is no training two, and where there is no sweep one."""
    rows, columns = (2, 2) if story.trained else (1, 2) if story.swept else (1, 1)
    size = (PANEL[0] * columns, PANEL[1] * rows)
    figure = optional_module("matplotlib.figure", "matplotlib").Figure(figsize=size, dpi=90, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    draw_range_test(next(panels), story.range_test)
    if story.swept is not None:
        draw_sweep(next(panels), story.swept)
    if story.trained is not None:
        draw_losses(next(panels), story.trained)
        draw_test(next(panels), story.trained)
    return figure


def draw_range_test(axes: Any, found: RangeTest) -> None:
    found.plot(axes, methods=("valley",))
    axes.set_title("1. range test: no rate" if found.lr is None else f"1. range test: suggests {found.lr:.3g}")


def draw_sweep(axes: Any, swept: Swept) -> None:
    swept.result.plot(axes)
    best = swept.best
    axes.set_title("2. sweep: all diverged" if best is None else f"2. sweep around it: best is {best:.3g}")


def draw_losses(axes: Any, trained: Trained) -> None:
    """The losses of fastlr and of torch over each other, and the rate."""
    ours, default, _ = trained.sides
    right = axes.twinx()
    right.fill_between(range(trained.updates), ours.rates, color="0.5", alpha=0.15, linewidth=0)
    right.set_ylabel("learning rate (grey)")
    right.set_ylim(0.0, 1.1 * ours.rate)
    axes.set_zorder(right.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(ours.losses, color="C0", linewidth=3.0, alpha=0.5, label=ours.name)
    axes.plot(default.losses, "--", color="black", linewidth=0.9, label=default.name)
    axes.set(xlabel="update", ylabel="training loss of each batch", yscale="log")
    same = "the same bits" if trained.is_torchs else "the same training"
    axes.set_title(f"3. training with {ours.rate:.3g}: fastlr and torch, {same}")
    axes.legend(fontsize="small", frameon=False)


def draw_test(axes: Any, trained: Trained) -> None:
    """How many test images each rate gets wrong, after each epoch."""
    ours = trained.sides[0]
    epochs = range(1, trained.epochs + 1)
    for side, style, colour in zip(trained.others, ("-.", "--", ":", (0, (5, 1))), OTHERS, strict=False):
        axes.plot(epochs, side.wrong, linestyle=style, color=colour, label=f"{side.rate:.3g}, {side.name}")
    axes.plot(epochs, ours.wrong, color=FOUND, linewidth=2.5, label=f"{ours.rate:.3g}, found")
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.3)
    axes.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes.set_ylim(0.0, TEST_IMAGES)
    axes.set(xlabel="epoch", ylabel=f"test images wrong, of {TEST_IMAGES}")
    axes.set_title("4. the found rate beside others")
    axes.legend(fontsize="small", frameon=False)
