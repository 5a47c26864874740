"""Replicas that diverge or are halved away stop, and the others go on as if those had never been."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sweep_cases import STEPS, alone, batches, model_of
from torch import nn

import fastlr
from fastlr.searching.arrivals import Arrivals
from fastlr.sweeping import halving, running, sweep, training
from fastlr.sweeping.calibration import ONE_BY_ONE
from fastlr.sweeping.settings import ENGINES

CROSS_ENTROPY = nn.functional.cross_entropy
WITH_BUFFERS = "normed"


class Quadratic(nn.Module):
    """Gradient descent of ``sum(curvature * w * w) / 2`` is stable below the rate 2 / max(curvature)."""

    def __init__(self, curvatures: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(len(curvatures), dtype=torch.float64))
        self.register_buffer("curvatures", torch.tensor(curvatures, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.curvatures * self.weight.square()).sum() / 2 * x.mean()


ONES = [(torch.ones(1, dtype=torch.float64), torch.zeros(1))]


def output(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return value


@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "batched"])
def test_the_largest_stable_rate_of_a_quadratic(engine: str) -> None:
    sharpest = 7.0
    rates = [factor * 2.0 / sharpest for factor in (0.1, 0.5, 0.99, 1.01, 1.5, 4.0)]
    found = sweep(Quadratic([0.5, sharpest]), output, ONES, rates, steps=60, optimizer=fastlr.SGD, engine=engine)
    assert found.largest_stable == rates[2]
    assert [step is None for step in found.diverged] == [True] * 3 + [False] * 3
    for place, rate in enumerate(rates):
        last = 60 if found.diverged[place] is None else found.diverged[place] + 1
        steps = np.arange(last)[:, np.newaxis]
        curvatures = np.array([0.5, sharpest])
        exact = (curvatures * (1.0 - rate * curvatures) ** (2 * steps)).sum(axis=1) / 2
        np.testing.assert_allclose(found.losses[:last, place], exact, rtol=1e-10)
        assert np.isnan(found.losses[last:, place]).all()


@pytest.mark.parametrize("clip", [None, 100.0])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_others_go_on_as_before(engine: str, clip: float | None) -> None:
    model, loader = model_of(WITH_BUFFERS, torch.float64)
    rates = [0.01, 0.1, 1e200, 1e250]
    options: dict[str, Any] = {} if clip is None else {"max_grad_norm": clip}
    with np.errstate(all="raise"):
        found = sweep(model, CROSS_ENTROPY, loader, rates, steps=STEPS, engine=engine, **options)
    assert found.diverged[:2] == (None, None)
    assert None not in found.diverged[2:]
    for place in (0, 1):
        expected = alone(
            model,
            CROSS_ENTROPY,
            loader,
            lambda p, r=rates[place]: torch.optim.SGD(p, lr=r, momentum=0.9),
            clip=clip,
        )
        np.testing.assert_allclose(found.losses[:, place], expected, rtol=1e-9)


class Kinked(nn.Module):
    """Below 0 its loss is finite, and its gradient is not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.weight + self.weight.abs()).sqrt().sum() * x.mean()


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "batched"])
def test_a_gradient_that_is_not_finite_holds_up_no_other_replica(
    engine: str, later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if later:
        as_on_a_gpu(monkeypatch)
    # Where clipping by norm skips a step, it is that of all groups.
    found = sweep(
        Kinked(), output, ONES, [0.1, 100.0], steps=6, optimizer=fastlr.SGD, max_grad_norm=0.25, engine=engine
    )
    expected = alone(Kinked(), output, ONES, lambda p: torch.optim.SGD(p, lr=0.1), 6, clip=0.25)
    np.testing.assert_allclose(found.losses[:, 0], expected, rtol=1e-9)
    assert found.diverged == (None, 1)
    assert found.losses[1, 1] == 0.0
    assert found.best == 0.1


class Late(Arrivals):
    """What a GPU does: losses come three steps later, unless they are waited for."""

    def arrived(self, *, wait: bool = False) -> list[torch.Tensor]:
        found = []
        while self._waiting and (wait or len(self._waiting) > 3):
            found.append(self._waiting.popleft()[0])
        return found


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "Arrivals", Late)
    monkeypatch.setattr(training.Training, "_on_host", lambda *_: False)
    monkeypatch.setattr(running, "BlockedTraining", training.Training)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("engine", ENGINES)
def test_losses_that_come_later_change_nothing(
    engine: str, clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, loader = model_of(WITH_BUFFERS, torch.float64)
    given: dict[str, Any] = {"steps": STEPS, "engine": engine, "halving": 2, "validation": loader, "validate_every": 4}
    if clip is not None:
        given["max_grad_norm"] = clip
    at_once = sweep(model, CROSS_ENTROPY, loader, [0.01, 0.05, 0.1, 1e200, 1e250], **given)
    as_on_a_gpu(monkeypatch)
    later = sweep(model, CROSS_ENTROPY, loader, [0.01, 0.05, 0.1, 1e200, 1e250], **given)
    np.testing.assert_allclose(later.losses, at_once.losses, rtol=1e-9)
    assert later.diverged == at_once.diverged
    assert later.dropped == at_once.dropped
    np.testing.assert_allclose(later.validation[-1], at_once.validation[-1], rtol=1e-9)


def test_all_may_diverge() -> None:
    model, loader = model_of("mlp")
    found = sweep(model, CROSS_ENTROPY, loader, [1e30, 1e35], steps=STEPS)
    assert found.best is None
    assert found.best_index is None
    assert found.largest_stable is None
    assert found.basin is None
    assert found.confidences == {}
    assert None not in found.diverged
    assert "all 2 have diverged" in str(found)


def test_without_a_limit_only_what_is_not_finite_stops() -> None:
    rates = [0.1, 2.2]
    limited = sweep(Quadratic([1.0]), output, ONES, rates, steps=30, optimizer=fastlr.SGD)
    unlimited = sweep(Quadratic([1.0]), output, ONES, rates, steps=30, optimizer=fastlr.SGD, freeze_above=None)
    assert limited.diverged[1] is not None
    assert unlimited.diverged == (None, None)


@pytest.mark.parametrize(
    ("losses", "start", "factor", "expected"),
    [
        ([0.1, 2.0, 9.0, 11.0], 5.0, 10.0, [False, False, False, True]),  # slow ones near the start go on
        ([1.0, 9.0, 11.0], 0.5, 10.0, [False, False, True]),
        ([-1.0, 50.0], 1.0, 10.0, [False, False]),  # no ratio to a loss below 0
        ([np.nan, 1.0, np.inf, -np.inf], 1.0, None, [True, False, True, True]),
        ([np.nan, np.nan], 1.0, 10.0, [True, True]),
    ],
)
def test_what_counts_as_diverged(losses: list[float], start: float, factor: float | None, expected: list[bool]) -> None:
    assert halving.diverged(np.array(losses), start, factor).tolist() == expected


@pytest.mark.parametrize(
    ("steps", "count", "factor", "expected"),
    [
        (200, 16, 2, {25: 8, 50: 4, 100: 2}),
        (200, 16, 4, {50: 4}),
        (90, 27, 3, {10: 9, 30: 3}),
        (200, 64, 2, {25: 8, 50: 4, 100: 2}),  # rungs before a tenth of the steps are left out
        (5, 4, 2, {2: 2}),
        (100, 2, 2, {}),
        (100, 1, 2, {}),
    ],
)
def test_rungs(steps: int, count: int, factor: int, expected: dict[int, int]) -> None:
    assert halving.rungs(steps, count, factor) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_halving_frees_the_work_and_changes_nothing_for_the_rest(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, loader = model_of(WITH_BUFFERS, torch.float64)
    rates = [0.001, 0.003, 0.01, 0.03, 0.05, 0.1, 0.2, 0.3]
    whole = sweep(model, CROSS_ENTROPY, loader, rates, steps=40, engine=engine)
    sizes = []
    update = fastlr.SGD._update

    def counted(self: Any, *args: Any) -> Any:
        sizes.append(sum(group["params"][0].grad is not None for group in self.param_groups))
        assert len(self.state) <= sizes[-1] * len(self.param_groups[0]["params"])
        return update(self, *args)

    monkeypatch.setattr(fastlr.SGD, "_update", counted)
    halved = sweep(model, CROSS_ENTROPY, loader, rates, steps=40, engine=engine, halving=2)
    if engine in ONE_BY_ONE:  # which have an optimizer for each
        assert sizes == [1] * (8 * 10 + 4 * 10 + 2 * 20)
    else:
        assert sizes == [8] * 10 + [4] * 10 + [2] * 20
    assert sorted(step or 40 for step in halved.dropped) == [10] * 4 + [20] * 2 + [40] * 2
    for place, step in enumerate(halved.dropped):
        np.testing.assert_allclose(halved.losses[:step, place], whole.losses[:step, place], rtol=1e-9)
        assert np.isnan(halved.losses[40 if step is None else step :, place]).all()
    worse = halving.scores(whole.losses, 10)
    assert {place for place, step in enumerate(halved.dropped) if step == 10} == set(np.argsort(worse)[4:].tolist())
    assert halved.best in [rates[place] for place, step in enumerate(halved.dropped) if step is None]


def test_halving_goes_by_the_validation_loss_where_there_is_one() -> None:
    model, loader = model_of("mlp", torch.float64)
    flipped = [(x.double(), 2 - y) for x, y in batches()]
    found = sweep(
        model,
        CROSS_ENTROPY,
        loader,
        [0.001, 0.01, 0.1, 0.3],
        steps=20,
        halving=2,
        validation=flipped,
        validate_every=5,
    )
    kept = [place for place, step in enumerate(found.dropped) if step is None]
    assert kept == sorted(np.argsort(found.validation[found.validated.index(10)])[:2].tolist())
