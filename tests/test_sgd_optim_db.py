"""torch's own table of SGD's constructor arguments, errors and schedulers (torch.testing's optim_db)."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from sgd_cases import assert_same_state, gradient_like, same_bits, torch_sgd
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

import fastlr

INFO = next(info for info in optim_db if info.optim_cls is torch.optim.SGD)
INPUTS = INFO.optim_inputs_func(device="cpu")
ERRORS = INFO.optim_error_inputs_func(device="cpu", dtype=torch.float32)
Schedulers = Sequence[Callable[[torch.optim.Optimizer], Any]]


def test_the_table_is_the_one_these_tests_were_written_for() -> None:
    """A torch release that adds cases shows up here, and its cases run below."""
    assert len(INPUTS) >= 9
    assert len(ERRORS) >= 7
    assert len(INFO.scheduler_inputs) >= 7


def model() -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(10, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3))


def closure(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], float]:
    data = torch.linspace(-1, 1, 40).reshape(4, 10)

    def loss() -> float:
        optimizer.zero_grad()
        result: torch.Tensor = net(data).square().sum()
        result.backward()
        return result.item()

    return loss


@pytest.mark.parametrize("flag", ["", "foreach", "fused", "differentiable"])
@pytest.mark.parametrize("case", INPUTS, ids=lambda case: case.desc)
def test_constructor_cases(case: Any, flag: str) -> None:
    """Each with every implementation flag: the bits are those of the plain loop."""
    sides = []
    for make, flags in ((fastlr.SGD, {flag: True} if flag else {}), (torch_sgd, {})):
        params = [torch.linspace(-1, 1, size) for size in (31, 1, 0, 257)]
        sides.append(make(params, **copy.deepcopy(case.kwargs), **flags))
        for step in range(10):
            for index, param in enumerate(params):
                param.grad = gradient_like(param, 100 * index + step)
            sides[-1].step()
    assert_same_state(*sides)


def error_parameters(case: Any) -> Any:
    params = case.optimizer_error_input.params
    return [torch.nn.Parameter(torch.ones(3, 2))] if params is None else copy.deepcopy(params)


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case.optimizer_error_input.desc)
def test_error_cases(case: Any) -> None:
    assert case.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR
    params, kwargs = error_parameters(case), case.optimizer_error_input.kwargs
    if issubclass(case.error_type, Warning):
        with pytest.warns(case.error_type, match=case.error_regex):
            fastlr.SGD(params, **kwargs)
    else:
        with pytest.raises(case.error_type, match=case.error_regex):
            fastlr.SGD(params, **kwargs)


def train_under(make: Callable[..., torch.optim.Optimizer], constructors: Schedulers, **options: Any) -> Any:
    """Some updates under torch's schedulers; returns the optimizer and every rate it used."""
    net = model()
    optimizer = make(net.parameters(), **options)
    schedulers = [constructor(optimizer) for constructor in constructors]
    rates = []
    for _ in range(25):
        rates.append(optimizer.param_groups[0]["lr"])
        loss = optimizer.step(closure(net, optimizer))
        for scheduler in schedulers:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(loss)
            else:
                scheduler.step()
    return optimizer, rates


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.01}], ids=["plain", "momentum"])
@pytest.mark.parametrize("index", range(len(INFO.scheduler_inputs)))
def test_torch_schedulers(index: int, options: dict[str, Any]) -> None:
    ours, rates = train_under(fastlr.SGD, INFO.scheduler_inputs[index], lr=0.05, **options)
    theirs, expected = train_under(torch_sgd, INFO.scheduler_inputs[index], lr=0.05, **options)
    assert rates == expected
    assert len(set(rates)) > 1
    assert_same_state(ours, theirs)


def rosenbrock_gradient(params: torch.Tensor, sparse: bool) -> torch.Tensor:
    x, y = params.detach()
    dense = torch.stack([-400.0 * x * (y - x**2) - 2 * (1 - x), 200.0 * (y - x**2)])
    return dense.to_sparse() if sparse else dense


def test_sparse_case() -> None:
    options, constructors = INFO.metadata_for_sparse
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.tensor([1.5, 1.5], dtype=torch.float64)
        optimizer = make([param], **options)
        schedulers = [constructor(optimizer) for constructor in constructors]
        for step in range(400):
            param.grad = rosenbrock_gradient(param, sparse=step % 2 == 0)
            optimizer.step()
            for scheduler in schedulers:
                scheduler.step()
        sides.append(param)
    assert same_bits(*sides)
