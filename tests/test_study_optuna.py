"""What Optuna sees of a study: its trials, plots and workers; and what the study says of its runs."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import cli_search_example as example
import numpy as np
import pytest
from study_cases import EXACT, RATES, STEPS, assert_same, quick_folder, shuffled, training

import fastlr
from fastlr.finder import RangeTest
from fastlr.schedules import Piecewise
from fastlr.studying import Study, study
from fastlr.sweeping import Sweep, sweep

optuna = pytest.importorskip("optuna")

pytestmark = pytest.mark.usefixtures("one_threaded")
COMPLETE, PRUNED = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
STORED = [0.1, 0.3, 1e30]
VALIDATED = {**EXACT, "validation": example.batches(3, seed=6), "validate_every": 5}


def test_each_rate_is_a_trial_in_the_file(capfd: pytest.CaptureFixture[str]) -> None:
    with quick_folder() as folder:
        found = study("digits", folder / "runs.db").sweep(*training(), STORED, **EXACT)
        assert capfd.readouterr() == ("", "")
        trials = optuna.load_study(study_name="digits", storage=f"sqlite:///{folder}/runs.db").trials
        best = optuna.load_study(study_name="digits", storage=f"sqlite:///{folder}/runs.db").best_trial
    assert [trial.params for trial in trials] == [{"lr": rate} for rate in STORED]
    assert [trial.state for trial in trials] == [COMPLETE, COMPLETE, PRUNED]
    assert [trial.value for trial in trials] == [*found.scores[:2], None]
    assert best.params["lr"] == found.best
    for place, trial in enumerate(trials[:2]):
        steps = sorted(trial.intermediate_values)
        assert steps[-1] == STEPS
        pieces = zip([0, *steps], steps, strict=False)
        means = [found.losses[first:last, place].mean() for first, last in pieces]
        assert [trial.intermediate_values[step] for step in steps] == means
        assert trial.user_attrs["fastlr_outcome"]["interval"] == found.intervals[place].tolist()
    assert trials[2].user_attrs["fastlr_outcome"]["diverged at step"] == found.diverged[2]
    assert trials[0].user_attrs["fastlr_together"] == "0.1, 0.3, 1e+30"
    assert trials[0].user_attrs["fastlr_versions"]["fastlr"] == fastlr.__version__


def test_validation_losses_are_the_curve_where_there_are_some(kept: Study) -> None:
    found = kept.sweep(*training(), STORED, **VALIDATED)
    for place, trial in enumerate(kept.optuna.trials[:2]):
        assert trial.intermediate_values == dict(zip(found.validated, found.validation[:, place], strict=True))


def test_optunas_plots_and_importances_take_the_trials(kept: Study) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    kept.sweep(*training(), RATES, **EXACT)
    kept.sweep(*training(), RATES[:2], label="other", **EXACT)
    kept.find_lr(*training(), steps=10)
    assert optuna.importance.get_param_importances(
        kept.optuna, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    ) == {"lr": 1.0}
    plots = optuna.visualization.matplotlib
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        plots.plot_slice(kept.optuna)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        axes = plots.plot_intermediate_values(kept.optuna)
    assert len(axes.lines) == len(RATES) + 3
    pyplot.close("all")


def test_trials_of_others_are_beside_them(kept: Study) -> None:
    """Optuna's own workers propose rates from what is there, and take none of fastlr's trials."""
    kept.sweep(*training(), RATES, **EXACT)
    kept.optuna.enqueue_trial({"lr": 0.2})

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("lr", 1e-3, 10.0, log=True)
        return float(sweep(*training(), [rate], **EXACT).scores[0])

    found = kept.sweep(*training(), RATES, at_once=2, **{**EXACT, "steps": 10})
    kept.optuna.optimize(objective, n_trials=2)
    assert_same(kept.sweep(*training(), RATES, **{**EXACT, "steps": 10}), found)
    runs = kept.runs
    other = next(run for run in runs if run.kind == "optuna")
    assert (other.number, other.state, other.rate) == (len(RATES), "done", 0.2)
    assert len([run for run in runs if run.kind == "sweep"]) == 2 * len(RATES)
    assert [run.number for run in runs] == list(range(2 * len(RATES) + 2))
    assert [run.result for run in runs if run.kind == "optuna"] == [None, None]


def test_a_run_has_what_was_asked_and_its_own_losses(kept: Study) -> None:
    found = kept.sweep(
        *shuffled(), STORED, label="first", optimizer=fastlr.AdamW, weight_decay=0.1, **VALIDATED, seed=3
    )
    runs = kept.runs
    assert [run.state for run in runs] == ["done", "done", "diverged"]
    for place, run in enumerate(runs):
        assert isinstance(run.result, Sweep)
        np.testing.assert_array_equal(run.result.losses[:, 0], found.losses[:, place])
        np.testing.assert_array_equal(run.result.validation[:, 0], found.validation[:, place])
        assert run.result.entries == (STORED[place],)
        assert (run.label, run.seed, run.kind) == ("first", 3, "sweep")
        assert (run.asked["optimizer"], run.asked["options"]) == ("AdamW", {"weight_decay": 0.1})
        assert run.seconds is not None
    assert runs[0].score == found.scores[0]
    assert runs[0].interval == tuple(found.intervals[0])
    assert kept.best is not None
    assert kept.best.rate == found.best


def test_the_best_run_is_that_of_a_sweep(kept: Study) -> None:
    assert kept.best is None
    kept.find_lr(*training(), steps=10)
    assert isinstance(kept.runs[0].result, RangeTest)
    assert kept.best is None
    kept.sweep(*training(), RATES, **EXACT)
    kept.sweep(*training(), RATES, label="longer", **{**EXACT, "steps": 60, "shape": None})
    scores = [(run.score, run.number) for run in kept.runs if run.score is not None]
    assert kept.best is not None
    assert (kept.best.score, kept.best.number) == min(scores)


def test_every_attribute_fits_into_the_text_columns_of_any_database() -> None:
    values = np.random.default_rng(0).uniform(0.1, 0.2, 10_000).tolist()
    long = Piecewise(tuple(range(1, 10_000)), tuple(values))
    with quick_folder() as folder:
        study("digits", folder / "runs.db").sweep(
            *training(), [long, long * 2.0], **{**EXACT, "shape": None}, label="x" * 200
        )
        with sqlite3.connect(folder / "runs.db") as database:
            sizes = [
                len(text)
                for table in ("trial_user_attributes", "trial_system_attributes")
                for (text,) in database.execute(f"SELECT value_json FROM {table}")
            ]
        database.close()
        (run, _) = study("digits", folder / "runs.db").runs
        assert run.result is not None
        assert run.result.entries == (long,)
    assert len(json.dumps(long.to_dict())) > 65_535 >= max(sizes) > 50_000
