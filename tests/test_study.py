"""A study's sweeps and range tests: those of the functions, read from the store where they have been done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cli_search_example as example
import numpy as np
import pytest
import study_cases
import torch
from study_cases import EXACT, RATES, STEPS, Counted, assert_same, shuffled, training

import fastlr
from fastlr.finder import RangeTest, find_lr
from fastlr.schedules import Cosine
from fastlr.studying import Study, study
from fastlr.sweeping import sweep

optuna = pytest.importorskip("optuna")

pytestmark = pytest.mark.usefixtures("one_threaded")


def reopened(kept: Study) -> Study:
    return study(kept.name, kept.optuna._storage)


CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "plain": (RATES, {}),
    "diverging": ([0.1, 1e3, 1e30], {"freeze_above": None}),
    "all diverging": ([1e25, 1e30], {}),
    "validated": ([0.1, 0.3, 1e30], {"validation": example.batches(3, seed=6), "validate_every": 7}),
    "halving": (RATES, {"halving": 2, "optimizer": fastlr.AdamW, "weight_decay": 0.1}),
    "schedules": ([Cosine(0.1, 0.0, 20), Cosine(0.05, 0.0, 20)], {"shape": None}),
    "whole numbers": ([1, np.float32(2)], {"optimizer": fastlr.SGD, "confidence": 0.5}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_sweep_is_that_of_the_function_when_trained_and_when_read(name: str, tmp_path: Path) -> None:
    kept = study("digits", tmp_path / "runs.db")
    rates, options = CASES[name]
    options = {**EXACT, **options, "seed": 3}
    expected = sweep(*shuffled(), rates, **options)
    found = kept.sweep(*shuffled(), rates, **options)
    assert_same(found, expected)
    counted = Counted()
    read = study("digits", tmp_path / "runs.db").sweep(*shuffled(), rates, **options, progress=counted)
    assert_same(read, expected)
    assert counted.steps == []
    assert [type(entry) for entry in read.entries] == [type(entry) for entry in rates]
    assert str(read) == str(found)


@pytest.mark.parametrize("at_once", [1, 2])
def test_groups_are_stored_one_after_another_and_the_result_is_whole(at_once: int, kept: Study) -> None:
    counted = Counted()
    options = {**EXACT, "seed": 3, "freeze_above": None}
    found = kept.sweep(*shuffled(), RATES, at_once=at_once, progress=counted, **options)
    assert_same(found, sweep(*shuffled(), RATES, **options))
    assert counted.steps[-1] == STEPS * -(-len(RATES) // at_once)
    assert counted.steps == sorted(counted.steps)


def test_a_group_that_diverges_before_the_first_validation_has_none(kept: Study) -> None:
    options = {**EXACT, "freeze_above": None, "validation": example.batches(3, seed=6), "validate_every": 7, "seed": 3}
    expected = sweep(*shuffled(), [0.1, 0.3, 1e25, 1e30], **options)
    assert_same(kept.sweep(*shuffled(), [0.1, 0.3, 1e25, 1e30], at_once=2, **options), expected)
    assert_same(reopened(kept).sweep(*shuffled(), [1e25, 1e30], **options), sweep(*shuffled(), [1e25, 1e30], **options))
    assert expected.diverged[2:] != (None, None)


def test_rates_that_were_trained_with_others_are_read_and_only_the_others_trained(kept: Study) -> None:
    counted = Counted()
    kept.sweep(*training(), RATES[::2], **EXACT)
    found = kept.sweep(*training(), RATES, progress=counted, **EXACT)
    assert_same(found, sweep(*training(), RATES, **EXACT))
    assert [run.rate for run in kept.runs] == [*RATES[::2], *RATES[1::2]]
    assert counted.steps[-1] == STEPS


def test_with_halving_rates_that_were_trained_with_others_are_trained_again(kept: Study) -> None:
    options = {**EXACT, "halving": 2}
    kept.sweep(*training(), RATES[:3], **options)
    assert_same(kept.sweep(*training(), RATES, **options), sweep(*training(), RATES, **options))
    assert len(kept.runs) == 3 + len(RATES)


def test_all_groups_take_the_engine_of_the_first(kept: Study) -> None:
    options = {**EXACT, "engine": "auto"}
    found = kept.sweep(*training(), RATES, at_once=2, **options)
    engines = {run.outcome["engine"] for run in kept.runs}
    assert engines == {found.engine.name}
    claims = [one for one in kept.optuna.trials if "fastlr:engine" in one.system_attrs]
    assert {one.system_attrs["fastlr:engine"] for one in claims} == engines
    results = [run.result.engine for run in kept.runs if run.result is not None]
    assert [bool(engine.milliseconds) for engine in results] == [True, True, False, False, False]


FINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "repeated": {"repeats": 3, "optimizer": torch.optim.AdamW, "smoothing": 0.5},
    "diverging": {"high": 1e30, "stop": None},
}


@pytest.mark.parametrize("name", FINDS)
def test_a_range_test_is_that_of_the_function_when_done_and_when_read(name: str, tmp_path: Path) -> None:
    kept = study("digits", tmp_path / "runs.db")
    options: dict[str, Any] = {"low": 1e-4, "steps": 30, "seed": 3, **FINDS[name]}
    expected = find_lr(*shuffled(), **options)
    counted = Counted()
    assert_same_test(kept.find_lr(*shuffled(), **options, progress=counted), expected)
    assert counted.steps
    counted = Counted()
    read = study("digits", tmp_path / "runs.db")
    assert_same_test(read.find_lr(*shuffled(), **options, progress=counted), expected)
    assert counted.steps == []
    (run,) = kept.runs
    assert (run.kind, run.state, run.rate, run.score) == ("find_lr", "done", expected.lr, None)


def assert_same_test(found: RangeTest, expected: RangeTest) -> None:
    assert found.to_json() == expected.to_json()
    for one, other in zip(found.curves, expected.curves, strict=True):
        np.testing.assert_array_equal(one.losses, other.losses)
        np.testing.assert_array_equal(one.rates, other.rates)


def test_nothing_of_the_callers_changes(kept: Study) -> None:
    model, loss_fn, loader = shuffled()
    model.eval()
    parameters = [one.clone() for one in model.parameters()]
    drawn = torch.get_rng_state()
    kept.sweep(model, loss_fn, loader, RATES, at_once=2, **EXACT)
    kept.find_lr(model, loss_fn, loader, steps=10)
    assert all(torch.equal(one, other) for one, other in zip(parameters, model.parameters(), strict=True))
    assert torch.equal(drawn, torch.get_rng_state())
    assert not model.training
    assert optuna.logging.get_verbosity() == optuna.logging.INFO


def test_without_a_seed_the_random_numbers_follow_from_where_torch_is(kept: Study) -> None:
    found = kept.sweep(*shuffled(), RATES, **EXACT)
    (seed,) = {run.seed for run in kept.runs}
    assert_same(found, sweep(*shuffled(), RATES, **EXACT, seed=seed))
    counted = Counted()
    assert_same(reopened(kept).sweep(*shuffled(), RATES, **EXACT, progress=counted), found)
    assert counted.steps == []


def test_without_a_seed_the_random_numbers_are_those_of_the_runs_that_are_kept(kept: Study) -> None:
    found = kept.sweep(*shuffled(), RATES[:2], **EXACT)
    tested = kept.find_lr(*shuffled(), steps=10)
    made = shuffled()
    torch.rand(1)
    assert_same_test(kept.find_lr(*made, steps=10), tested)
    wider = kept.sweep(*made, RATES[:3], **EXACT)
    np.testing.assert_array_equal(wider.losses[:, :2], found.losses)
    (seed,) = {run.seed for run in kept.runs if run.kind == "sweep"}
    assert_same(wider, sweep(*shuffled(), RATES[:3], **EXACT, seed=seed))
    assert len(kept.runs) == 4


class Stream(torch.utils.data.IterableDataset[Any]):
    """Goes on where it was."""

    def __init__(self) -> None:
        self.batches = iter(example.batches(1000))

    def __iter__(self) -> Iterator[Any]:
        return self.batches


def test_a_loader_that_does_not_begin_again_is_refused_where_groups_need_it(kept: Study) -> None:
    model, loss_fn, _ = training()
    stream = torch.utils.data.DataLoader(Stream(), batch_size=None)
    with pytest.raises(ValueError, match="does not begin with the same batch again: DataLoader"):
        kept.sweep(model, loss_fn, stream, RATES, at_once=2, **EXACT)
    assert kept.runs == []
    assert kept.sweep(model, loss_fn, stream, RATES, **EXACT).losses.shape == (STEPS, len(RATES))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"at_once": 0}, "at_once"),
    ({"at_once": 2, "halving": 2}, "halving compares all rates"),
    ({"label": ""}, "No label"),
    ({"steps": 0}, "steps"),
    ({"optimizer": torch.optim.SGD}, "optimizer is no class"),
    ({"nonsense": 1}, "nonsense"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda one: str(one)[:20])
def test_bad_input_is_refused_and_leaves_no_run(options: dict[str, Any], message: str, kept: Study) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        kept.sweep(*training(), RATES, **{**EXACT, **options})
    with pytest.raises((TypeError, ValueError)):
        kept.find_lr(*training(), low=-1.0)
    with pytest.raises(ValueError, match="not finite before any update"):
        kept.find_lr(training()[0], lambda output, target: output.sum() * torch.nan, training()[2])
    assert kept.optuna.trials == []


def test_the_cases_cover_what_can_become_of_a_rate(kept: Study) -> None:
    """Or the tests above would show less than they seem to."""
    results = [sweep(*shuffled(), CASES[name][0], **{**EXACT, **CASES[name][1], "seed": 3}) for name in CASES]
    assert any(np.isnan(one.losses).any() for one in results)
    assert any(step is not None for one in results for step in one.dropped)
    assert {one.last_validation is None for one in results} == {True, False}
    assert sorted(study_cases.RATES) == study_cases.RATES
