"""bfloat16 and float16 under Adam, AdamW and Lion: float32 arithmetic, each stored value rounded once."""

from typing import Any

import pytest
import torch
from adam_cases import EVERY, RULES, describe, follow, give_all, needs_fma, parameters, params_of
from sgd_cases import gradient_like, same_bits, set_gradients
from test_sgd_16bit import HALVES, all_finite_patterns
from torch import Tensor

import fastlr

pytestmark = needs_fma


@pytest.mark.parametrize("case", EVERY, ids=describe)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_combination_on_every_layout(case: tuple[str, dict[str, Any]], dtype: torch.dtype) -> None:
    optimizer = follow(case[0], parameters(dtype), set_gradients, updates=8, lr=0.03, **case[1])
    averages = [tensor for state in optimizer.state.values() for name, tensor in state.items() if name != "step"]
    assert {tensor.dtype for tensor in averages} == {dtype}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("lr", [1.0, 0.37, 2.0**-9, 1e-7])
@pytest.mark.parametrize("name", RULES)
def test_every_bit_pattern_is_read_and_rounded_right(name: str, lr: float, dtype: torch.dtype) -> None:
    values = all_finite_patterns(dtype)

    def give(params: list[Tensor], step: int) -> None:
        params[0].grad = values.roll(7919 + step)

    follow(name, [values.clone()], give, updates=3, lr=lr, weight_decay=0.01, betas=(0.9, 0.99))


def test_the_count_is_no_16_bit_number() -> None:
    """It would stand still at 256."""
    param = torch.ones(1, dtype=torch.bfloat16)
    optimizer = fastlr.Adam([param])
    for step in range(300):
        param.grad = gradient_like(param, step)
        optimizer.step()
    step = optimizer.state[param]["step"]
    assert (step.dtype, float(step)) == (torch.float32, 300.0)


@pytest.mark.parametrize("name", RULES)
def test_mixed_types_in_one_group(name: str) -> None:
    def tensors() -> list[Tensor]:
        dtypes = [torch.float32, torch.bfloat16, torch.float64, torch.float16] * 3
        return [torch.linspace(-1, 1, (31, 1, 257, 0, 17, 64)[i % 6]).to(dtype) for i, dtype in enumerate(dtypes)]

    together, alone = tensors(), tensors()
    optimizers = [RULES[name][0](params, lr=0.1, weight_decay=0.01) for params in (together, *([p] for p in alone))]
    for step in range(5):
        give_all(together, step)
        give_all(alone, step)
        for optimizer in optimizers:
            optimizer.step()
    assert all(same_bits(a, b) for a, b in zip(together, alone, strict=True))
    assert len(params_of(optimizers[0])) == 12
