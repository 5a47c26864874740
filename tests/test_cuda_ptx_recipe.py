"""The PTX of the norm's and the recipe's kernels, executed without a GPU: the bits of the CPU core."""

import itertools
from typing import Any

import cuda_structs as cuda
import pytest
import torch
from kernel_ptx import kernels
from ptx_recipe import RecipeOptimizer
from ptx_step import DTYPES
from ptx_step_cases import CASES, set_gradient, tensor
from sgd_cases import NATIVE, assert_same_bits, gradient_like

pytestmark = pytest.mark.skipif(not NATIVE, reason="this CPU has no native update to compare with: it lacks FMA")

SIZES = [1, 31, 257, 1025, 2051, 0, 5]
# The groups of a model.
RECIPES: dict[str, list[dict[str, Any]]] = {
    "clipped and averaged": [
        {"max_grad_norm": 2.0, "ema_decay": 0.9, "zero_grad_in_step": True},
        {"max_grad_norm": 3.0, "norm_per_group": True, "master_weights": True, "ema_decay": 0.3},
        {"max_grad_norm": 1e6, "max_grad_value": 0.5, "state_dtype": torch.float32},
    ],
    "rounded": [
        {"master_weights": True, "max_grad_value": 0.5, "state_dtype": torch.bfloat16},
        {"stochastic_rounding": True, "rounding_seed": 2**53 - 1, "ema_decay": 0.9},
        {"max_grad_norm": 0.5, "stochastic_rounding": True, "zero_grad_in_step": True, "state_dtype": torch.float16},
    ],
}


def groups_of(rule: str, name: str, offset: int) -> list[dict[str, Any]]:
    turns, groups = itertools.count(), []
    for recipe in RECIPES[name]:
        kinds = [dtype for dtype in DTYPES if not (dtype == torch.float16 and recipe.get("stochastic_rounding"))]
        params = [tensor(SIZES[i % 7], kinds[i % len(kinds)], offset, i) for i in itertools.islice(turns, 5)]
        groups.append({"lr": 0.1, **CASES[rule].always, **CASES[rule].usual, **recipe, "params": params})
    return groups


def assert_same(device: RecipeOptimizer, optimizer: torch.optim.Optimizer, params: list[torch.Tensor]) -> None:
    assert_same_bits(device.params, params)
    assert_same_bits([p.grad for p in device.params], [p.grad for p in params])
    for k, name in enumerate(device.rule.states):
        expected = {i: state[name] for i, p in enumerate(params) if name in (state := optimizer.state.get(p, {}))}
        assert_same_bits([device.kept[i][k] for i in expected], list(expected.values()), name)
    for name, ours in (("master_param", device.masters), ("ema", device.averages)):
        found = {i: state[name] for i, p in enumerate(params) if name in (state := optimizer.state.get(p, {}))}
        assert_same_bits([ours[i] for i in found], list(found.values()), name)


RUNS = [("shipped", "clipped and averaged", 0, "together"), ("nvcc", "rounded", 1, "random")]


@pytest.mark.parametrize(("origin", "name", "offset", "order"), RUNS)
@pytest.mark.parametrize("rule", CASES)
def test_steps(origin: str, rule: str, name: str, offset: int, order: str) -> None:
    """The first update, one that the scaler skips, and a later one."""
    how: dict[str, Any] = {"offset": offset, "order": order, "seed": 5}
    device = RecipeOptimizer(kernels(origin), cuda.RULES[rule], groups_of(rule, name, offset), **how)
    optimizer: Any = CASES[rule].optimizer(groups_of(rule, name, offset), lr=0.1)
    params = [param for group in optimizer.param_groups for param in group["params"]]
    scale = torch.tensor(8.0)
    for step, found in enumerate((0.0, 1.0, 0.0)):
        for place, pair in enumerate(zip(device.params, params, strict=True)):
            for param in pair:
                set_gradient(param, gradient_like(param, 10 * place + step), offset)
        optimizer.grad_scale, optimizer.found_inf = scale, torch.tensor(found)
        optimizer.step()
        device.update(scale, torch.tensor(found))
        assert_same(device, optimizer, params)
        assert device.state.count == (step + 1 if step < 1 else step)
        norms = optimizer.grad_norm if isinstance(optimizer.grad_norm, tuple) else [optimizer.grad_norm]
        assert device.clips[2].norm == norms[-1]
