"""fastlr.from_torch: what it reads goes on as the live scheduler does, from any step."""

import copy
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from compat_peers import make_scheduler
from torch.optim import lr_scheduler

import fastlr
from fastlr import compat
from fastlr.convert import from_torch
from fastlr.schedules import Constant, Cosine, Exponential, Linear, ReduceOnPlateau, Schedule, Table

EXPONENTIAL = ["ExponentialLR", {"gamma": 0.96}]
LINEAR = ["LinearLR", {"start_factor": 0.1, "total_iters": 10}]
STEP = ["StepLR", {"step_size": 9, "gamma": 0.5}]
COSINE = ["CosineAnnealingLR", {"T_max": 20, "eta_min": 0.001}]

SCHEDULERS: list[list[Any]] = [
    EXPONENTIAL,
    LINEAR,
    STEP,
    COSINE,
    ["MultiStepLR", {"milestones": [12, 3, 3], "gamma": 0.5}],
    ["ConstantLR", {"factor": 0.4, "total_iters": 6}],
    ["PolynomialLR", {"total_iters": 30, "power": 2.0}],
    ["CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2}],
    ["CyclicLR", {"base_lr": [0.02, 0.01], "max_lr": [0.2, 0.3], "step_size_up": 5, "step_size_down": 3}],
    ["CyclicLR", {"base_lr": 0.02, "max_lr": 0.2, "mode": "exp_range", "gamma": 0.98, "step_size_up": 4}],
    ["CyclicLR", {"base_lr": 0.02, "max_lr": 0.2, "step_size_up": 7, "cycle_momentum": False}],
    ["OneCycleLR", {"max_lr": [0.3, 0.1], "total_steps": 45}],
    ["OneCycleLR", {"max_lr": 0.3, "total_steps": 45, "three_phase": True, "anneal_strategy": "linear"}],
    ["SequentialLR", {"schedulers": [LINEAR, COSINE], "milestones": [10]}],
    ["SequentialLR", {"schedulers": [LINEAR, STEP, EXPONENTIAL], "milestones": [6, 22]}],
    ["ChainedScheduler", {"schedulers": [LINEAR, EXPONENTIAL]}],
    ["ChainedScheduler", {"schedulers": [["CosineAnnealingLR", {"T_max": 20}], EXPONENTIAL]}],
    ["ChainedScheduler", {"schedulers": [LINEAR, COSINE]}],
]
POSITIONS = (0, 1, 9, 10, 23, 40)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """torch's warnings that its schedulers are stepped without updates."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        warnings.filterwarnings("ignore", message="Detected call of|Seems like|The epoch parameter")
        yield


def two_groups(lr: Any = 0.1) -> torch.optim.Optimizer:
    groups = [{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1)], "lr": lr / 4}]
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)


def advanced(entry: list[Any], steps: int) -> Any:
    scheduler = make_scheduler(two_groups(), *entry)
    for _ in range(steps):
        scheduler.step()
    return scheduler


def goes_on(scheduler: Any, steps: int, name: str = "lr") -> list[list[float]]:
    """What the live scheduler itself gives from now on, one row a group."""
    groups = scheduler.optimizer.param_groups
    rows: list[list[float]] = [[] for _ in groups]
    for t in range(steps):
        if t > 0:
            scheduler.step()
        for row, group in zip(rows, groups, strict=True):
            row.append(float(group[name]))
    return rows


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("case", range(len(SCHEDULERS)))
def test_goes_on_as_the_scheduler_does(case: int, position: int) -> None:
    entry = SCHEDULERS[case]
    steps = 45 - position if entry[0] == "OneCycleLR" else 30
    scheduler = advanced(entry, position)
    before = copy.deepcopy(scheduler.state_dict()) if entry[0] != "OneCycleLR" else None
    schedules = from_torch(scheduler)
    assert len(schedules) == 2
    if before is not None:
        assert str(scheduler.state_dict()) == str(before)
    expected = goes_on(scheduler, steps)
    for s, row in zip(schedules, expected, strict=True):
        np.testing.assert_allclose(s(np.arange(steps)), row, rtol=1e-11, atol=1e-15)
        assert Schedule.from_json(s.to_json()) == s


@pytest.mark.parametrize("entry", [entry for entry in SCHEDULERS if entry[0] in ("CyclicLR", "OneCycleLR")])
def test_momentum_goes_along(entry: list[Any]) -> None:
    for position, steps in ((0, 40), (13, 30)):
        scheduler = advanced(entry, position)
        schedules = from_torch(scheduler)
        for s, row in zip(schedules, goes_on(scheduler, steps, "momentum"), strict=True):
            if entry[1].get("cycle_momentum", True):
                np.testing.assert_allclose(s.momentum(np.arange(steps)), row, rtol=1e-12)
            elif position > 0:
                assert not hasattr(s, "momentum")


def test_what_the_object_holds_counts() -> None:
    """A checkpoint of torch replaces T_max; the arguments of the constructor do not come back."""
    saved = advanced(["CosineAnnealingLR", {"T_max": 100}], 10)
    scheduler = advanced(["CosineAnnealingLR", {"T_max": 1000}], 0)
    scheduler.load_state_dict(saved.state_dict())
    scheduler.optimizer.load_state_dict(saved.optimizer.state_dict())
    assert scheduler.T_max == 100
    schedules = from_torch(scheduler)
    for s, row in zip(schedules, goes_on(scheduler, 60), strict=True):
        np.testing.assert_allclose(s(np.arange(60)), row, rtol=1e-11)


def test_a_sequence_that_resumes_wrongly_is_refused() -> None:
    optimizer = two_groups()
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    parts = [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=10), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    scheduler = lr_scheduler.SequentialLR(optimizer, parts, [10], last_epoch=4)
    assert scheduler.last_epoch == 5
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)  # that of step 0
    with pytest.raises(ValueError, match=r"The group's rate is not what its SequentialLR says: 0\.01\d*, not 0\.05"):
        from_torch(scheduler)
    schedules = from_torch(scheduler, steps=20)
    assert all(isinstance(s, Table) for s in schedules)
    for s, row in zip(schedules, goes_on(scheduler, 20), strict=True):
        assert s(np.arange(20)).tolist() == row


class Halving(lr_scheduler.ExponentialLR):
    def get_lr(self) -> list[Any]:
        return [group["lr"] / 2 for group in self.optimizer.param_groups]


UNREADABLE: dict[str, Any] = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1.0 / (1 + t)),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
    "subclass": lambda o: Halving(o, 0.5),
    "scale_fn": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 4, scale_fn=lambda c: 1.0 / c),
    "changed rate": lambda o: change(lr_scheduler.ExponentialLR(o, 0.9)),
    "no steps": lambda o: lr_scheduler.LinearLR(o, total_iters=0),
    "nested": lambda o: make_scheduler(o, "SequentialLR", {"schedulers": [SCHEDULERS[13], STEP], "milestones": [20]}),
    "lambda in a chain": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LambdaLR(o, lambda t: 0.5), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
}


def change(scheduler: Any) -> Any:
    scheduler.optimizer.param_groups[1]["lr"] *= 3
    return scheduler


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused_or_tabulated(name: str) -> None:
    scheduler = UNREADABLE[name](two_groups())
    scheduler.step()
    with pytest.raises(ValueError, match=r"\. .*[Gg]ive steps"):
        from_torch(scheduler)
    state = copy.deepcopy(scheduler.optimizer.param_groups)
    schedules = from_torch(scheduler, steps=25)
    assert str(scheduler.optimizer.param_groups) == str(state)
    for s, row in zip(schedules, goes_on(scheduler, 25), strict=True):
        np.testing.assert_allclose(s(np.arange(25)), row, rtol=1e-12)


def test_the_momentum_is_tabulated_too() -> None:
    scheduler = UNREADABLE["scale_fn"](two_groups())
    (s, _) = from_torch(scheduler, steps=30)
    np.testing.assert_allclose(s.momentum(np.arange(30)), goes_on(scheduler, 30, "momentum")[0], rtol=1e-12)


def test_tabulating_disturbs_nothing() -> None:
    calls = itertools.count()

    def noisy(t: int) -> float:
        next(calls)
        return float(torch.rand(1)) + np.random.rand()

    scheduler = lr_scheduler.LambdaLR(two_groups(), noisy)
    torch.manual_seed(3)
    np.random.seed(3)
    expected = float(torch.rand(1)), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from_torch(scheduler, steps=5)
    assert (float(torch.rand(1)), np.random.rand()) == expected
    assert next(calls) == 2 + 2 * 4  # both groups at construction, and at four more steps


def test_a_one_cycle_that_rebounds_is_refused() -> None:
    scheduler = advanced(["OneCycleLR", {"max_lr": 0.3, "total_steps": 10}], 10)  # the step that torch accepts
    with pytest.raises(ValueError, match="The group's rate is not what its OneCycleLR says"):
        from_torch(scheduler)


def test_a_group_that_came_later_is_refused() -> None:
    scheduler = advanced(STEP, 3)
    scheduler.optimizer.add_param_group({"params": [torch.zeros(1)], "lr": 0.3})
    with pytest.raises(ValueError, match=r"Group 2 came after its scheduler was made\. Make a new scheduler\."):
        from_torch(scheduler, steps=5)


def test_rates_in_tensors() -> None:
    scheduler = lr_scheduler.ExponentialLR(two_groups(torch.tensor(0.1)), 0.9)
    scheduler.step()
    for s, row in zip(from_torch(scheduler), goes_on(scheduler, 20), strict=True):
        np.testing.assert_allclose(s(np.arange(20)), row, rtol=1e-5)


def test_plateau() -> None:
    options: dict[str, Any] = {"factor": 0.5, "patience": 3, "mode": "max", "threshold_mode": "abs", "cooldown": 1}
    scheduler = lr_scheduler.ReduceLROnPlateau(two_groups(), min_lr=[0.01, 0.0], **options)
    first, second = from_torch(scheduler)
    assert first == compat.torch.ReduceLROnPlateau(0.1, min_lr=0.01, **options)
    assert isinstance(second, ReduceOnPlateau)
    scheduler.step(1.0)
    with pytest.raises(ValueError, match=r"has seen metrics: best 1\.0\. Start fastlr\.ReduceOnPlateau anew"):
        from_torch(scheduler, steps=5)


def test_own_scheduler() -> None:
    optimizer = two_groups()
    scheduler = fastlr.LRScheduler(optimizer, factor=Linear(1.0, 0.0, 10))
    scheduler.step(4)
    first, second = from_torch(scheduler)
    np.testing.assert_allclose(first(np.arange(8)), Linear(0.1, 0.0, 10)(np.arange(4, 12)))
    np.testing.assert_allclose(second(np.arange(8)), Linear(0.025, 0.0, 10)(np.arange(4, 12)))
    absolute = fastlr.LRScheduler(two_groups(), lr=[Cosine(0.1, 0.0, 9), Constant(0.5)])
    assert from_torch(absolute) == [Cosine(0.1, 0.0, 9), Constant(0.5)]


def test_own_scheduler_whose_parts_end_earlier() -> None:
    decaying = (Linear(1.0, 0.5, 4) * Exponential(0.1, 0.9)) >> Constant(0.01)
    product = Linear(0.1, 0.05, 4) * Exponential(1.0, 0.9)
    for s in (decaying, product):
        scheduler = fastlr.LRScheduler(two_groups(), lr=[s, s])
        scheduler.step(9)
        for rest in from_torch(scheduler):
            np.testing.assert_allclose(rest(np.arange(20)), s(np.arange(9, 29)), rtol=1e-14)
    hidden = fastlr.LRScheduler(two_groups(), lr=[product.per_epoch(2)] * 2)
    hidden.step(9)
    with pytest.raises(ValueError, match=r"goes on past its length, at step 9: .*Shift its parts"):
        from_torch(hidden, steps=5)


def test_a_tabulated_chain_that_is_over() -> None:
    chain = ["ChainedScheduler", {"schedulers": [EXPONENTIAL, COSINE]}]
    scheduler = advanced(chain, 10_001)
    with pytest.raises(ValueError, match="A schedule has no value: step 10001"):
        from_torch(scheduler)
    for s, row in zip(from_torch(scheduler, steps=30), goes_on(scheduler, 30), strict=True):
        np.testing.assert_allclose(s(np.arange(30)), row, rtol=1e-12)


def test_own_scheduler_over_an_own_optimizer() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = fastlr.SGD([weight], lr=Linear(1.0, 0.0, 10))
    for _ in range(3):
        weight.grad = torch.ones(1)
        optimizer.step()
    (s,) = from_torch(fastlr.LRScheduler(optimizer))
    np.testing.assert_array_equal(s(np.arange(9)), Linear(1.0, 0.0, 10)(np.arange(3, 12)))


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (object(), {}, TypeError, "No scheduler: object. Pass one of"),
    (None, {}, TypeError, "No scheduler: NoneType. Pass one of"),
    (advanced(STEP, 0), {"steps": 0}, ValueError, "steps is out of range: 0. Use"),
    (advanced(STEP, 0), {"steps": 2.0}, TypeError, "steps is not an integer: 2.0. Pass"),
    (advanced(STEP, 0), {"updates": 5}, ValueError, "This scheduler counts by itself: updates=5. Leave"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_arguments(case: int) -> None:
    scheduler, kwargs, error, message = BAD[case]
    with pytest.raises(error, match=message):
        from_torch(scheduler, **kwargs)
