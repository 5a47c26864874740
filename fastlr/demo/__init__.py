"""``fastlr demo``: a learning rate is found, swept and trained with, beside torch and beside other rates."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fastlr._command import check_writable, optional_module
from fastlr._machine import machine_line
from fastlr.demo import report, search
from fastlr.demo.picture import draw
from fastlr.demo.report import Story
from fastlr.demo.task import Digits, load_digits
from fastlr.demo.train import train
from fastlr.searching.files import to_json

__all__ = ["demo"]


@contextmanager
def one_thread() -> Iterator[None]:
    """The network is small: more threads gain nothing, and wait for each other on a machine that is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def demo(output: Path, *, epochs: int = 30, seed: int = 0, rates: int = 9) -> bool:
    """Tell the story, and write ``demo.png`` and ``demo.json`` into ``output``; returns whether a rate was found.

    Args:
        output: a folder, created where it does not exist.
        epochs: passes over the 1152 training images, in batches of 64, of the sweep and of each training.
        seed: of the split, the weights and the batches. With the same one all numbers but the times are the same.
        rates: how many the sweep tries.

    Raises:
        CommandError: a package of the ``demo`` extra is missing, or ``output`` cannot be written.
    """
    for module, distribution in (("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")):
        optional_module(module, distribution)
    picture, figures = output / "demo.png", output / "demo.json"
    for path in (picture, figures):
        check_writable(path)

    start = time.perf_counter()
    with one_thread():
        print(f"fastlr demo on {machine_line()}\n{report.introduction(seed)}")
        story = tell(load_digits(seed), epochs=epochs, seed=seed, rates=rates)
        draw(story).savefig(picture)
        to_json(report.record(story, epochs=epochs, seed=seed, seconds=time.perf_counter() - start), figures)
    print(f"\nwrote {picture} and {figures}, {time.perf_counter() - start:.0f} s after the start")
    return story.trained is not None


def tell(digits: Digits, *, epochs: int, seed: int, rates: int) -> Story:
    """Find, sweep, train, compare: as far as it goes, each part printed once it is known."""
    _headline(
        "1. Find",
        f"A range test: one training of {search.TESTED} updates, whose rate grows from {search.LOW:g} to "
        f"{search.HIGH:g}.",
    )
    story = Story(search.range_test(digits, seed=seed))
    print(story.range_test)
    if story.range_test.lr is None:
        return story

    tried = search.grid(story.range_test.lr, rates)
    _headline(
        "2. Sweep",
        f"That rate is rough: the weights at one rate carry the history of all smaller ones. So {len(tried)} rates "
        f"around it, side by side from one start on the same batches for {epochs * digits.batches} updates, each times "
        "a warm-up and a cosine to 0. The loss on the validation images ranks them.",
    )
    story.swept = search.sweep(digits, tried, epochs=epochs, seed=seed)
    print(f"{story.swept.result}\n{report.sweep_costs(story.swept)}")
    found = story.swept.best
    if found is None:
        return story

    _headline(
        "3. Train",
        f"With {found:.3g}, the best of the sweep, and again a warm-up and a cosine: fastlr.SGD, and torch.optim.SGD "
        "with LinearLR and CosineAnnealingLR, from one start on the same batches.",
    )
    story.trained = train(digits, found, tried, epochs=epochs, seed=seed)
    print(f"{report.sides_table(story.trained)}\n\n{report.sides_verdict(story.trained)}")
    _headline("4. Compare", "The same training with other rates, on the test images, by which nothing was chosen.")
    print(f"{report.rates_table(story.trained)}\n\n{report.rates_verdict(story.trained)}")
    return story


def _headline(name: str, text: str) -> None:
    print(f"\n{name}\n{report.paragraphs(text)}\n", flush=True)
