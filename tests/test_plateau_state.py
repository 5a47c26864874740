"""The state of ReduceOnPlateau in checkpoints and copies; rules, states and metrics that are refused."""

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from files import through_a_file
from plateau_cases import SIDES, WARM, WORSE, ours, theirs
from sgd_spy import applied_rates
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

import fastlr
from fastlr import schedules
from fastlr.schedules import ReduceOnPlateau
from fastlr.schedules.plateau import PlateauState


@pytest.mark.parametrize("at", range(7))
def test_resuming_between_any_two_metrics(at: int) -> None:
    rule = ReduceOnPlateau(WARM, factor=0.5, patience=1, cooldown=1)
    values = [2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0]
    (whole, spy, report), (second, other, again) = ours(rule), ours(rule)
    for value in values[:at]:
        report(value)
        applied_rates(whole, spy)
    second.load_state_dict(through_a_file(whole.state_dict()))
    for value in values[at:]:
        report(value)
        again(value)
        assert applied_rates(whole, spy) == applied_rates(second, other)
    assert second.param_groups[0]["plateau"] == whole.param_groups[0]["plateau"]
    assert second.param_groups[0]["plateau"][0] < 1.0


def test_a_state_goes_with_the_schedule_that_is_kept() -> None:
    first, _, report = ours(ReduceOnPlateau(WARM, patience=0))
    for metric in WORSE:
        report(metric)
    state = first.state_dict()
    kept, _, _ = ours(ReduceOnPlateau(WARM, patience=5))
    kept.load_state_dict(copy.deepcopy(state), keep_schedule=True)
    assert kept.param_groups[0]["plateau"] == first.param_groups[0]["plateau"]
    plain, spy, _ = ours(WARM)
    plain.load_state_dict(copy.deepcopy(state), keep_schedule=True)
    assert plain.param_groups[0]["plateau"] is None
    assert applied_rates(plain, spy) == [WARM(0)]
    constant, _, _ = ours(0.1)
    constant.load_state_dict(copy.deepcopy(state))
    assert constant.param_groups[0]["lr"] == WARM(0) * (0.1 * 0.1)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_go_on_by_themselves(copied: Any) -> None:
    optimizer, spy, report = ours(ReduceOnPlateau(WARM, patience=0))
    report(1.0)
    report(1.0)
    second = copied(optimizer)
    second.report(1.0)
    assert second.param_groups[0]["lr"] == WARM(0) * (0.1 * 0.1)
    assert applied_rates(optimizer, spy) == [WARM(0) * 0.1]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs a torch that was built with distributed")
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("reported", [0, 3])
def test_distributed_checkpoints_hold_it(flat: bool, reported: int) -> None:
    rule = ReduceOnPlateau(WARM, factor=0.5, patience=0)
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    models = [torch.nn.Linear(3, 2) for _ in range(2)]
    first, second = (fastlr.SGD(model.parameters(), lr=rule, momentum=0.9) for model in models)
    for _ in range(2):
        models[0](torch.ones(3)).sum().backward()
        first.step()
    for metric in WORSE[:reported]:
        first.report(metric)
    state = through_a_file(dict(get_optimizer_state_dict(models[0], first, options=options)))
    set_optimizer_state_dict(models[1], second, state, options=options)
    assert second.param_groups[0]["plateau"] == first.param_groups[0]["plateau"]
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"] == WARM(2) * (0.25 if reported else 1.0)


def test_reports_without_a_rule_are_refused() -> None:
    optimizer, _, report = ours(WARM)
    with pytest.raises(ValueError, match="ReduceOnPlateau"):
        report(1.0)
    with pytest.raises(ValueError, match="ReduceOnPlateau"):
        theirs(WARM)[2](1.0)
    assert optimizer.param_groups[0]["plateau"] is None


@SIDES
@pytest.mark.parametrize("metric", ["low", None, [1.0], {}, torch.ones(2), 1j], ids=repr)
def test_what_is_no_metric_is_refused_before_anything_changes(side: Any, metric: Any) -> None:
    optimizer, spy, report = side(ReduceOnPlateau(WARM, patience=0))
    with pytest.raises(TypeError, match="Not a metric"):
        report(metric)
    report(1.0)
    assert applied_rates(optimizer, spy) == [WARM(0)]


BAD_STATES: list[Any] = [
    [],
    [1.0, 2.0, 0],
    [1.5, 2.0, 0, 0],
    [-0.1, 2.0, 0, 0],
    [math.nan, 2.0, 0, 0],
    [1.0, math.nan, 0, 0],
    [1.0, 2.0, -1, 0],
    [1.0, 2.0, 0, -1],
    [1.0, 2.0, 0.5, 0],
    [1.0, "2", 0, 0],
    "1.0",
    3.0,
]


@pytest.mark.parametrize("entry", BAD_STATES, ids=repr)
def test_a_bad_state_is_refused(entry: Any) -> None:
    with pytest.raises(ValueError, match="plateau state"):
        PlateauState.loaded(entry)
    optimizer, spy, _ = ours(ReduceOnPlateau(WARM))
    state = optimizer.state_dict()
    state["param_groups"][0]["plateau"] = entry
    with pytest.raises(ValueError, match="plateau state"):
        optimizer.load_state_dict(state)
    assert applied_rates(optimizer, spy) == [WARM(0)]


@pytest.mark.parametrize("entry", [[], [1.5, 0.0, 0, 0], ["1", 0.0, 0, 0], [math.nan], "1", {}], ids=repr)
def test_a_state_that_somebody_wrote_into_the_group_is_refused_by_the_update(entry: Any) -> None:
    optimizer, spy, _ = ours(ReduceOnPlateau(WARM))
    optimizer.param_groups[0]["plateau"] = entry
    spy.set(optimizer, param=0.0, grad=-1.0)
    with pytest.raises(ValueError, match="plateau"):
        optimizer.step()
    assert (float(spy.param), optimizer.step_count) == (0.0, 0)


BAD_RULES: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"schedule": "0.1"}, TypeError),
    ({"schedule": math.nan}, ValueError),
    ({"schedule": schedules.Exponential(1.0, 1.1)}, ValueError),
    ({"schedule": ReduceOnPlateau(0.1)}, ValueError),
    ({"schedule": 2.0 * ReduceOnPlateau(0.1)}, ValueError),
    ({"mode": "lowest"}, ValueError),
    ({"threshold_mode": "relative"}, ValueError),
    ({"factor": 1.0}, ValueError),
    ({"factor": -0.1}, ValueError),
    ({"factor": "0.1"}, TypeError),
    ({"patience": -1}, ValueError),
    ({"patience": 1.5}, TypeError),
    ({"cooldown": -1}, ValueError),
    ({"threshold": -1e-9}, ValueError),
    ({"threshold": 1.0}, ValueError),
    ({"min_lr": -1.0}, ValueError),
    ({"eps": math.inf}, ValueError),
]


@pytest.mark.parametrize(("options", "error"), BAD_RULES, ids=str)
def test_bad_rules_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ReduceOnPlateau(**{"schedule": 0.1, **options})


def test_a_threshold_of_one_is_fine_where_it_means_something() -> None:
    assert ReduceOnPlateau(0.1, threshold=1.0, threshold_mode="abs").threshold == 1.0
    assert ReduceOnPlateau(0.1, threshold=1.0, mode="max").threshold == 1.0


INSIDE = {
    "in a product": {"lr": 2.0 * ReduceOnPlateau(0.1)},
    "in a sequence": {"lr": schedules.Warmup(0.1, 5) >> ReduceOnPlateau(0.1)},
    "as a momentum": {"lr": 0.1, "momentum": ReduceOnPlateau(0.1)},
}


@pytest.mark.parametrize("options", INSIDE.values(), ids=INSIDE)
def test_a_rule_anywhere_but_around_the_rate_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot stand here"):
        fastlr.SGD([torch.zeros(1)], **options)
    with pytest.raises(ValueError, match="cannot stand here"):
        fastlr.LRScheduler(torch.optim.SGD([torch.zeros(1)]), **options)
