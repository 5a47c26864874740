"""torch's own tables of Adam's and AdamW's constructor arguments, errors and schedulers (torch.testing's optim_db)."""

import copy
from typing import Any

import pytest
import torch
from adam_cases import PAIRS, assert_same_state, few, give_all, needs_fma, train
from test_sgd_optim_db import error_parameters, train_under
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

INFOS = {info.optim_cls.__name__: info for info in optim_db if info.optim_cls in (torch.optim.Adam, torch.optim.AdamW)}
INPUTS = [(name, case) for name, info in INFOS.items() for case in info.optim_inputs_func(device="cpu")]
ERRORS = [
    (name, case)
    for name, info in INFOS.items()
    for case in info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
]
SCHEDULERS = [constructors for info in INFOS.values() for constructors in info.scheduler_inputs]


def test_the_tables_are_those_these_tests_were_written_for() -> None:
    """A torch release that adds cases shows up here, and its cases run below."""
    for name in PAIRS:
        assert sum(of == name for of, _ in INPUTS) >= 5
        assert sum(of == name for of, _ in ERRORS) >= 9
    assert len(SCHEDULERS) >= 8


@needs_fma
@pytest.mark.parametrize("flag", ["", "foreach", "fused"])
@pytest.mark.parametrize(("name", "case"), INPUTS, ids=lambda part: getattr(part, "desc", part))
def test_constructor_cases(name: str, case: Any, flag: str) -> None:
    """Each with every implementation flag: the bits are those of the plain loop."""
    sides = []
    for make, own in zip(PAIRS[name], ({flag: True} if flag else {}, {}), strict=True):
        sides.append(make(few(), **copy.deepcopy(case.kwargs), **own))
        train(sides[-1], range(10), give_all)
    assert_same_state(*sides)


@pytest.mark.parametrize(("name", "case"), ERRORS, ids=lambda part: getattr(part, "error_regex", part))
def test_error_cases(name: str, case: Any) -> None:
    assert case.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR
    expected = pytest.warns if issubclass(case.error_type, Warning) else pytest.raises
    with expected(case.error_type, match=case.error_regex):
        PAIRS[name][0](error_parameters(case), **case.optimizer_error_input.kwargs)


@needs_fma
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "amsgrad": True}], ids=["plain", "amsgrad"])
@pytest.mark.parametrize("constructors", SCHEDULERS, ids=range(len(SCHEDULERS)))
@pytest.mark.parametrize("name", PAIRS)
def test_torch_schedulers(name: str, constructors: Any, options: dict[str, Any]) -> None:
    (ours, rates), (theirs, expected) = (train_under(make, constructors, lr=0.05, **options) for make in PAIRS[name])
    assert rates == expected
    assert len(set(rates)) > 1
    assert_same_state(ours, theirs)
