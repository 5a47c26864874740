"""What the native core does not take goes through torch's operators: the results of torch's Adam and AdamW, or Lion."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import (
    OPTIONS,
    PAIRS,
    RULES,
    assert_same_state,
    describe,
    few,
    give_all,
    needs_fma,
    params_of,
    states,
    train,
)
from adam_standard import ExactRoots
from sgd_cases import assert_same_bits, filled, gradient_like, same_bits
from test_sgd_fallback import UNUSUAL, Pair
from torch import Tensor

import fastlr

PLAIN: dict[str, Any] = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


@pytest.mark.parametrize("options", OPTIONS, ids=describe)
@pytest.mark.parametrize("make", UNUSUAL, ids=lambda make: make.__name__)
@pytest.mark.parametrize("name", PAIRS)
def test_unusual_parameters_among_others(name: str, make: Callable[[int], Pair], options: dict[str, Any]) -> None:
    """The roots of torch's operators are made exact on both sides."""
    sides = []
    for optimizer_class in PAIRS[name]:
        params = [filled("31", torch.float32, 0), make(0)[0], filled("257", torch.float64, 1)]
        sides.append(optimizer_class(params, lr=0.1, **options))
        for step in range(5):
            give_all([params[0], params[2]], step)
            params[1].grad = make(step)[1]
            with ExactRoots():
                sides[-1].step()
    assert_same_state(*sides)


@pytest.mark.parametrize("make", UNUSUAL, ids=lambda make: make.__name__)
def test_unusual_parameters_of_lion(make: Callable[[int], Pair]) -> None:
    """Complex numbers are two real ones, and gaps between elements change nothing."""
    param = make(0)[0]
    real = torch.view_as_real if param.is_complex() else torch.clone
    plain = real(param).clone().contiguous()
    optimizers = [fastlr.Lion([p], lr=0.01, weight_decay=0.1) for p in (param, plain)]
    for step in range(5):
        param.grad = make(step)[1]
        plain.grad = real(param.grad).clone()
        for optimizer in optimizers:
            optimizer.step()
        assert same_bits(real(param).contiguous(), plain)
    assert optimizers[0].state[param]["exp_avg"].dtype == param.dtype


@pytest.mark.parametrize("name", RULES)
def test_sparse_gradients_are_refused_before_anything_changes(name: str) -> None:
    dense, param = torch.ones(3), torch.ones(4, 2)
    optimizer = RULES[name][0]([dense, param], lr=0.1)
    dense.grad, param.grad = torch.ones(3), torch.ones(4, 2).to_sparse()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        optimizer.step()
    assert bool((dense == 1).all())
    assert (optimizer.step_count, [dict(state) for state in states(optimizer)]) == (0, [{}, {}])
    param.grad = param.grad.to_dense()
    optimizer.step()
    assert optimizer.step_count == 1


def test_the_message_for_sparse_gradients_is_torch_s() -> None:
    messages = []
    for make in (fastlr.AdamW, torch.optim.AdamW):
        param = torch.ones(4, 2)
        param.grad = torch.ones(4, 2).to_sparse()
        with pytest.raises(RuntimeError) as caught:
            make([param]).step()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def hypergradients(make: Any, leaves: list[str], updates: int, **options: Any) -> list[Tensor]:
    """The parameter, and the loss's derivatives to hyper-parameters, through differentiable updates."""
    given = {"lr": 0.1, "weight_decay": 0.05, "beta1": 0.8, "beta2": 0.9}
    values: dict[str, Any] = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True) if name in leaves else value
        for name, value in given.items()
    }
    betas = (values.pop("beta1"), values.pop("beta2"))
    start = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    param = start.clone()
    optimizer = make([param], betas=betas, differentiable=True, **values, **options)
    for step in range(updates):
        param.grad = torch.tensor([0.5, 1.0 + step], dtype=torch.float64)
        optimizer.step()
    param.square().sum().backward()
    found = [value for value in (start, *values.values(), *betas) if isinstance(value, Tensor)]
    return [param.detach(), *[leaf.grad for leaf in found if leaf.grad is not None]]


LEAVES = [["lr"], ["beta1", "beta2"], ["lr", "beta1", "beta2"], []]


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("leaves", LEAVES, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_differentiable(name: str, leaves: list[str], amsgrad: bool) -> None:
    """torch's operators for amsgrad can be differentiated through one update only."""
    updates = 1 if amsgrad else 3
    sides = [hypergradients(make, leaves, updates, amsgrad=amsgrad) for make in (PAIRS[name][0], PLAIN[name])]
    assert_same_bits(*sides)
    assert len(sides[0]) == 2 + len(leaves)
    assert amsgrad or all(bool((tensor != 0).all()) for tensor in sides[0])


def test_differentiable_lion() -> None:
    """By hand: the signs are 1, -1 and constant, so dp/dlr and dp/dstart follow from p = p (1 - lr wd) - lr sign."""
    param, start_grad, lr_grad = hypergradients(fastlr.Lion, ["lr"], updates=3)
    lr, kept = 0.1, 1 - 0.1 * 0.05
    p, slope = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for _ in range(3):
        slope = slope * kept - 0.05 * p - 1
        p = p * kept - lr
    torch.testing.assert_close([param, start_grad], [p, 2 * p * kept**3])
    torch.testing.assert_close(lr_grad, (2 * p * slope).sum())


@pytest.mark.parametrize("name", RULES)
def test_another_device(name: str) -> None:
    param = torch.empty(31, device="meta")
    optimizer = RULES[name][0]([param], lr=0.1, weight_decay=0.1)
    param.grad = torch.empty(31, device="meta")
    for _ in range(2):
        optimizer.step()
    assert optimizer.state[param]["exp_avg"].device.type == "meta"
    assert optimizer.step_count == 2
    if name != "Lion":
        assert float(optimizer.state[param]["step"]) == 2


def test_amsgrad_switched_on_later() -> None:
    param = torch.arange(62.0)[::2]
    optimizer = fastlr.Adam([param], lr=0.1)
    for step in range(4):
        optimizer.param_groups[0]["amsgrad"] = step == 2
        param.grad = gradient_like(param, step)
        optimizer.step()
    assert list(optimizer.state[param]) == ["step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"]


@pytest.mark.parametrize("count", [40, 40.0, torch.tensor(40), torch.tensor([40.0])], ids=repr)
def test_a_count_that_was_written_is_gone_on_from(count: Any) -> None:
    param = torch.arange(14.0)[::2]
    optimizer = fastlr.Adam([param], lr=0.1)
    train(optimizer, range(1), give_all)
    optimizer.state[param]["step"] = count
    train(optimizer, range(1, 3), give_all)
    assert float(optimizer.state[param]["step"]) == 42


def test_capturable_on_the_cpu() -> None:
    """torch refuses it there; here it changes nothing, for what the core takes and for what it does not."""
    params = [torch.linspace(-1, 1, 14)[::2] for _ in range(2)]
    for param, capturable in zip(params, (False, True), strict=True):
        train(fastlr.Adam([param, *few()], lr=0.1, capturable=capturable), range(3), give_all)
    assert same_bits(*params)


FLAGS: list[dict[str, Any]] = [{"foreach": True}, {"foreach": False}, {"fused": True}, {"fused": False}, {}]


@needs_fma
@pytest.mark.parametrize("flags", FLAGS, ids=describe)
@pytest.mark.parametrize("name", PAIRS)
def test_implementation_flags_do_not_change_the_bits(name: str, flags: dict[str, Any]) -> None:
    make, standard = PAIRS[name]
    ours, theirs = make(few(), lr=0.1, **flags), standard(few(), lr=0.1)
    for optimizer in (ours, theirs):
        train(optimizer, range(5), give_all)
    assert_same_state(ours, theirs)


TENSORS: list[dict[str, Any]] = [
    {"lr": torch.tensor(0.05)},
    {"lr": torch.tensor([0.05], dtype=torch.float64)},
    {"betas": (torch.tensor(0.8), torch.tensor(0.95))},
    {"betas": (torch.tensor([0.8]), torch.tensor([0.95]))},
    {"weight_decay": torch.tensor(0.1)},
]


@pytest.mark.parametrize("options", TENSORS, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_tensors_as_hyper_parameters(name: str, options: dict[str, Any]) -> None:
    """Their numbers enter; torch rounds some intermediate results to the tensor's type."""
    # Not every torch takes betas of one dimension; it keeps them without.
    plain = {key: tuple(map(torch.squeeze, value)) if key == "betas" else value for key, value in options.items()}
    ours, theirs = PAIRS[name][0](few(), **options), PLAIN[name](few(), foreach=False, **plain)
    for optimizer in (ours, theirs):
        train(optimizer, range(10), give_all)
    torch.testing.assert_close(params_of(ours), params_of(theirs), rtol=2e-5, atol=2e-6)
    key = next(iter(options))
    kept, shape = ours.param_groups[0][key], theirs.param_groups[0][key]
    for a, b in zip(kept, shape, strict=True) if isinstance(kept, tuple) else [(kept, shape)]:
        assert same_bits(a, b), "the caller's tensors stand in the group"


@pytest.mark.parametrize("name", PAIRS)
def test_fused_refuses_what_is_not_native(name: str) -> None:
    param = torch.ones(3, dtype=torch.complex64)
    param.grad = torch.ones_like(param)
    native = torch.ones(5)
    native.grad = torch.ones(5)
    optimizer = PAIRS[name][0]([native, param], lr=0.1, fused=True)
    with pytest.raises(RuntimeError, match="fused"):
        optimizer.step()
    assert bool((native == 1).all())
    assert optimizer.step_count == 0


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_a_parameter_listed_twice_is_updated_and_counted_twice(name: str) -> None:
    sides = []
    for optimizer_class in PAIRS[name]:
        param, other = filled("31", torch.float32, 0), filled("257", torch.float32, 1)
        sides.append(optimizer_class([param, other, param], lr=0.1))
        for step in range(3):
            give_all([param, other], step)
            with ExactRoots():
                sides[-1].step()
    assert_same_state(*sides)
    assert [float(sides[0].state[param]["step"]) for param in params_of(sides[0])] == [6, 3, 6]
