"""Steps with a recipe under torch.compile: those of the same optimizer without it."""

import math
from typing import Any

import pytest
import torch
from compile_cases import SCHEDULE, Sides
from recipe_cases import RISING, Options
from sgd_cases import assert_same_bits
from torch import Tensor

import fastlr

both = pytest.mark.parametrize("backend", ["eager", "aot_eager"])
AROUND: Options = {"max_grad_norm": 0.5, "max_grad_value": 0.05, "ema_decay": RISING}
IN_GRAPH: dict[str, tuple[Any, torch.dtype, Options]] = {
    "sgd": (fastlr.SGD, torch.float32, {**AROUND, "momentum": 0.9, "decoupled_weight_decay": True}),
    "no state but an average": (fastlr.SGD, torch.float32, {"ema_decay": 0.9}),
    "masters": (fastlr.AdamW, torch.bfloat16, {**AROUND, "master_weights": True, "state_dtype": torch.bfloat16}),
    "stochastic rounding": (fastlr.Lion, torch.bfloat16, {**AROUND, "stochastic_rounding": True}),
}


def sides(case: str, **options: Any) -> Sides:
    make, dtype, recipe = IN_GRAPH[case]
    params = [torch.linspace(-1, 1, 35).reshape(7, 5).to(dtype), torch.linspace(1, 2, 7).to(dtype)]
    return Sides(lambda params: make(params, **{"lr": SCHEDULE, **recipe}), params, **options)


@pytest.fixture(autouse=True)
def no_earlier_code() -> None:
    torch._dynamo.reset()


@both
@pytest.mark.parametrize("case", IN_GRAPH)
def test_in_the_graph(case: str, backend: str) -> None:
    pair = sides(case, backend=backend)
    for t in range(4):
        pair.step(t)
        if "max_grad_norm" in IN_GRAPH[case][2]:
            assert pair.optimizers[0].grad_norm == pair.optimizers[1].grad_norm
    assert len(pair.backend.graphs) == len(pair.backend.calls()) == 1
    names = {name for entry in pair.backend.calls()[0].args[5].split() for name in entry.split(":")[1].split(",")}  # type: ignore[union-attr]
    assert "ema" in names
    assert ("master_param" in names) is (case == "masters")


@both
def test_steps_that_are_skipped(backend: str) -> None:
    pair = sides("sgd", backend=backend)
    for t in range(5):
        if t in (1, 3):
            for params in pair.params:
                for param in params:
                    param.grad = torch.full_like(param, math.nan)
            pair.run()
        else:
            pair.step(t)
    assert pair.optimizers[0].step_count == 3


@both
def test_unscaling(backend: str) -> None:
    pair = sides("masters", backend=backend)
    for t in range(4):
        pair.each(lambda o, _, t=t: vars(o).update(grad_scale=torch.tensor(8.0), found_inf=torch.tensor(float(t == 2))))
        pair.step(t)
    assert pair.optimizers[0].step_count == 3


@both
def test_zeroing_is_done_outside_of_the_graph(backend: str) -> None:
    """Whose operator does not say that it writes to gradients."""

    def call(optimizer: Any, params: list[Tensor]) -> Tensor:
        before = params[0].grad.sum()  # type: ignore[union-attr]
        optimizer.step()
        return before + params[0].grad.sum()  # type: ignore[union-attr]

    pair = Sides(
        lambda params: fastlr.AdamW(params, lr=SCHEDULE, zero_grad_in_step=True, **AROUND),
        backend=backend,
        fullgraph=False,
        call=call,
    )
    for t in range(4):
        pair.step(t)
        assert not any(param.grad.any() for param in pair.params[0] if param.grad is not None)
    assert pair.backend.calls() == []


@both
def test_averages_between_steps_and_from_the_middle_on(backend: str) -> None:
    pair = sides("masters", backend=backend, anew=True)
    pair.each(lambda optimizer, _: optimizer.set_schedule(ema_decay=None))
    for t in range(6):
        pair.step(t)
        if t == 2:
            pair.each(lambda optimizer, _: optimizer.set_schedule(ema_decay=0.5))
        elif t > 2:
            weights = [param.clone() for param in pair.params[0]]
            with pair.optimizers[0].averaged():
                with pytest.raises(RuntimeError, match="Leave the block first"):
                    pair.compiled()
                averages = [pair.optimizers[0].state[param]["ema"].to(param.dtype) for param in pair.params[0]]
                assert_same_bits(pair.params[0], averages)
            assert_same_bits(pair.params[0], weights)
