"""Compiled steps while gradients, parameters, state or the optimizer itself come and go."""

import copy
import gc
import pickle
import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compile_cases import RULES, SCHEDULE, Backend, Sides, assert_same_entries
from sgd_cases import assert_same_bits, gradient_like, same_bits
from torch import Tensor

import fastlr
from fastlr.optim.link import optimizer_of

both = pytest.mark.parametrize("backend", ["eager", "aot_eager"])


@pytest.fixture(autouse=True)
def no_earlier_code() -> None:
    torch._dynamo.reset()


@both
@pytest.mark.parametrize("rule", ["momentum", "adamw"])
def test_gradients_that_come_late(rule: str, backend: str) -> None:
    sides = Sides(RULES[rule], backend=backend, anew=True)
    for t, absent in enumerate([(1,), (1,), (), (0,), (0, 1), (), ()]):
        sides.step(t, absent=absent)
    assert len(sides.backend.calls()) == 4  # one for each set of parameters with gradients


def test_no_state_without_a_gradient() -> None:
    sides = Sides(RULES["adamw"])
    sides.step(0, absent=(1,))
    optimizer, (first, second) = sides.optimizers[0], sides.params[0]
    assert first in optimizer.state
    assert second not in optimizer.state


@both
def test_a_gradient_that_is_there_but_was_cleared_in_the_graph(backend: str) -> None:
    def call(optimizer: Any, params: list[Tensor]) -> None:
        params[1].grad = None
        optimizer.step()

    sides = Sides(RULES["adamw"], backend=backend, call=call)
    for t in range(3):
        sides.step(t)
    assert [entry.split(":")[0] for entry in sides.backend.calls()[0].args[5].split()] == ["0"]  # type: ignore[union-attr]


@both
def test_momentum_that_starts_later(backend: str) -> None:
    sides = Sides(lambda params: fastlr.SGD(params, lr=0.1), backend=backend, anew=True)
    for t in range(6):
        sides.each(lambda optimizer, _, t=t: optimizer.param_groups[0].update(momentum=0.9 if t in (2, 3, 5) else 0.0))
        sides.step(t)
    assert [call.args[5] for call in sides.backend.calls()] == ["0: 1:", "0:momentum_buffer 1:momentum_buffer"]


@both
def test_the_first_update_of_momentum_stays_one(backend: str) -> None:
    """With dampening it differs from the others; a trace, a load and a reset of the state all come before one."""
    sides = Sides(lambda params: fastlr.SGD(params, lr=0.1, momentum=0.9, dampening=0.5), backend=backend)
    fresh = copy.deepcopy(sides.optimizers[0].state_dict())
    for t in range(6):
        sides.step(t)
        if t == 2:
            sides.each(lambda optimizer, _: optimizer.load_state_dict(copy.deepcopy(fresh)))
    assert len(sides.backend.graphs) == 1


def replace_all(optimizer: Any, params: list[Tensor]) -> None:
    optimizer.state = defaultdict(dict)


def replace_tensors(optimizer: Any, params: list[Tensor]) -> None:
    for name, value in optimizer.state[params[0]].items():
        optimizer.state[params[0]][name] = torch.ones_like(value)


def replace_entries(optimizer: Any, params: list[Tensor]) -> None:
    optimizer.state[params[0]] = dict(optimizer.state[params[0]])
    optimizer.state[params[1]] = copy.deepcopy(optimizer.state[params[1]])


def add_entries(optimizer: Any, params: list[Tensor]) -> None:
    optimizer.state[torch.ones(1)] = {"foreign": 3}


def load(optimizer: Any, params: list[Tensor]) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def clear(optimizer: Any, params: list[Tensor]) -> None:
    optimizer.state.clear()


@both
@pytest.mark.parametrize("change", [replace_all, replace_tensors, replace_entries, add_entries, load, clear])
@pytest.mark.parametrize("rule", ["momentum", "amsgrad"])
def test_state_that_others_replace(rule: str, change: Callable[[Any, list[Tensor]], None], backend: str) -> None:
    sides = Sides(RULES[rule], backend=backend)
    for t in range(6):
        sides.step(t)
        if t in (1, 3):
            sides.each(change)
    assert len(sides.backend.graphs) == 1


@both
def test_entries_of_others_beside_the_state(backend: str) -> None:
    sides = Sides(RULES["adamw"], backend=backend)
    sides.step(0)
    torch._dynamo.reset()
    sides.each(lambda optimizer, params: optimizer.state[params[0]].update({"of a, b:": torch.ones(2)}))
    for t in range(3):
        sides.step(t)
    assert sides.backend.calls()[-1].args[5] == "0:exp_avg,exp_avg_sq 1:exp_avg,exp_avg_sq"


@both
def test_a_buffer_that_the_operators_of_torch_make(backend: str) -> None:
    def make(params: Any) -> Any:
        return fastlr.SGD(params, lr=torch.tensor(0.1, requires_grad=True), momentum=0.9, dampening=0.5)

    sides = Sides(make, backend=backend)
    for t in range(3):
        sides.step(t)
    assert len(sides.backend.graphs) == 1


def test_a_load_that_lacks_state() -> None:
    sides = Sides(RULES["adamw"])
    empty = copy.deepcopy(sides.optimizers[0].state_dict())
    sides.step(0)
    sides.each(lambda optimizer, _: optimizer.load_state_dict(copy.deepcopy(empty)))
    for t in range(3):
        sides.step(t)
    assert len(sides.backend.graphs) == 1


@both
def test_another_group(backend: str) -> None:
    added = [torch.linspace(0, 1, 5) for _ in range(2)]
    sides = Sides(RULES["adamw"], backend=backend, anew=True)
    sides.step(0)
    for optimizer, params, param in zip(sides.optimizers, sides.params, added, strict=True):
        optimizer.add_param_group({"params": [param], "lr": 0.5})
        params.append(param)
    for t in range(3):
        sides.step(t)
    assert len(sides.backend.graphs) == 2


def test_two_optimizers_of_one_function() -> None:
    backend = Backend()
    step = torch.compile(lambda optimizer: optimizer.step(), fullgraph=True, backend=backend)
    sides = [Sides(RULES[rule]) for rule in ("momentum", "adamw")]
    for t in range(3):
        for side in sides:
            side.compiled = lambda side=side: step(side.optimizers[0])
            side.anew = True
            side.step(t)
    assert len(backend.graphs) == 2


def test_copies_have_their_own_parameters() -> None:
    sides = Sides(RULES["momentum"])
    sides.step(0)
    (original, _), (params, _) = sides.optimizers, sides.params
    for made in (copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))):
        other = made(original)
        before = [param.clone() for param in params]
        moved = other.param_groups[0]["params"]
        for param in moved:
            param.grad = gradient_like(param, 1)
        torch.compile(lambda other=other: other.step(), fullgraph=True, backend="eager")()
        assert_same_bits(params, before)
        assert not same_bits(moved[0], params[0])
        assert other.step_count == 2
        torch._dynamo.reset()


def test_the_optimizer_is_not_kept_alive() -> None:
    param = torch.ones(3)
    param.grad = torch.ones(3)
    optimizer = fastlr.SGD([param], lr=SCHEDULE, momentum=0.9)
    backend = Backend()
    torch.compile(lambda optimizer: optimizer.step(), backend=backend)(optimizer)
    handle = backend.calls()[0].args[4]
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None
    with pytest.raises(RuntimeError, match=rf"The optimizer of a compiled step is gone: {handle}. Keep a reference"):
        optimizer_of(handle)  # type: ignore[arg-type]


@both
def test_what_the_step_refuses(backend: str) -> None:
    sides = Sides(lambda params: fastlr.SGD(params, lr=0.1, momentum=0.9), backend=backend)
    sides.step(0)
    optimizer, params = sides.optimizers[0], sides.params[0]
    before = [param.clone() for param in params]
    state = {param: copy.deepcopy(optimizer.state[param]) for param in params}
    optimizer.param_groups[0]["lr"] = float("nan")
    with pytest.raises(ValueError, match="Invalid lr in a parameter group: nan"):
        sides.compiled()
    assert torch.is_grad_enabled()
    assert_same_bits(params, before)
    assert optimizer.step_count == 1
    assert [*map(id, optimizer.param_groups[0]["params"])] == [*map(id, params)]
    for param in params:
        assert_same_entries(optimizer.state[param], state[param])
    sides.each(lambda optimizer, _: optimizer.param_groups[0].update(lr=0.1))
    sides.step(1)
