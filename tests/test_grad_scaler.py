"""torch.amp.GradScaler drives every optimizer as it is: the updates, the steps that it skips, and its scale."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import copied, params_of
from recipe_cases import CLASSES, RATES, RISING
from scaler_cases import PARAMETERS, Options, assert_same, entries, give, gradients, make, scaler_of
from sgd_cases import assert_same_bits, filled, torch_sgd
from torch.amp import GradScaler

import fastlr

# Options whose state a skipped step could create, or advance.
RECIPES: dict[str, Options] = {
    "no recipe": {},
    "clipped": {"max_grad_norm": 0.5, "max_grad_value": 0.1},
    "averaged, with masters": {"ema_decay": RISING, "master_weights": True},
    "state in 16 bits": {"state_dtype": torch.bfloat16},
}


def update_both(optimizer: Any, plain: Any, scaler: GradScaler, step: int) -> list[torch.Tensor]:
    """An update by scaled gradients, which are returned, has the bits of one by the gradients themselves."""
    scaled = give(optimizer, step, scaler.get_scale())
    scaler.step(optimizer)
    scaler.update()
    give(plain, step)
    plain.step()
    assert_same(optimizer, plain, f"after update {step}")
    assert entries(optimizer) == entries(plain)
    return scaled


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", PARAMETERS)
@pytest.mark.parametrize("rule", CLASSES)
def test_updates_by_scaled_gradients(rule: str, kind: str, recipe: str) -> None:
    """The bits of updates by the gradients themselves, while the scale grows; gradients keep it."""
    optimizer, plain = (make(rule, kind, **RECIPES[recipe]) for _ in range(2))
    scaler = scaler_of(2.0**6, growth_interval=2)
    for step in range(5):
        assert scaler.get_scale() == 2.0 ** (6 + step // 2)
        scaled = update_both(optimizer, plain, scaler, step)
        assert_same_bits(gradients(optimizer), scaled, "gradient")
        if recipe == "clipped":
            assert optimizer.grad_norm == plain.grad_norm


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", PARAMETERS)
@pytest.mark.parametrize("rule", CLASSES)
def test_a_step_that_the_scaler_skips_changes_nothing(rule: str, kind: str, recipe: str, value: float) -> None:
    """At step 0 and later; the scale backs off, and the updates around it are those of a run without it."""
    optimizer, plain = (make(rule, kind, **RECIPES[recipe]) for _ in range(2))
    scaler = scaler_of(2.0**6, growth_interval=2)
    for step in range(3):
        for place in (0, -1):
            scaled = give(optimizer, step, scaler.get_scale())
            params_of(optimizer)[place].grad.view(-1)[-1:].fill_(value)  # type: ignore[union-attr]
            scaled[place].view(-1)[-1:].fill_(value)
            before, groups = copied(optimizer), copy.deepcopy(entries(optimizer))
            expected = scaler.get_scale() / 2
            scaler.step(optimizer)
            scaler.update()
            assert scaler.get_scale() == expected
            now = copied(optimizer)
            assert_same_bits(now[0], before[0], "parameter")
            assert [state.keys() for state in now[1]] == [state.keys() for state in before[1]]
            for state, earlier in zip(now[1], before[1], strict=True):
                assert_same_bits(state.values(), earlier.values(), "state")
            assert step > 0 or not optimizer.state
            assert entries(optimizer) == groups
            assert optimizer.step_count == step
            assert_same_bits(gradients(optimizer), scaled, "gradient")
        update_both(optimizer, plain, scaler, step)


THEIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Options]] = {
    "SGD": (fastlr.SGD, torch_sgd, {"momentum": 0.9, "weight_decay": 0.01}),
    "Adam": (fastlr.Adam, torch.optim.Adam, {}),
    "AdamW": (fastlr.AdamW, torch.optim.AdamW, {"weight_decay": 0.1}),
}


# torch multiplies by the float32 nearest to the inverse, which is what is rounded to here: any scale has its bits.
@pytest.mark.parametrize("scale", [2.0**16, 1000.0, 3.0])
@pytest.mark.parametrize("rule", THEIRS)
def test_a_training_beside_torch_s_optimizer(rule: str, scale: float) -> None:
    """Each with a scaler of its own, through overflows. Of Adam torch's square roots are not rounded right."""
    ours, theirs, options = THEIRS[rule]
    torch.manual_seed(0)
    models = [torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))]
    models.append(copy.deepcopy(models[0]))
    optimizers = [of(model.parameters(), lr=0.05, **options) for of, model in zip((ours, theirs), models, strict=True)]
    scalers = [GradScaler("cpu", init_scale=scale, growth_interval=3) for _ in models]
    skipped = []
    for step in range(12):
        x = torch.randn(8, 5, generator=torch.Generator().manual_seed(step)) * (math.inf if step in (0, 1, 6) else 1.0)
        for model, optimizer, scaler in zip(models, optimizers, scalers, strict=True):
            optimizer.zero_grad()
            scaler.scale(model(x).square().mean()).backward()
            before = [param.detach().clone() for param in model.parameters()]
            scaler.step(optimizer)
            scaler.update()
            skipped.append(all(map(torch.equal, before, model.parameters())))
        assert scalers[0].state_dict() == scalers[1].state_dict()
        if rule == "SGD":
            assert_same_bits(models[0].parameters(), models[1].parameters(), f"after step {step}")
        else:
            for mine, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
                torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
    assert [step for step in range(12) if skipped[2 * step]] == [0, 1, 6]
    assert skipped[::2] == skipped[1::2]
    assert optimizers[0].step_count == 9


@pytest.mark.parametrize("rule", CLASSES)
def test_clipping_of_what_the_scaler_leaves_scaled(rule: str) -> None:
    """As torch's unscale_ and clip_grad_norm_, whose norm in float32 is off by a rounding for each square."""
    sides = [CLASSES[rule]([filled("257", torch.float32, i) for i in range(3)], **RATES[rule][0]) for _ in range(2)]
    sides[0].param_groups[0]["max_grad_norm"] = 0.5
    scalers = [scaler_of(1000.0) for _ in sides]
    for step in range(4):
        for optimizer, scaler in zip(sides, scalers, strict=True):
            give(optimizer, step, 1000.0)
            if optimizer is sides[1]:
                scaler.unscale_(optimizer)
                norm = torch.nn.utils.clip_grad_norm_(params_of(optimizer), 0.5)
            scaler.step(optimizer)
            scaler.update()
        assert sides[0].grad_norm == pytest.approx(norm.item(), rel=257 * 2.0**-24)
        for mine, other in zip(params_of(sides[0]), params_of(sides[1]), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [[1, 3, 7], [1, 3, 3, 7]], ids=["once", "twice"])
@pytest.mark.parametrize("zero_grad_in_step", [False, True])
def test_sparse_gradients(rows: list[int], zero_grad_in_step: bool) -> None:
    """Beside dense ones. Elements that stand twice are added up before the update, by torch within it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(11, 5, sparse=True), torch.nn.Linear(5, 3))
    twin = copy.deepcopy(model)
    ours = fastlr.SGD(model.parameters(), lr=0.1, zero_grad_in_step=zero_grad_in_step)
    theirs = torch_sgd(twin.parameters(), lr=0.1)
    for bad in (True, False, False, True, False):
        for net, optimizer in ((model, ours), (twin, theirs)):
            scaler = GradScaler("cpu", init_scale=2.0**8)
            optimizer.zero_grad()
            scaler.scale(net(torch.tensor(rows)).square().sum()).backward()
            embedded = net[0].weight
            if bad:
                embedded.grad._values()[-1, 0] = math.inf
            given = embedded.grad.to_dense()
            scaler.step(optimizer)
            if optimizer is ours:
                assert embedded.grad.is_sparse
                expected = torch.zeros_like(given) if zero_grad_in_step else given
                assert_same_bits([embedded.grad.to_dense()], [expected])
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            room = 1e-5 if len(rows) > 3 else 0.0
            torch.testing.assert_close(mine, other, rtol=room, atol=room / 10)
    assert ours.step_count == 3
