"""What the demo tells: each part in words and tables, and all of it as a record."""

import json
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastlr._command import optional_module, table
from fastlr._machine import machine
from fastlr.benchmarks.results import interval
from fastlr.benchmarks.timing import ratios, spread
from fastlr.demo.search import Swept, warmup
from fastlr.demo.task import BATCH, HYPER, TEST_IMAGES, TRAIN_IMAGES, VALIDATION_IMAGES, parameters
from fastlr.demo.train import Side, Trained
from fastlr.finder import RangeTest

CHANCE = 0.05  # a difference that chance makes at least this often decides nothing
WIDTH = 112  # of lines in the terminal


@dataclass
class Story:
    """What has been found so far."""

    range_test: RangeTest
    swept: Swept | None = None
    trained: Trained | None = None


def paragraphs(*texts: str) -> str:
    """Each text from a new line on, in lines that fit."""
    return "\n".join(textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) for text in texts)


def introduction(seed: int) -> str:
    return paragraphs(
        f"Data: scikit-learn's digits, images of 8x8: {TRAIN_IMAGES} to train on in batches of {BATCH}, "
        f"{VALIDATION_IMAGES} to rank rates by, {TEST_IMAGES} to test what was chosen. Network: three linear layers, "
        f"{parameters(seed)} parameters. Every training: SGD with Nesterov momentum {HYPER['momentum']} and weight "
        f"decay {HYPER['weight_decay']}. All random numbers come from seed {seed}."
    )


def sweep_costs(swept: Swept) -> str:
    """How long the sweep took against one training, and why its engine is the one it is."""
    return paragraphs(
        f"The sweep took {swept.seconds:.2f} s, one of these trainings alone {swept.alone:.2f} s: "
        f"{len(swept.rates)} rates in the time of {swept.seconds / swept.alone:.1f} trainings.",
        "The engine was named here, so that every run has the same numbers. Left to choose by a trial, fastlr.sweep "
        f"takes {swept.choice}.",
    )


def largest_difference(first: list[float], second: list[float]) -> float:
    """NaN where only one is no number.

    >>> largest_difference([1.0, 2.5, float("nan")], [1.0, 2.0, float("nan")])
    0.5
    """
    apart = np.abs(np.subtract(first, second))
    apart[np.isnan(first) & np.isnan(second)] = 0.0
    return float(apart.max())


def _apart(side: Side, ours: Side) -> float:
    return largest_difference(side.losses, ours.losses)


def sides_table(trained: Trained) -> str:
    ours = trained.sides[0]
    header = ["optimizer", "last loss", "losses apart", "test accuracy", "us per update"]
    rows = [
        [
            side.name,
            f"{side.losses[-1]:.6f}",
            "" if side is ours else f"{_apart(side, ours):.3g}",
            f"{side.accuracy:.2%}",
            interval(spread(side.microseconds), "{:.1f}".format),
        ]
        for side in trained.sides
    ]
    return table(header, rows)


def sides_verdict(trained: Trained) -> str:
    """What the table says about fastlr and torch, in words."""
    ours, default, fused = trained.sides
    if trained.is_torchs:
        losses = f"All {trained.updates} losses of fastlr and of torch's default are the same number, bit for bit."
    else:
        losses = f"The losses of fastlr and of torch's default differ by at most {_apart(default, ours):.3g}."
    ratio = spread(ratios(default.microseconds, ours.microseconds)).median
    fused_ratio = spread(ratios(fused.microseconds, ours.microseconds)).median
    rates = largest_difference(ours.rates, default.rates)
    return paragraphs(
        f"{losses} Their rates differ by at most {rates:.1g}.",
        "torch's fused kernel rounds in another order; training amplifies that, and its losses drift apart.",
        "An update is optimizer.step() and, for torch, scheduler.step(); fastlr's schedule is part of its step. torch "
        f"takes {ratio:.1f} times as long for it by default and {fused_ratio:.1f} times with fused=True: medians of "
        "the ratios, update by update.",
    )


@dataclass(frozen=True)
class Comparison:
    """Another rate against the found one: images that one of both alone knows, and how often chance does as much."""

    side: Side
    ours_alone: int
    other_alone: int
    p: float

    @property
    def verdict(self) -> str:
        if self.p >= CHANCE:
            return "chance"
        return "better" if self.ours_alone > self.other_alone else "worse"


def compared(trained: Trained) -> list[Comparison]:
    """The found rate against each of the others, by a sign test over the test images that one of both alone knows."""
    ours, test = trained.sides[0].right, optional_module("scipy.stats", "scikit-learn").binomtest
    found = []
    for side in trained.others:
        alone, other = int((ours & ~side.right).sum()), int((side.right & ~ours).sum())
        p = test(alone, alone + other).pvalue if alone + other else 1.0
        found.append(Comparison(side, alone, other, float(p)))
    return found


def rates_table(trained: Trained) -> str:
    ours = trained.sides[0]
    name = f"{ours.rate:.3g}"
    header = ["rate", "", "test accuracy", "test loss", "only it is right", f"only {name} is right", "p"]
    rows = [[name, "found", f"{ours.accuracy:.2%}", f"{ours.test_loss:.4g}", "", "", ""]]
    rows += [
        [
            f"{one.side.rate:.3g}",
            one.side.name,
            f"{one.side.accuracy:.2%}",
            f"{one.side.test_loss:.4g}",
            str(one.other_alone),
            str(one.ours_alone),
            f"{one.p:.2g}" if one.p >= 0.001 else "< 0.001",
        ]
        for one in compared(trained)
    ]
    return table(header, rows)


def rates_verdict(trained: Trained) -> str:
    """Where the found rate has won, where it has lost, and where the images do not tell."""
    ours = f"{trained.sides[0].rate:.3g}"
    said = {
        "better": f"{ours} gets more test images right than {{}}, by more than chance.",
        "chance": f"Against {{}} these {TEST_IMAGES} images do not decide.",
        "worse": f"{ours} gets fewer test images right than {{}}, by more than chance. A better rate was missed.",
    }
    lines = []
    for verdict, text in said.items():
        *first, last = [f"{one.side.rate:.3g}" for one in compared(trained) if one.verdict == verdict] or [""]
        if last:
            lines.append(text.format(f"{', '.join(first)} and {last}" if first else last))
    lines.append(
        f"p is how often chance alone would split so unevenly the images that only one of both gets right (sign test; "
        f"chance: {CHANCE} or more). It is for this start and these batches."
    )
    return paragraphs(*lines)


def record(story: Story, *, epochs: int, seed: int, seconds: float) -> dict[str, Any]:
    """Everything that was found and measured. Times of updates are in microseconds, others in seconds."""
    swept, trained = story.swept, story.trained
    return {
        "machine": machine(),
        "epochs": epochs,
        "seed": seed,
        "seconds": seconds,
        "hyper": HYPER,
        "images": {"train": TRAIN_IMAGES, "validation": VALIDATION_IMAGES, "test": TEST_IMAGES},
        "range_test": json.loads(story.range_test.to_json()),
        "sweep": None if swept is None else _sweep_record(swept),
        "training": None if trained is None else _training_record(trained),
    }


def _sweep_record(swept: Swept) -> dict[str, Any]:
    return {
        **json.loads(swept.result.to_json()),
        "steps": swept.steps,
        "seconds": swept.seconds,
        "seconds_alone": swept.alone,
        "engine_by_itself": asdict(swept.choice),
    }


def _training_record(trained: Trained) -> dict[str, Any]:
    ours = trained.sides[0]
    sides = [
        {
            **_side_record(side),
            "largest_loss_difference": _apart(side, ours),
            "largest_rate_difference": largest_difference(side.rates, ours.rates),
            "update_us": asdict(spread(side.microseconds)),
        }
        for side in trained.sides
    ]
    others = [
        {
            **_side_record(one.side),
            "verdict": one.verdict,
            "p": one.p,
            "right_alone": one.other_alone,
            "found_right_alone": one.ours_alone,
        }
        for one in compared(trained)
    ]
    return {
        "rate": ours.rate,
        "updates": trained.updates,
        "warmup": warmup(trained.updates),
        "sides": sides,
        "other_rates": others,
    }


def _side_record(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "rate": side.rate,
        "test_accuracy": side.accuracy,
        "test_loss": side.test_loss,
        "test_wrong": side.wrong,
        "rates": side.rates,
        "losses": side.losses,
    }
