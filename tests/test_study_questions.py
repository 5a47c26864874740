"""What is the same question, from the same start; and what is another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cli_search_example as example
import numpy as np
import pytest
import torch
from study_cases import EXACT, RATES, Counted, assert_same, training

import fastlr
from fastlr.schedules import Cosine
from fastlr.studying import Study, StudyError
from fastlr.sweeping import sweep

optuna = pytest.importorskip("optuna")
questions = pytest.importorskip("fastlr.studying.questions")

pytestmark = pytest.mark.usefixtures("one_threaded")


OTHERS: list[dict[str, Any]] = [
    {"steps": 19},
    {"shape": None},
    {"label": "second"},
    {"seed": 4},
    {"momentum": 0.8},
    {"optimizer": fastlr.Lion},
    {"freeze_above": 9.0},
    {"validation": example.batches(3, seed=6)},
    {"max_grad_norm": 1.0},
]


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: next(iter(other)))
def test_another_question_is_trained_for_itself(other: dict[str, Any], kept: Study) -> None:
    kept.sweep(*training(), RATES[:2], **EXACT)
    counted = Counted()
    kept.sweep(*training(), RATES[:2], **{**EXACT, **other}, progress=counted)
    assert counted.steps
    assert len(kept.runs) == 4


def with_other_parameters() -> tuple[Any, ...]:
    model, loss_fn, loader = training()
    model[0].weight.data[0, 0] += 1e-6
    return model, loss_fn, loader


def with_other_batch() -> tuple[Any, ...]:
    model, loss_fn, loader = training()
    return model, loss_fn, loader[1:]


def with_other_loss() -> tuple[Any, ...]:
    def cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(output, target, label_smoothing=0.1)

    model, _, loader = training()
    cross_entropy.__qualname__ = torch.nn.functional.cross_entropy.__qualname__
    return model, cross_entropy, loader


def test_other_validation_batches_are_another_start(kept: Study) -> None:
    kept.sweep(*training(), RATES[:2], **EXACT, validation=example.batches(3, seed=6))
    with pytest.raises(StudyError, match="the first validation batch differs from run 0"):
        kept.sweep(*training(), RATES, **EXACT, validation=example.batches(3, seed=7))
    with pytest.raises(ValueError, match="gives no batch"):
        kept.sweep(*training(), RATES, **EXACT, validation=[])


STARTS: list[tuple[Callable[[], Any], str]] = [
    (with_other_parameters, "the model's parameters differ"),
    (with_other_batch, "the first batch differs from run 0"),
    (with_other_loss, "the loss of the first batch, 1."),
    (lambda: training(1), "the model's parameters differ"),
]


@pytest.mark.parametrize(("make", "message"), STARTS, ids=lambda one: getattr(one, "__name__", None))
def test_another_start_is_refused_and_taken_where_it_is_asked_for(
    make: Callable[[], Any], message: str, kept: Study
) -> None:
    kept.sweep(*training(), RATES[:2], **EXACT)
    with pytest.raises(StudyError, match="Not the start of the runs that are kept") as caught:
        kept.sweep(*make(), RATES, **EXACT)
    assert message in str(caught.value)
    assert "label=" in str(caught.value)
    assert len(kept.runs) == 2
    found = kept.sweep(*make(), RATES[:2], other_start=True, **EXACT)
    assert_same(found, sweep(*make(), RATES[:2], **EXACT))
    counted = Counted()
    kept.sweep(*make(), RATES[:2], other_start=True, progress=counted, **EXACT)
    kept.sweep(*training(), RATES[:2], progress=counted, **EXACT)
    assert counted.steps == []
    assert len(kept.runs) == 4


def test_a_digest_tells_tensors_of_any_kind_apart() -> None:
    values = [
        torch.zeros(4),
        torch.zeros(2, 2),
        torch.zeros(4, dtype=torch.float64),
        torch.zeros(4, dtype=torch.bfloat16),
        torch.zeros(4, dtype=torch.bool),
        torch.zeros(4, dtype=torch.complex64),
        torch.zeros(1).expand(5),
        torch.eye(3).to_sparse(),
        torch.eye(3).t()[1:],
        torch.tensor(0.0),
        torch.empty(0),
        -torch.zeros(4),
    ]
    assert len({questions.digest([one]) for one in values}) == len(values)
    assert questions.digest([torch.eye(3).t()]) == questions.digest([torch.eye(3)])
    assert questions.digest(values[:2]) != questions.digest(values[1::-1])


def test_options_are_told_apart_by_what_they_are() -> None:
    kinds = [
        torch.autocast("cpu", torch.bfloat16),
        torch.autocast("cpu", torch.float16),
        torch.bfloat16,
        functools.partial(torch.optim.SGD, lr=0.1),
        functools.partial(torch.optim.SGD, lr=0.2),
        torch.optim.SGD,
        Cosine(0.1, 0.0, 20),
        Cosine(0.1, 0.0, 21),
        {"a": [1, None]},
        {"a": [1, False]},
        "1.0",
    ]
    assert len({questions.key_of(questions.plain(one)) for one in kinds}) == len(kinds)
    assert questions.key_of([1, (2.0,)]) == questions.key_of([1.0, [np.float64(2)]])
