"""SequentialLR and ChainedScheduler of fastlr.compat.torch against torch's."""

from typing import Any

import numpy as np
import pytest
from compat_peers import assert_follows, torch_values
from hypothesis import given
from hypothesis import strategies as st

from fastlr import compat


def slower(t: int) -> float:
    return 0.95


LINEAR = ["LinearLR", {"start_factor": 0.1, "total_iters": 10}]
CONSTANT = ["ConstantLR", {"factor": 0.4, "total_iters": 6}]
EXPONENTIAL = ["ExponentialLR", {"gamma": 0.96}]
STEP = ["StepLR", {"step_size": 9, "gamma": 0.5}]
MULTISTEP = ["MultiStepLR", {"milestones": [4, 15], "gamma": 0.3}]
POLYNOMIAL = ["PolynomialLR", {"total_iters": 30, "power": 1.5}]
COSINE = ["CosineAnnealingLR", {"T_max": 20}]
COSINE_MIN = ["CosineAnnealingLR", {"T_max": 20, "eta_min": 0.03}]
RESTARTS = ["CosineAnnealingWarmRestarts", {"T_0": 8, "T_mult": 2, "eta_min": 0.001}]
CYCLIC = ["CyclicLR", {"base_lr": 0.02, "max_lr": 0.2, "step_size_up": 5}]
LAMBDA = ["LambdaLR", {"lr_lambda": lambda t: 1.0 / (1.0 + t), "steps": 90}]
MULTIPLICATIVE = ["MultiplicativeLR", {"lr_lambda": slower, "steps": 90}]

SEQUENTIAL: list[tuple[list[Any], list[int]]] = [
    ([COSINE], []),
    ([LINEAR, COSINE], [10]),
    ([LINEAR, COSINE_MIN], [7]),
    ([LINEAR, COSINE_MIN], [25]),
    ([CONSTANT, STEP], [6]),
    ([COSINE, COSINE_MIN, EXPONENTIAL], [30, 55]),
    ([EXPONENTIAL, RESTARTS], [12]),
    ([RESTARTS, POLYNOMIAL], [50]),
    ([LINEAR, CYCLIC], [10]),
    ([CYCLIC, LINEAR], [21]),
    ([STEP, MULTISTEP, LAMBDA], [20, 40]),
    ([LAMBDA, MULTIPLICATIVE], [13]),
    ([MULTIPLICATIVE, LINEAR, MULTIPLICATIVE], [9, 30]),
    ([LINEAR, STEP, COSINE], [0, 12]),
    ([LINEAR, STEP, COSINE], [12, 12]),
]


@pytest.mark.parametrize("case", range(len(SEQUENTIAL)))
def test_sequential(case: int) -> None:
    schedulers, milestones = SEQUENTIAL[case]
    kwargs = {"schedulers": schedulers, "milestones": milestones}
    s = compat.torch.SequentialLR(0.1, **kwargs)
    assert_follows(s, torch_values("SequentialLR", kwargs, 90))


def test_sequential_momentum_stands_still_outside_its_cycle() -> None:
    kwargs = {"schedulers": [LINEAR, CYCLIC, EXPONENTIAL], "milestones": [10, 33]}
    s = compat.torch.SequentialLR(0.1, **kwargs)
    assert_follows(s, torch_values("SequentialLR", kwargs, 60))
    assert_follows(s.momentum, torch_values("SequentialLR", kwargs, 60, key="momentum"), base=1.0)


CHAINED: list[list[Any]] = [
    [EXPONENTIAL],
    [CONSTANT, EXPONENTIAL],
    [LINEAR, STEP, MULTISTEP],
    [LINEAR, POLYNOMIAL],
    [["LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 12}], EXPONENTIAL],
    [MULTIPLICATIVE, CONSTANT],
    [EXPONENTIAL, COSINE],
    [COSINE, EXPONENTIAL],
    [EXPONENTIAL, COSINE, ["ExponentialLR", {"gamma": 0.9}], LINEAR],
    [LINEAR, COSINE],
    [COSINE, MULTISTEP],
    [COSINE, ["PolynomialLR", {"total_iters": 15}]],
    [STEP, COSINE],
    [LINEAR, COSINE_MIN],
    [COSINE_MIN, MULTISTEP, CONSTANT],
    [EXPONENTIAL, COSINE_MIN],
    [COSINE_MIN, STEP],
    [COSINE, COSINE_MIN],
    [EXPONENTIAL, RESTARTS],
    [RESTARTS, EXPONENTIAL],
    [RESTARTS, LINEAR, STEP],
    [LAMBDA, MULTISTEP],
    [CYCLIC, EXPONENTIAL],
    [["ChainedScheduler", {"schedulers": [LINEAR, STEP]}], EXPONENTIAL],
    [["SequentialLR", {"schedulers": [LINEAR, COSINE_MIN], "milestones": [10]}], EXPONENTIAL],
    [EXPONENTIAL, ["SequentialLR", {"schedulers": [CONSTANT, STEP], "milestones": [7]}]],
]


@pytest.mark.parametrize("case", range(len(CHAINED)))
def test_chained(case: int) -> None:
    kwargs = {"schedulers": CHAINED[case]}
    s = compat.torch.ChainedScheduler(0.1, **kwargs)
    assert_follows(s, torch_values("ChainedScheduler", kwargs, 90), atol=3e-15)
    if any(name == "CyclicLR" for name, _ in CHAINED[case]):
        assert_follows(s.momentum, torch_values("ChainedScheduler", kwargs, 90, key="momentum"), base=1.0)


def test_a_cyclic_that_is_not_first_begins_at_its_own_base() -> None:
    s = compat.torch.ChainedScheduler(0.1, [EXPONENTIAL, CYCLIC])
    expected = torch_values("ChainedScheduler", {"schedulers": [EXPONENTIAL, CYCLIC]}, 90)
    assert (expected[0], s(0)) == (0.1, 0.02)
    assert_follows(s.shift(-1), expected[1:])


def test_order_matters_past_the_cosine() -> None:
    cosine = ["CosineAnnealingLR", {"T_max": 5}]
    decay = ["ExponentialLR", {"gamma": 0.9}]
    assert compat.torch.ChainedScheduler(0.1, [decay, cosine])(6) == pytest.approx(0.00955, abs=5e-6)
    assert compat.torch.ChainedScheduler(0.1, [cosine, decay])(6) == pytest.approx(0.00859, abs=5e-6)


@given(
    gammas=st.lists(st.floats(0.9, 1.0), min_size=1, max_size=3),
    place=st.integers(0, 3),
    period=st.integers(1, 25),
    end=st.sampled_from([0.0, 0.02]),
    warm=st.integers(1, 24),
)
def test_chained_cosine(gammas: list[float], place: int, period: int, end: float, warm: int) -> None:
    chain: list[Any] = [["ExponentialLR", {"gamma": gamma}] for gamma in gammas]
    chain.append(["LinearLR", {"start_factor": 0.2, "total_iters": warm}])
    chain.insert(place, ["CosineAnnealingLR", {"T_max": period, "eta_min": end}])
    s = compat.torch.ChainedScheduler(0.1, chain)
    assert_follows(s, torch_values("ChainedScheduler", {"schedulers": chain}, 70), atol=1e-14)


def test_a_chain_without_formula_raises_past_its_table() -> None:
    s = compat.torch.ChainedScheduler(0.1, [EXPONENTIAL, COSINE_MIN], steps=50)
    expected = torch_values("ChainedScheduler", {"schedulers": [EXPONENTIAL, COSINE_MIN]}, 51)
    assert_follows(s, expected)
    with pytest.raises(ValueError, match="step 51"):
        s(51)
    assert compat.torch.ChainedScheduler(0.1, [EXPONENTIAL, COSINE_MIN]).length == 10_000


def test_a_one_cycle_does_not_change_the_base_of_the_others() -> None:
    kwargs = {
        "schedulers": [["ConstantLR", {"factor": 0.5}], ["OneCycleLR", {"max_lr": 0.1, "total_steps": 20}]],
        "milestones": [5],
    }
    assert torch_values("SequentialLR", kwargs, 1) == pytest.approx([0.002])
    s = compat.torch.SequentialLR(0.1, **kwargs)
    assert s(0) == 0.05
    assert_follows(s.shift(-5), torch_values("SequentialLR", kwargs, 24)[5:])


def test_a_nested_sequence_skips_nothing() -> None:
    inner = ["SequentialLR", {"schedulers": [LINEAR, EXPONENTIAL], "milestones": [10]}]
    kwargs = {"schedulers": [inner, COSINE], "milestones": [30]}
    single = compat.torch.SequentialLR(0.1, [LINEAR, EXPONENTIAL, COSINE], [10, 30])
    s = compat.torch.SequentialLR(0.1, **kwargs)
    steps = np.arange(90)
    np.testing.assert_array_equal(s(steps), single(steps))
    assert torch_values("SequentialLR", kwargs, 10)[9] == pytest.approx(s(10)) != s(9)  # torch hands over too early


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("SequentialLR", {"schedulers": [], "milestones": []}, r"There is no scheduler: \[\]. List"),
    ("SequentialLR", {"schedulers": [LINEAR, STEP], "milestones": []}, "milestones do not fit the schedules: 0 for 2."),
    ("SequentialLR", {"schedulers": [LINEAR, STEP, COSINE], "milestones": [9, 5]}, "out of order: 5 after 9. Sort"),
    ("SequentialLR", {"schedulers": [LINEAR, STEP], "milestones": [-1]}, "milestones entry is out of range: -1. Use"),
    (
        "SequentialLR",
        {"schedulers": [["ReduceLROnPlateau", {}]], "milestones": []},
        "'ReduceLROnPlateau'. Use Chain|Use",
    ),
    ("ChainedScheduler", {"schedulers": ["StepLR"]}, "No scheduler: 'StepLR'. Give a list"),
    ("ChainedScheduler", {"schedulers": [["NoLR", {}]]}, "No scheduler that can be combined: 'NoLR'. Use"),
    ("ChainedScheduler", {"schedulers": [EXPONENTIAL, COSINE_MIN], "steps": 0}, "steps is out of range: 0. Use"),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_arguments(case: int) -> None:
    name, kwargs, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(compat.torch, name)(0.1, **kwargs)
