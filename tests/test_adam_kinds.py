"""Kinds of tensors that are not what their memory says, under Adam, AdamW and Lion."""

from collections.abc import Callable

import pytest
import torch
from adam_cases import RULES
from adam_standard import ExactRoots
from sgd_cases import gradient_like, same_bits
from test_sgd_kinds import LAZY, Named, Wrapper
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode


def beside(name: str, param: Tensor, plain: Tensor, give: Callable[[Tensor, int], Tensor]) -> None:
    """Both get equal gradients, the first one through `give`: afterwards both are equal."""
    optimizers = [RULES[name][0]([p], lr=0.1, weight_decay=0.01) for p in (param, plain)]
    for step in range(4):
        plain.grad = gradient_like(plain, step)
        param.grad = give(plain.grad.clone(), step)
        for optimizer in optimizers:
            with ExactRoots():
                optimizer.step()


@pytest.mark.parametrize("lazy", LAZY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", RULES)
def test_lazy_gradients(name: str, lazy: Callable[[Tensor], Tensor]) -> None:
    param, plain = (torch.linspace(-1, 1, 31) for _ in range(2))
    if lazy.__name__ == "zero":
        optimizer = RULES[name][0]([param], lr=0.1, weight_decay=0.0)
        param.grad = lazy(torch.ones(31))
        optimizer.step()
    else:
        beside(name, param, plain, lambda grad, step: lazy(grad) if step % 2 else grad)
    assert same_bits(param, plain)


@pytest.mark.parametrize("name", RULES)
def test_parameter_subclass(name: str) -> None:
    param, plain = Named(torch.linspace(-1, 1, 31)), torch.linspace(-1, 1, 31)
    beside(name, param, plain, lambda grad, _: grad)
    assert type(param) is Named
    assert same_bits(param, plain)


@pytest.mark.parametrize("name", RULES)
def test_wrapper_subclass(name: str) -> None:
    param, plain = Wrapper(torch.linspace(-1, 1, 31)), torch.linspace(-1, 1, 31)
    beside(name, param, plain, lambda grad, _: Wrapper(grad))
    torch.testing.assert_close(param.within, plain, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", RULES)
def test_fake_tensors(name: str) -> None:
    with FakeTensorMode():
        param = torch.empty(31)
        optimizer = RULES[name][0]([param], lr=0.1)
        for _ in range(2):
            param.grad = torch.empty(31)
            optimizer.step()
    assert optimizer.state[param]["exp_avg"].shape == (31,)
