"""``fastlr demo``: one small training, followed side by side by fastlr and by torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fastlr._command import check_writable, optional_module, write_json
from fastlr._machine import machine_line
from fastlr.demo.report import draw, record, results_table, verdict
from fastlr.demo.task import BATCH, load_digits, network
from fastlr.demo.train import train

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


def demo(output: Path, *, epochs: int = 30, seed: int = 0) -> None:
    """Train, print the comparison, and write ``demo.png`` and ``demo.json`` into ``output``.

    Args:
        output: a folder, created where it does not exist.
        epochs: passes over the 1437 training images, in batches of 64.
        seed: of the split, the weights and the batches.

    Raises:
        CommandError: a package of the ``demo`` extra is missing, or ``output`` cannot be written.
    """
    for module, distribution in (("rich", "rich"), ("matplotlib", "matplotlib"), ("sklearn", "scikit-learn")):
        optional_module(module, distribution)
    picture, figures = output / "demo.png", output / "demo.json"
    for path in (picture, figures):
        check_writable(path)

    digits = load_digits(seed)
    with one_thread():
        print(f"fastlr demo on {machine_line()}")
        print(
            f"scikit-learn's digits: {len(digits.train_labels)} images to train on, {len(digits.test_labels)} to test "
            f"on, in batches of {BATCH}; {sum(p.numel() for p in network(seed).parameters())} parameters\n"
        )
        run = train(digits, epochs=epochs, seed=seed)
        write_json(figures, record(run, epochs=epochs, seed=seed))
    draw(run, picture)
    print(f"\n{results_table(run)}\n\n{verdict(run)}\n\nwrote {picture} and {figures}")
