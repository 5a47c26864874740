"""The range test: its rates, and its losses against trainings written out by hand."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from find_cases import ONE, Quadratic, batches, itself, network
from torch import nn
from torch.nn.functional import cross_entropy

import fastlr
from fastlr.finder import find_lr
from fastlr.schedules import Cosine, Linear

LOADER = batches()


@pytest.mark.parametrize(("low", "high", "steps"), [(1e-7, 10.0, 100), (1e-3, 2e-3, 2), (3e-5, 0.7, 31), (1, 2, 257)])
def test_rates_grow_by_one_factor_from_low_to_high(low: float, high: float, steps: int) -> None:
    rates = find_lr(Quadratic(1e-9), itself, ONE, torch.optim.SGD, low, high, steps).rates
    assert (rates[0], rates[-1], rates.size) == (low, high, steps)
    with mpmath.workdps(40):
        ratio = mpmath.mpf(high) / mpmath.mpf(low)
        expected = [float(low * ratio ** (mpmath.mpf(t) / (steps - 1))) for t in range(steps)]
    assert rates.tolist() == pytest.approx(expected, rel=3e-16)


@pytest.mark.parametrize("make", [torch.optim.SGD, fastlr.SGD])
@pytest.mark.parametrize("curvature", [0.5, 3.0, 40.0])
def test_a_quadratic_has_the_losses_and_diverges_where_theory_says(make: Any, curvature: float) -> None:
    result = find_lr(Quadratic(curvature), itself, ONE, make, 1e-4, 100.0, 60, stop=None)
    factors = np.cumprod(1 - curvature * np.geomspace(1e-4, 100.0, 60))
    expected = curvature / 2 * np.concatenate([[1.0], factors]) ** 2
    assert [result.curves[0].start, *result.losses] == pytest.approx(expected.tolist(), rel=1e-9)
    lowest = int(np.argmin(result.losses))
    assert result.rates[lowest] < 2 / curvature < result.rates[lowest + 1]  # the largest rate that still converges


@pytest.mark.parametrize("curvature", [0.5, 40.0])
def test_on_a_quadratic_all_suggestions_converge_and_the_test_stops_soon(curvature: float) -> None:
    result = find_lr(Quadratic(curvature), itself, ONE, fastlr.SGD, 1e-5, 100.0, 100)
    for method in ("valley", "steepest", "slide", "minimum"):
        rate = result.suggest(method).lr
        assert rate is not None
        assert 0.01 / curvature < rate < 2 / curvature, method
    assert result.stopped is not None
    assert result.rates[result.curves[0].losses.size - 1] < 20 / curvature


def by_hand(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ratios: list[float],
    rates: Any,
    accumulate: int = 1,
) -> list[float]:
    """The losses before each update and after the last, each the mean of `accumulate` batches."""
    model.train()
    stream, losses = itertools.cycle(LOADER), []
    for rate in [*rates, None]:
        optimizer.zero_grad()
        for inputs, target in itertools.islice(stream, accumulate):
            loss = cross_entropy(model(inputs), target)
            (loss / accumulate).backward()
            losses.append(loss.item())
        if rate is not None:
            for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
                group["lr"] = float(rate * ratio)
            optimizer.step()
    return np.array(losses).reshape(-1, accumulate).mean(axis=1).tolist()


def two_groups(model: nn.Module, first: Any, second: Any) -> list[dict[str, Any]]:
    params = [param for param in model.parameters() if param.requires_grad]
    return [{"params": params[:2], **first}, {"params": params[2:], **second}]


# What find_lr is given, what to train by hand with, and the groups' parts of the rate.
Make = Callable[[nn.Module], Any]
OPTIMIZERS: list[tuple[Make, Make, list[float]]] = [
    (
        lambda model: torch.optim.AdamW(two_groups(model, {"lr": 1e-3}, {"lr": 4e-3})),
        lambda model: torch.optim.AdamW(two_groups(model, {}, {})),
        [0.25, 1.0],
    ),
    (
        lambda model: fastlr.AdamW(two_groups(model, {"lr_scale": 0.1}, {}), lr=Cosine(0.3, 0.0, 50)),
        lambda model: torch.optim.AdamW(two_groups(model, {}, {})),
        [0.1, 1.0],
    ),
    (  # schedules that begin at 0 and are over soon; momentum holds its present value
        lambda model: fastlr.SGD(
            model.parameters(), lr=Linear(0.0, 1.0, 3), momentum=Linear(0.5, 0.9, 2), weight_decay=Cosine(0.01, 0.0, 5)
        ),
        lambda model: torch.optim.SGD(model.parameters(), momentum=0.5, weight_decay=0.01),
        [1.0],
    ),
    (lambda _: None, lambda model: torch.optim.SGD(model.parameters(), momentum=0.9), [1.0]),
    (lambda _: torch.optim.RMSprop, lambda model: torch.optim.RMSprop(model.parameters()), [1.0]),
    (
        lambda model: torch.optim.Adam(two_groups(model, {"lr": 0.0}, {"lr": 0.0})),
        lambda model: torch.optim.Adam(two_groups(model, {}, {})),
        [1.0, 1.0],
    ),
    (
        lambda model: torch.optim.Adam(model.parameters(), lr=torch.tensor(0.3)),
        lambda model: torch.optim.Adam(model.parameters()),
        [1.0],
    ),
]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(("given", "written_out", "ratios"), OPTIMIZERS)
def test_losses_are_those_of_a_training_by_hand(
    given: Make, written_out: Make, ratios: list[float], accumulate: int
) -> None:
    model = network()
    twin = copy.deepcopy(model)
    optimizer = given(model)
    torch.manual_seed(3)
    result = find_lr(model, cross_entropy, LOADER, optimizer, 1e-4, 0.1, 25, accumulate=accumulate, stop=None)
    torch.manual_seed(3)
    expected = by_hand(twin, written_out(twin), ratios, result.rates, accumulate)
    assert [result.curves[0].start, *result.losses] == pytest.approx(expected, rel=1e-4)
    assert result.group_ratios == pytest.approx(tuple(ratios))
    assert result.restarts == ((26 * accumulate - 1) // 7,)


def test_a_test_begins_where_the_optimizer_is() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for inputs, target in LOADER:
        optimizer.zero_grad()
        cross_entropy(model(inputs), target).backward()
        optimizer.step()
        scheduler.step()
    twin = copy.deepcopy(model)
    copied = torch.optim.SGD(twin.parameters(), momentum=0.9)
    copied.load_state_dict(optimizer.state_dict())
    torch.manual_seed(3)
    result = find_lr(model, cross_entropy, LOADER, optimizer, 1e-4, 0.1, 20, stop=None)
    torch.manual_seed(3)
    assert [result.curves[0].start, *result.losses] == pytest.approx(
        by_hand(twin, copied, [1.0], result.rates), rel=1e-5
    )


def test_the_same_call_gives_the_same_losses_and_repeats_differ() -> None:
    shuffled = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.cat([x for x, _ in LOADER]), torch.cat([y for _, y in LOADER])),
        batch_size=13,
        shuffle=True,
        generator=torch.Generator().manual_seed(1),
    )
    model = network()
    one, two = (find_lr(model, cross_entropy, shuffled, steps=20) for _ in range(2))
    assert np.array_equal(one.losses, two.losses, equal_nan=True)
    many = find_lr(model, cross_entropy, shuffled, steps=60, repeats=3)
    again = find_lr(model, cross_entropy, shuffled, steps=60, repeats=3)
    assert many.to_json() == again.to_json()
    assert len({curve.losses.tobytes() for curve in many.curves}) == 3
    assert not np.array_equal(find_lr(model, cross_entropy, shuffled, steps=20, seed=9).losses, one.losses)
    suggestion = many.suggest()
    assert suggestion.spread is not None
    assert suggestion.lr is not None
    assert suggestion.spread[0] <= suggestion.lr <= suggestion.spread[1]
    assert suggestion.confidence == pytest.approx(suggestion.spread[0] / suggestion.spread[1])


@pytest.mark.parametrize("make", [torch.optim.Adam, fastlr.AdamW])
def test_rates_that_are_tensors_are_filled_in_place(make: Any) -> None:
    model, lr, seen = network(), torch.tensor(0.3), []
    optimizer = make(model.parameters(), lr=lr)
    optimizer.register_step_pre_hook(lambda *_: seen.append((optimizer.param_groups[0]["lr"] is lr, lr.item())))
    result = find_lr(model, cross_entropy, LOADER, optimizer, steps=5)
    assert [one for one, _ in seen] == [True] * 5
    assert [rate for _, rate in seen] == pytest.approx(result.rates, rel=1e-7)
    assert lr.item() == pytest.approx(0.3)


def test_autocast_and_scaler_train_in_half_precision() -> None:
    model, seen = network(), []
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    model[4].register_forward_hook(lambda *args: seen.append(args[2].dtype))
    half = find_lr(model, cross_entropy, LOADER, autocast=torch.bfloat16, scaler=scaler, steps=60, seed=1)
    context = find_lr(model, cross_entropy, LOADER, autocast=torch.autocast("cpu", torch.bfloat16), steps=60, seed=1)
    assert set(seen) == {torch.bfloat16}
    full = find_lr(model, cross_entropy, LOADER, steps=60, seed=1)
    assert half.losses[:30] == pytest.approx(full.losses[:30], rel=0.02)
    assert half.losses[:30] == pytest.approx(context.losses[:30], rel=0.02)
    assert not np.array_equal(half.losses[:30], full.losses[:30])


def test_batches_of_other_kinds() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return self.net(x) * scale

    one = torch.ones(())
    loaders: list[tuple[list[Any], dict[str, Any]]] = [
        ([(x, one, y) for x, y in LOADER], {"loss_fn": cross_entropy}),
        ([{"x": x, "scale": one, "labels": y} for x, y in LOADER], {"loss_fn": cross_entropy}),
        ([[x, y] for x, y in LOADER], {"loss_fn": None, "forward": lambda m, b: cross_entropy(m(b[0], one), b[1])}),
    ]
    model = Two()
    found = [find_lr(model, loader=loader, steps=10, **options) for loader, options in loaders]
    assert np.array_equal(found[0].losses, found[1].losses)
    assert np.array_equal(found[0].losses, found[2].losses)
    assert np.isfinite(found[0].losses).all()


@pytest.mark.parametrize("training", [True, False])
def test_a_model_trains_in_train_mode_and_keeps_its_own_flags_if_it_does_already(training: bool) -> None:
    model = network().train(training)
    model[1].eval()
    seen: list[tuple[bool, bool]] = []
    model.register_forward_hook(lambda *_: seen.append((model.training, model[1].training)))
    find_lr(model, cross_entropy, LOADER, steps=3)
    assert set(seen) == {(True, not training)}
    assert (model.training, model[1].training) == (training, False)


def test_an_optimizer_whose_step_needs_a_closure() -> None:
    model = Quadratic(2.0)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)
    result = find_lr(model, itself, ONE, optimizer, 1e-3, 0.5, 20, stop=None)
    assert result.losses[-1] < result.losses[0] < result.curves[0].start
    assert optimizer.state[model.w] == {}


def test_inside_of_no_grad_and_inference_mode() -> None:
    model = network()
    with torch.no_grad():
        one = find_lr(model, cross_entropy, LOADER, steps=5, seed=0)
    with torch.inference_mode():
        two = find_lr(model, cross_entropy, LOADER, steps=5, seed=0)
    assert np.array_equal(one.losses, two.losses)


def test_a_loss_with_parameters_of_its_own_is_trained_and_restored() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            seen.append(self.scale.item())
            return cross_entropy(output * self.scale, target)

    seen: list[float] = []
    loss_fn = Scaled()
    find_lr(network(), loss_fn, LOADER, low=1e-2, high=0.1, steps=5)
    assert len(set(seen)) == 6
    assert loss_fn.scale.item() == 1.0
