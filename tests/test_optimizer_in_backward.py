"""An optimizer for each parameter, stepped by a hook as soon as the gradient is there."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from group_models import Transformer
from sgd_cases import assert_same_bits
from torch.multiprocessing.reductions import StorageWeakRef

import fastlr
from fastlr.schedules import Linear

UPDATES = 6
RULES: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": Linear(0.5, 0.9, 4), "weight_decay": 0.1, "max_grad_value": 1e-3, "ema_decay": 0.5},
    "AdamW": {"betas": (0.8, 0.99), "weight_decay": Linear(0.1, 0.0, 4)},
    "Lion": {"weight_decay": 0.1, "max_grad_value": 1e-3, "ema_decay": Linear(0.2, 0.9, 4)},
}
Optimizers = dict[str, torch.optim.Optimizer]


def make(rule: str, groups: list[dict[str, Any]]) -> Any:
    return getattr(fastlr, rule)(groups, lr=fastlr.warmup_cosine(0.01, UPDATES, warmup=2), **RULES[rule])


def backward(model: torch.nn.Module, update: int) -> None:
    tokens = torch.randint(0, 7, (2, 5), generator=torch.Generator().manual_seed(update))
    model(tokens).square().mean().backward()


def in_backward(
    model: torch.nn.Module, rule: str, before: Callable[[torch.Tensor], object] = lambda param: None
) -> Any:
    """An optimizer for each parameter of the model, which its hook steps; calls `before` first."""
    found = {}
    for name, param in model.named_parameters():
        found[name] = make(rule, [{"params": [param]}])

        def update(param: torch.Tensor, optimizer: Any = found[name]) -> None:
            before(param)
            optimizer.step()
            optimizer.zero_grad()

        param.register_post_accumulate_grad_hook(update)
    return found


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("rule", RULES)
def test_the_bits_are_those_of_an_ordinary_training(rule: str, tied: bool) -> None:
    torch.manual_seed(0)
    model = Transformer(tied=tied)
    ordinary = copy.deepcopy(model)
    optimizer = make(rule, [{"params": list(ordinary.parameters())}])
    optimizers = in_backward(model, rule)
    for update in range(UPDATES):
        backward(model, update)
        backward(ordinary, update)
        optimizer.step()
        optimizer.zero_grad()
    assert_same_bits(model.parameters(), ordinary.parameters(), "parameter")
    for name, param in ordinary.named_parameters():
        own = optimizers[name]
        assert own.step_count == UPDATES
        assert own.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        state, expected = own.state[own.param_groups[0]["params"][0]], optimizer.state[param]
        assert state.keys() == expected.keys()
        assert_same_bits(state.values(), expected.values(), name)


@pytest.mark.parametrize("rule", RULES)
def test_no_two_gradients_live_at_a_time(rule: str) -> None:
    model = Transformer()
    memory: list[StorageWeakRef] = []
    seen: list[int] = []

    def look(param: torch.Tensor) -> None:
        assert param.grad is not None
        memory.append(StorageWeakRef(param.grad.untyped_storage()))
        seen.append(sum(not reference.expired() for reference in memory))
        assert [p is param for p in model.parameters() if p.grad is not None] == [True]

    in_backward(model, rule, before=look)
    for update in range(2):
        backward(model, update)
    assert seen == [1] * (2 * len(list(model.parameters())))
    assert all(reference.expired() for reference in memory)


def test_each_call_of_backward_is_an_update() -> None:
    model = Transformer()
    optimizers = in_backward(model, "SGD")
    for update in range(3):
        backward(model, update)
    assert {optimizer.step_count for optimizer in optimizers.values()} == {3}


def test_a_parameter_without_a_gradient_falls_behind() -> None:
    used, unused = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    optimizers = in_backward(torch.nn.ModuleDict({"used": used, "unused": unused}), "SGD")
    used(torch.ones(1, 1)).sum().backward()
    assert {name: optimizer.step_count for name, optimizer in optimizers.items()} == {
        "used.weight": 1,
        "used.bias": 1,
        "unused.weight": 0,
        "unused.bias": 0,
    }


@pytest.mark.parametrize("rule", RULES)
def test_states_go_on_from_a_checkpoint(rule: str) -> None:
    torch.manual_seed(0)
    model = Transformer()
    undisturbed = copy.deepcopy(model)
    in_backward(undisturbed, rule)
    optimizers = in_backward(model, rule)
    for update in range(UPDATES):
        backward(undisturbed, update)
        if update < 3:
            backward(model, update)
    resumed = Transformer()
    resumed.load_state_dict(model.state_dict())
    for name, optimizer in in_backward(resumed, rule).items():
        optimizer.load_state_dict(optimizers[name].state_dict())
    for update in range(3, UPDATES):
        backward(resumed, update)
    assert_same_bits(resumed.parameters(), undisturbed.parameters(), "parameter")
