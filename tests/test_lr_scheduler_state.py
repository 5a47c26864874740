"""State dicts of fastlr.LRScheduler: plain, loadable in any order with the optimizer's, exact from any update on."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from driven_cases import single
from files import through_a_file
from sgd_spy import Spy, applied_rates, groups

import fastlr
from fastlr import schedules

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)
OTHER = schedules.Linear(0.5, 0.25, 30)
RULE = schedules.ReduceOnPlateau(WARM, factor=0.5, patience=0)
MAKERS: dict[str, Any] = {"torch": torch.optim.SGD, "fastlr": fastlr.SGD}
BOTH = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
GIVEN: dict[str, dict[str, Any]] = {
    "absolute": {"lr": WARM},
    "list": {"lr": [WARM, 0.3]},
    "factor": {"factor": OTHER},
    "all": {"factor": [WARM, OTHER], "momentum": schedules.Linear(0.0, 0.9, 9), "weight_decay": 0.01},
    "rule": {"lr": RULE},
}


class Run:
    """An optimizer of two groups and its scheduler; with a rule, a metric follows every second update."""

    def __init__(self, make: Any, given: dict[str, Any], **options: Any) -> None:
        given_groups, self.spies = groups({}, {})
        self.optimizer: Any = make(given_groups, lr=0.4)
        self.scheduler = fastlr.LRScheduler(self.optimizer, **given, **options)
        self.reports = isinstance(given.get("lr"), schedules.ReduceOnPlateau)

    def train(self, updates: range) -> list[Any]:
        rows: list[Any] = []
        for t in updates:
            self.optimizer.state.clear()
            rows.append((applied_rates(self.optimizer, *self.spies), self.scheduler.get_last_lr()))
            self.scheduler.step()
            if self.reports and t % 2:
                self.scheduler.report(1.0)
            rows.append([(group["lr"], group["momentum"]) for group in self.optimizer.param_groups])
        return rows

    def states(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return through_a_file(self.optimizer.state_dict()), through_a_file(self.scheduler.state_dict())


def optimizer_first(make: Any, given: Any, states: Any) -> Run:
    run = Run(make, given)
    run.optimizer.load_state_dict(states[0])
    run.scheduler.load_state_dict(states[1])
    return run


def scheduler_first(make: Any, given: Any, states: Any) -> Run:
    run = Run(make, given)
    run.scheduler.load_state_dict(states[1])
    run.optimizer.load_state_dict(states[0])
    return run


def constructed_after_the_optimizer_was_loaded(make: Any, given: Any, states: Any) -> Run:
    run = Run(make, given)
    run.optimizer = make([{"params": [spy.param]} for spy in run.spies], lr=0.4)
    run.optimizer.load_state_dict(states[0])
    run.scheduler = fastlr.LRScheduler(run.optimizer, **given)
    run.scheduler.load_state_dict(states[1])
    return run


ORDERS: list[Callable[..., Run]] = [optimizer_first, scheduler_first, constructed_after_the_optimizer_was_loaded]


@BOTH
@pytest.mark.parametrize("resumed", ORDERS)
@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("at", [0, 1, 4, 7])
def test_resuming_at_any_update(make: Any, resumed: Any, name: str, at: int) -> None:
    whole = Run(make, GIVEN[name])
    first = Run(make, GIVEN[name])
    rows = whole.train(range(10))
    assert first.train(range(at)) == rows[: 2 * at]
    states = first.states()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = resumed(make, GIVEN[name], states)
    assert second.scheduler.last_epoch == at
    assert second.scheduler.get_last_lr() == first.scheduler.get_last_lr()
    assert second.train(range(at, 10)) == rows[2 * at :]


@pytest.mark.parametrize("resumed", ORDERS)
def test_a_state_taken_between_an_update_and_its_step(resumed: Any) -> None:
    first = Run(torch.optim.SGD, {"lr": WARM})
    first.train(range(3))
    applied_rates(first.optimizer, *first.spies)
    second = resumed(torch.optim.SGD, {"lr": WARM}, first.states())
    assert second.scheduler.get_last_lr() == [WARM(3)] * 2
    second.scheduler.step()
    assert second.train(range(4, 5))[0][0] == [WARM(4)] * 2


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and plain(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(plain(entry) for entry in value)
    return value is None or type(value) in (str, int, float, bool)


@BOTH
@pytest.mark.parametrize("name", GIVEN)
def test_states_are_plain_values_that_later_steps_leave_alone(make: Any, name: str) -> None:
    run = Run(make, GIVEN[name])
    run.train(range(3))
    state = run.scheduler.state_dict()
    assert plain(state)
    before = copy.deepcopy(state)
    run.train(range(3, 6))
    assert state == before


REPLACED = "replaces"


@BOTH
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("optimizer_is_first", [False, True])
@pytest.mark.parametrize(("old", "new"), [({"lr": WARM}, {"lr": OTHER}), ({"factor": WARM}, {"factor": OTHER})])
def test_a_checkpoint_s_other_schedule_wins_with_a_warning(
    make: Any, keep: bool, optimizer_is_first: bool, old: Any, new: Any
) -> None:
    optimizer, spy, scheduler = single(make, **old)
    for _ in range(3):
        applied_rates(optimizer, spy)
        scheduler.step()
    states = optimizer.state_dict(), scheduler.state_dict()
    second, other, resumed = single(make, **new)
    options = {"keep_schedule": True} if keep else {}
    loads = [
        lambda: second.load_state_dict(copy.deepcopy(states[0]), **(options if make is fastlr.SGD else {})),
        lambda: resumed.load_state_dict(copy.deepcopy(states[1]), **options),
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for load in loads if optimizer_is_first else loads[::-1]:
            load()
    assert [REPLACED in str(warning.message) for warning in caught] == ([] if keep else [True])
    follows = (new if keep else old).get("lr") or (new if keep else old)["factor"]
    base = 1.0 if "lr" in old else 0.4
    resumed.step()
    for t in range(3, 6):
        assert applied_rates(second, other) == [follows(t) * base]
        resumed.step()


@BOTH
@pytest.mark.parametrize("resumed", ORDERS)
def test_another_factor_in_the_checkpoint_multiplies_the_initial_rate_once(make: Any, resumed: Any) -> None:
    old, new = schedules.Linear(0.5, 0.1, 9), schedules.Linear(0.25, 0.1, 9)
    first = Run(make, {"factor": old})
    first.train(range(3))
    with pytest.warns(UserWarning, match=REPLACED):
        second = resumed(make, {"factor": new}, first.states())
    second.scheduler.step()
    assert second.train(range(3, 4))[0][0] == [old(3) * 0.4] * 2


def test_the_warning_shows_both() -> None:
    _, _, scheduler = single(torch.optim.SGD, lr=WARM, momentum=0.5)
    _, _, other = single(torch.optim.SGD, lr=OTHER)
    with pytest.warns(UserWarning, match="keep_schedule=True") as caught:
        other.load_state_dict(scheduler.state_dict())
    assert f"{WARM!r} in place of {OTHER!r} (lr)" in str(caught[0].message)
    assert "in place of None (momentum)" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_state_of_torch_s_scheduler_gives_the_count() -> None:
    theirs = torch.optim.SGD([torch.zeros(1)], lr=0.4)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.9)
    for _ in range(4):
        theirs.step()
        scheduler.step()
    optimizer, spy, ours = single(torch.optim.SGD, factor=OTHER)
    ours.load_state_dict(scheduler.state_dict())
    assert applied_rates(optimizer, spy) == [OTHER(4) * 0.4]


def test_a_checkpoint_of_torch_s_goes_on_under_a_schedule_of_fastlr() -> None:
    optimizer, spy, ours = single(fastlr.SGD, lr=WARM)
    param = torch.zeros_like(spy.param)
    param.grad = torch.zeros_like(param)
    theirs = torch.optim.SGD([param], lr=0.4, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(theirs, 0.9)
    for _ in range(4):
        theirs.step()
        scheduler.step()
    optimizer.load_state_dict(theirs.state_dict())  # which has no count
    ours.load_state_dict(scheduler.state_dict())
    assert ours.get_last_lr() == [WARM(4)]
    assert applied_rates(optimizer, spy) == [WARM(4)]
    assert optimizer.step_count == 5


@BOTH
def test_last_epoch_starts_part_way(make: Any) -> None:
    spy = Spy()
    optimizer = make([{"params": [spy.param], "initial_lr": 0.4}], lr=0.3)
    scheduler = fastlr.LRScheduler(optimizer, factor=OTHER, last_epoch=6)
    for t in range(7, 10):
        assert scheduler.last_epoch == t
        assert applied_rates(optimizer, spy) == [OTHER(t) * 0.4]
        scheduler.step()


def test_last_epoch_that_contradicts_the_optimizer_s_count_is_refused() -> None:
    optimizer = fastlr.SGD([torch.zeros(1)], lr=WARM)
    optimizer.step_count = 5
    with pytest.raises(ValueError, match="contradicts the optimizer's count of updates: 5"):
        fastlr.LRScheduler(optimizer, lr=OTHER, last_epoch=6)
    assert optimizer.param_groups[0]["lr_schedule"] == WARM
    assert fastlr.LRScheduler(optimizer, lr=OTHER, last_epoch=4).get_last_lr() == [OTHER(5)]


def changed(**entries: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda state: {**state, **entries}


BAD: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "no count": lambda state: {key: value for key, value in state.items() if key != "last_epoch"},
    "a negative count": changed(last_epoch=-1),
    "a float count": changed(last_epoch=2.0),
    "pending": changed(pending="1"),
    "more groups": changed(base_lrs=[0.4, 0.4]),
    "a bad state of a rule": changed(plateau=[[2.0, 0.0, 0, 0]]),
    "an unknown name": changed(schedules={"dampening": WARM.to_json()}),
    "a bad schedule": changed(schedules={"lr": '{"kind": "Nothing"}'}),
    "no JSON": changed(schedules={"lr": "WARM"}),
    "a negative rate": changed(schedules={"lr": schedules.Constant(-0.1).to_json()}),
    "another number of groups": changed(schedules={"lr": [WARM.to_json()] * 2}),
    "what the group has not": changed(schedules={"beta1": WARM.to_json()}),
    "past an end": changed(schedules={"lr": OTHER.past_end("error").to_json()}, last_epoch=99),
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_bad_state_is_refused_and_nothing_is_changed(change: Any) -> None:
    optimizer, spy, scheduler = single(torch.optim.SGD, lr=WARM)
    for _ in range(2):
        applied_rates(optimizer, spy)
        scheduler.step()
    before = scheduler.state_dict(), dict(optimizer.param_groups[0])
    with pytest.raises((ValueError, TypeError)):
        scheduler.load_state_dict(change(scheduler.state_dict()))
    assert (scheduler.state_dict(), optimizer.param_groups[0]) == before
    assert applied_rates(optimizer, spy) == [WARM(2)]
