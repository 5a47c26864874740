"""The demo, run short: what it finds, what it trains, what it says about it, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from fastlr.cli import main
from fastlr.demo import one_thread, search, tell
from fastlr.demo.picture import draw
from fastlr.demo.report import Story, largest_difference
from fastlr.demo.task import Digits, Part, load_digits, network
from fastlr.finder import RangeTest
from fastlr.sweeping import Sweep

pytestmark = pytest.mark.usefixtures("one_threaded")

Capture: TypeAlias = pytest.CaptureFixture[str]
Patch: TypeAlias = pytest.MonkeyPatch

EPOCHS, RATES, SEED = 3, 4, 3
UPDATES = EPOCHS * 18  # 1152 images in batches of 64
WARMUP = 2
ARGUMENTS = ["demo", "--epochs", str(EPOCHS), "--rates", str(RATES), "--seed", str(SEED)]
PARTS = {"train": 1152, "validation": 285, "test": 360}
TIMED = ("machine", "seconds", "seconds_alone", "engine_by_itself", "update_us")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one short run."""
    folder = tmp_path_factory.mktemp("demo") / "made" / "by demo"
    threads = torch.get_num_threads()
    assert main([*ARGUMENTS, "-o", str(folder)]) == 0
    assert torch.get_num_threads() == threads
    return folder


@pytest.fixture(scope="module")
def figures(ran: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ran / "demo.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def retold() -> Story:
    """The same run again, except that no pixel of a test image is a number."""
    digits = load_digits(SEED)
    spoilt = Part(torch.full_like(digits.test.images, math.nan), digits.test.labels)
    with one_thread():
        return tell(dataclasses.replace(digits, test=spoilt), epochs=EPOCHS, seed=SEED, rates=RATES)


def without_times(record: Any) -> Any:
    if isinstance(record, dict):
        return {name: without_times(value) for name, value in record.items() if name not in TIMED}
    return [without_times(value) for value in record] if isinstance(record, list) else record


def test_the_sweep_is_around_the_suggested_rate(figures: dict[str, Any]) -> None:
    centre, tried = figures["range_test"]["lr"], figures["sweep"]["entries"]
    assert len(tried) == RATES
    assert [tried[0], tried[-1]] == pytest.approx([centre / 10, centre * 10], rel=5e-3)
    assert all(rate == float(f"{rate:.3g}") for rate in tried)  # what is printed is what is trained with
    for low, high in itertools.pairwise(tried):
        assert high / low == pytest.approx(100 ** (1 / (RATES - 1)), rel=0.02)
    assert search.grid(0.5, 3) == [0.05, 0.5, 5.0]


def test_what_is_trained_with_is_the_best_of_the_sweep(figures: dict[str, Any]) -> None:
    swept, trained = figures["sweep"], figures["training"]
    scores = [math.inf if score is None else score for score in swept["scores"]]
    best = swept["entries"][scores.index(min(scores))]
    assert trained["rate"] == swept["best"] == best
    assert [side["rate"] for side in trained["sides"]] == [best] * 3


def test_rates_are_ranked_by_the_validation_images(figures: dict[str, Any]) -> None:
    swept = figures["sweep"]
    assert swept["validated"][-1] == UPDATES
    known = [place for place, score in enumerate(swept["scores"]) if score is not None]
    assert len(known) > 1
    for place in known:
        assert swept["scores"][place] == pytest.approx(swept["validation"][-1][place], rel=1e-12)


def test_nothing_that_is_chosen_or_trained_has_seen_the_test_images(figures: dict[str, Any], retold: Story) -> None:
    assert retold.swept is not None
    assert retold.trained is not None
    assert json.loads(retold.range_test.to_json()) == figures["range_test"]
    again = json.loads(retold.swept.result.to_json())
    assert again == {name: figures["sweep"][name] for name in again}
    for side, recorded in zip(retold.trained.sides, figures["training"]["sides"], strict=True):
        assert side.losses == recorded["losses"]
        assert math.isnan(side.test_loss)  # which the spoilt images do decide


def test_one_seed_gives_the_same_numbers_and_another_gives_others(figures: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(SEED + 2)  # which decides nothing
    assert main([*ARGUMENTS, "-o", str(tmp_path)]) == 0
    assert without_times(json.loads((tmp_path / "demo.json").read_text())) == without_times(figures)
    assert search.range_test(load_digits(SEED + 1), seed=SEED + 1).lr != figures["range_test"]["lr"]


def expected_rate(t: int) -> float:
    """As a part of the highest: linear to it at the last update of the warm-up, then a cosine to 0."""
    if t < WARMUP:
        return (t + 1) / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (t - WARMUP) / (UPDATES - WARMUP)))


def test_every_training_follows_the_shape_times_its_rate(figures: dict[str, Any]) -> None:
    trained = figures["training"]
    for side in trained["sides"] + trained["other_rates"]:
        expected = [side["rate"] * expected_rate(t) for t in range(UPDATES)]
        assert side["rates"] == pytest.approx(expected, rel=1e-12, abs=1e-15), side["name"]


def test_fastlr_trains_as_torchs_default(figures: dict[str, Any]) -> None:
    ours, default, fused = figures["training"]["sides"]
    # The same bits where torch has AVX2; elsewhere rounding, amplified by a few dozen updates.
    bit_equal = torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    assert ours["losses"] == (default["losses"] if bit_equal else pytest.approx(default["losses"], abs=1e-2))
    assert ours["losses"][:10] == pytest.approx(fused["losses"][:10], rel=1e-4)
    assert default["largest_loss_difference"] == largest_difference(ours["losses"], default["losses"])


def test_the_network_learns(figures: dict[str, Any]) -> None:
    for side in figures["training"]["sides"]:
        assert side["losses"][0] == pytest.approx(math.log(10), rel=0.1)
        assert side["losses"][-1] < 0.5
        assert len(side["test_wrong"]) == EPOCHS
        assert 0.8 < side["test_accuracy"] == pytest.approx(1 - side["test_wrong"][-1] / PARTS["test"])


def test_the_record_is_complete(figures: dict[str, Any]) -> None:
    trained, swept = figures["training"], figures["sweep"]
    assert figures["images"] == PARTS
    assert (figures["epochs"], figures["seed"], swept["steps"]) == (EPOCHS, SEED, UPDATES)
    assert (trained["updates"], trained["warmup"]) == (UPDATES, WARMUP)
    assert figures["machine"]["torch"] == torch.__version__
    assert RangeTest.from_json(json.dumps(figures["range_test"])).lr == figures["range_test"]["lr"]
    assert Sweep.from_json(json.dumps(swept)).best == trained["rate"]
    assert 0 < swept["seconds_alone"] < figures["seconds"]
    assert 0 < swept["seconds"] < figures["seconds"]
    assert swept["engine_by_itself"]["name"] in swept["engine_by_itself"]["milliseconds"]
    for side in trained["sides"]:
        assert side["update_us"]["count"] == len(side["losses"]) == UPDATES
        assert 0 < side["update_us"]["low"] <= side["update_us"]["median"] <= side["update_us"]["high"]
    for other in trained["other_rates"]:
        wrong = other["found_right_alone"] - other["right_alone"] + trained["sides"][0]["test_wrong"][-1]
        assert wrong == other["test_wrong"][-1]


def panels(picture: Path) -> tuple[int, int]:
    """Rows and columns of panels in a picture, each of which shows something."""
    image = pytest.importorskip("matplotlib.image", reason="needs `pip install torch-fastlr[demo]`").imread(picture)
    rows, columns = (round(size / 90 / inches) for size, inches in zip(image.shape, (3.8, 5.5), strict=False))
    for row in np.array_split(image, rows, axis=0):
        assert all(panel.min() < panel.max() for panel in np.array_split(row, columns, axis=1))
    return rows, columns


def test_the_picture_has_four_panels_of_what_was_found(ran: Path, retold: Story) -> None:
    assert panels(ran / "demo.png") == (2, 2)
    find, sweep, losses, test, _ = draw(retold).axes
    assert retold.swept is not None
    assert retold.trained is not None
    for axes, rate in ((find, retold.range_test.lr), (sweep, retold.swept.best), (losses, retold.swept.best)):
        assert f"{rate:.3g}" in axes.get_title()
    assert [list(line.get_ydata()) for line in losses.lines] == [side.losses for side in retold.trained.sides[:2]]
    assert [list(line.get_ydata()) for line in test.lines] == [
        one.wrong for one in (*retold.trained.others, retold.trained.sides[0])
    ]


def test_what_is_printed_tells_the_story_in_order(tmp_path: Path, capsys: Capture) -> None:
    assert main(["demo", "-o", str(tmp_path), "--epochs", "1", "--rates", "2"]) == 0
    out = " ".join(capsys.readouterr().out.split())  # lines end elsewhere with other numbers
    parts = ["1. Find", "Learning rate ", "2. Sweep", "validation loss", "The best is ", "trainings.", "3. Train"]
    parts += ["fastlr.SGD", "torch SGD (default: loop)", "torch SGD (fused=True)", "torch takes ", "4. Compare"]
    parts += ["found", "default of torch's SGD", "sign test", "demo.png"]
    place = -1
    for part in parts:
        found = out.find(part, place + 1)
        assert found > place, part
        place = found


def blank(seed: int) -> Digits:
    """Digits without ink, of which nothing is to be learned."""
    return Digits(*(Part(torch.zeros_like(part.images), part.labels) for part in _parts(load_digits(seed))))


def _parts(digits: Digits) -> list[Part]:
    return [digits.train, digits.validation, digits.test]


def test_without_a_rate_it_ends_with_3_and_the_reason(tmp_path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr("fastlr.demo.load_digits", blank)
    assert main([*ARGUMENTS, "-o", str(tmp_path)]) == 3
    out = capsys.readouterr().out
    assert "No learning rate: " in out
    assert "2. Sweep" not in out
    figures = json.loads((tmp_path / "demo.json").read_text())
    assert (figures["range_test"]["lr"], figures["sweep"], figures["training"]) == (None, None, None)
    assert figures["range_test"]["reason"] in out
    assert panels(tmp_path / "demo.png") == (1, 1)


def test_where_all_rates_diverge_it_ends_with_3(tmp_path: Path, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setattr("fastlr.demo.search.grid", lambda centre, count: [1e4, 1e5])
    assert main([*ARGUMENTS, "-o", str(tmp_path)]) == 3
    out = capsys.readouterr().out
    assert "No rate is good: all 2 have diverged" in out
    assert "3. Train" not in out
    figures = json.loads((tmp_path / "demo.json").read_text())
    assert (figures["sweep"]["best"], figures["training"]) == (None, None)
    assert panels(tmp_path / "demo.png") == (1, 2)


def test_digits_are_split_without_overlap() -> None:
    def rows(digits: Digits) -> list[tuple[float, ...]]:
        return [tuple(image.flatten().tolist()) for part in _parts(digits) for image in part.images]

    digits = load_digits(0)
    assert [len(part.images) for part in _parts(digits)] == [len(part.labels) for part in _parts(digits)]
    assert [len(part.labels) for part in _parts(digits)] == list(PARTS.values())
    assert len(set(rows(digits))) == sum(PARTS.values())  # no image is there twice
    assert sorted(rows(digits)) == sorted(rows(load_digits(5)))
    assert not torch.equal(digits.test.images, load_digits(5).test.images)
    batches = [len(labels) for _, labels in digits.train.loader(64, shuffle=True)]
    assert batches == [64] * digits.batches == [64] * 18


def test_network_depends_on_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, same, other = network(0), network(0), network(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not torch.equal(next(first.parameters()), next(other.parameters()))
