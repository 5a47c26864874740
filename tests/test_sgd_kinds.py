"""Kinds of tensors that are not what their memory says: lazily negated, zero, fake, subclasses, wrappers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sgd_cases import assert_same_state, gradient_like, same_bits, torch_sgd
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import return_and_correct_aliasing

import fastlr

OPTIONS: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}


class Named(torch.nn.Parameter):
    """A subclass without behaviour of its own."""


class Wrapper(Tensor):
    """A tensor without memory, around another: what quantised and distributed tensors are."""

    within: Tensor

    @staticmethod
    def __new__(cls: "type[Wrapper]", inner: Tensor) -> "Wrapper":
        made: Wrapper = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype
        )
        return made

    def __init__(self, inner: Tensor) -> None:
        self.within = inner

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        def inner(x: Any) -> Any:
            return x.within if isinstance(x, Wrapper) else x

        def wrap(x: Any) -> Any:
            return Wrapper(x) if isinstance(x, Tensor) else x

        args_in, kwargs = torch.utils._pytree.tree_map(inner, (args, kwargs or {}))
        out = torch.utils._pytree.tree_map(wrap, func(*args_in, **kwargs))
        return return_and_correct_aliasing(func, args, kwargs, out)


def negated(values: Tensor) -> Tensor:
    """Equal to `values`, with the negated numbers in memory."""
    lazy: Tensor = torch._neg_view(-values)
    assert lazy.is_neg()
    return lazy


def imaginary_part_of_a_conjugate(values: Tensor) -> Tensor:
    """The way to such a tensor through public functions; its elements have gaps between them."""
    lazy = torch.complex(torch.ones_like(values), -values).conj().imag
    assert lazy.is_neg()
    return lazy


def zero(values: Tensor) -> Tensor:
    made: Tensor = torch._efficientzerotensor(values.shape, dtype=values.dtype)
    return made


LAZY: list[Callable[[Tensor], Tensor]] = [negated, imaginary_part_of_a_conjugate, zero]


@pytest.mark.parametrize("lazy", LAZY, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_lazy_gradients(lazy: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.linspace(-1, 1, 31, dtype=dtype)
        sides.append(make([param], **OPTIONS))
        for step in range(4):
            grad = gradient_like(param, step)
            param.grad = lazy(grad) if step % 2 else grad
            sides[-1].step()
    assert_same_state(*sides)


@pytest.mark.parametrize("lazy", [negated, imaginary_part_of_a_conjugate], ids=lambda f: f.__name__)
def test_lazily_negated_parameters_and_buffers(lazy: Callable[[Tensor], Tensor]) -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        params = [lazy(torch.linspace(-1, 1, 31)), torch.linspace(-1, 1, 31)]
        sides.append(make(params, **OPTIONS))
        for step in range(4):
            if step == 2:
                sides[-1].state[params[1]]["momentum_buffer"] = lazy(torch.linspace(1, 2, 31))
            for param in params:
                param.grad = torch.linspace(0, step + 1, 31)
            sides[-1].step()
    for a, b in zip(*(optimizer.param_groups[0]["params"] for optimizer in sides), strict=True):
        assert same_bits(a.resolve_neg(), b.resolve_neg())


def test_gradients_of_a_real_parameter_through_complex_numbers() -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.nn.Parameter(torch.linspace(-1, 1, 31))
        sides.append(make([param], **OPTIONS))
        for _ in range(3):
            sides[-1].zero_grad()
            z = torch.complex(torch.ones(31), param)
            (z.conj() * (z + 2) * torch.linspace(0, 1, 31)).imag.square().sum().backward()
            sides[-1].step()
    assert_same_state(*sides)


def test_parameter_subclass() -> None:
    sides = []
    for make, kind in ((fastlr.SGD, Named), (torch_sgd, torch.nn.Parameter)):
        param = kind(torch.linspace(-1, 1, 31))
        sides.append(make([param], **OPTIONS))
        for step in range(3):
            param.grad = gradient_like(param.detach().as_subclass(Tensor), step)
            sides[-1].step()
        assert type(param) is kind
    assert_same_state(*sides)


@pytest.mark.parametrize("offset", [0, 3])  # from which on a wrapper reports an address, which is none
def test_wrapper_subclass(offset: int) -> None:
    values = torch.linspace(-1, 1, 31 + offset)
    wrapped, plain = Wrapper(values.clone()[offset:]), values[offset:]
    optimizers = fastlr.SGD([wrapped], **OPTIONS), torch_sgd([plain], **OPTIONS)
    for step in range(3):
        plain.grad = gradient_like(plain, step)
        wrapped.grad = Wrapper(plain.grad.clone())
        for optimizer in optimizers:
            optimizer.step()
        assert same_bits(wrapped.within, plain)


def test_fake_tensors() -> None:
    with FakeTensorMode():
        param = torch.empty(31)
        param.grad = torch.empty(31)
        optimizer = fastlr.SGD([param], **OPTIONS)
        optimizer.step()
        optimizer.step()
    assert optimizer.state[param]["momentum_buffer"].shape == (31,)
    assert optimizer.step_count == 2


def test_weights_under_a_parametrisation_and_weight_norm() -> None:
    torch.manual_seed(0)
    model = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(5, 3))
    twin = copy.deepcopy(model)
    optimizers = fastlr.SGD(model.parameters(), **OPTIONS), torch_sgd(twin.parameters(), **OPTIONS)
    for net, optimizer in zip((model, twin), optimizers, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.ones(2, 5)).square().sum().backward()
            optimizer.step()
    assert_same_state(*optimizers)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_step_inside_torch_compile() -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        param = torch.linspace(-1, 1, 31)
        optimizer = make([param], lr=0.1)
        step = torch.compile(optimizer.step, backend="eager")
        for count in range(3):
            param.grad = gradient_like(param, count)
            step()
        sides.append(optimizer)
    assert_same_state(*sides)
    assert sides[0].step_count == 3
