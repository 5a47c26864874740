"""The demo, run short: what it trains, at which rates, and what it leaves behind."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fastlr.cli import main
from fastlr.demo.report import largest_difference
from fastlr.demo.task import TEST_IMAGES, load_digits, network

EPOCHS = 3
UPDATES = EPOCHS * 23  # 1437 images in batches of 64
WARMUP = 3


def expected_rate(t: int) -> float:
    """Linear warm-up that reaches 0.1 at its last update, then a cosine to 0."""
    if t < WARMUP:
        return 0.1 * (t + 1) / WARMUP
    return 0.05 * (1 + math.cos(math.pi * (t - WARMUP) / (UPDATES - WARMUP)))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one short run."""
    folder = tmp_path_factory.mktemp("demo") / "made" / "by demo"
    threads = torch.get_num_threads()
    assert main(["demo", "-o", str(folder), "--epochs", str(EPOCHS), "--seed", "3"]) == 0
    assert torch.get_num_threads() == threads
    return folder


@pytest.fixture(scope="module")
def figures(ran: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ran / "demo.json").read_text())
    return loaded


def test_all_sides_follow_the_same_rates(figures: dict[str, Any]) -> None:
    expected = [expected_rate(t) for t in range(UPDATES)]
    assert len(figures["sides"]) == 3
    for side in figures["sides"]:
        assert side["rates"] == pytest.approx(expected, rel=1e-12), side["name"]


def test_fastlr_trains_as_torchs_default(figures: dict[str, Any]) -> None:
    ours, default, fused = figures["sides"]
    # The same bits where torch has AVX2; elsewhere rounding, amplified by a few dozen updates.
    bit_equal = torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    assert ours["losses"] == (default["losses"] if bit_equal else pytest.approx(default["losses"], abs=1e-2))
    assert ours["losses"][:10] == pytest.approx(fused["losses"][:10], rel=1e-4)
    assert default["largest_loss_difference"] == largest_difference(ours["losses"], default["losses"])


def test_the_network_learns(figures: dict[str, Any]) -> None:
    for side in figures["sides"]:
        assert side["losses"][0] == pytest.approx(math.log(10), rel=0.1)
        assert side["losses"][-1] < 0.5
        assert 0.9 < side["test_accuracy"] <= 1.0
        assert side["test_accuracy"] * TEST_IMAGES == pytest.approx(round(side["test_accuracy"] * TEST_IMAGES))


def test_the_record_is_complete(figures: dict[str, Any]) -> None:
    assert figures["schedule"] == {"peak": 0.1, "warmup": WARMUP, "total": UPDATES}
    assert (figures["updates"], figures["epochs"], figures["seed"]) == (UPDATES, EPOCHS, 3)
    assert figures["machine"]["torch"] == torch.__version__
    for side in figures["sides"]:
        assert side["step_us"]["count"] == len(side["losses"]) == UPDATES
        assert 0 < side["step_us"]["low"] <= side["step_us"]["median"] <= side["step_us"]["high"]


def test_the_picture_is_one(ran: Path) -> None:
    image = pytest.importorskip("matplotlib.image", reason="needs `pip install torch-fastlr[demo]`").imread(
        ran / "demo.png"
    )
    assert image.shape[2] in (3, 4)
    assert image.min() < image.max()


def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "-o", str(tmp_path), "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    for part in ("fastlr.SGD", "torch SGD (default: loop)", "torch SGD (fused=True)", "us per step", "demo.png"):
        assert part in text


def test_digits_are_split_without_overlap() -> None:
    digits = load_digits(0)
    assert (len(digits.train_labels), len(digits.test_labels)) == (1437, TEST_IMAGES)
    batches = list(digits.epoch(torch.Generator().manual_seed(1)))
    assert len(batches) == digits.batches == 23
    everything = torch.cat([digits.test_images, *(images for images, _ in batches)]).flatten(1).sum(1).sort().values
    again = load_digits(5)
    assert torch.equal(everything, torch.cat([again.train_images, again.test_images]).flatten(1).sum(1).sort().values)
    assert not torch.equal(digits.test_images, again.test_images)


def test_network_depends_on_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, same, other = network(0), network(0), network(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
