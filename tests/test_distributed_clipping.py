"""Clipping over two ranks, by the norm of all of the gradients: as torch does it with the whole model."""

import math
from typing import Any

import pytest
import torch
from sgd_cases import assert_same_bits

if not torch.distributed.is_available():
    pytest.skip("needs a torch that was built with distributed", allow_module_level=True)

import distributed_clipping
from distributed_clipping import GRIDS, MIXES
from distributed_processes import Ranks
from distributed_runs import train
from torch import Tensor

LIMIT = 0.5
ROOM = {"rtol": 1e-12, "atol": 1e-15}  # of float64: a few roundings


def assert_close(actual: list[Tensor], expected: list[Tensor], **room: float) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **(room or ROOM))


@pytest.mark.parametrize("rule", ["SGD", "AdamW", "Lion"])
@pytest.mark.parametrize("wrapping", ["DDP", "FSDP2", "FSDP2 in part", "tensor parallel"])
def test_training(ranks: Ranks, wrapping: str, rule: str) -> None:
    """As one process whose gradients clip_grad_norm_ has clipped; of all ranks the norm has the same bits."""
    options: dict[str, Any] = {"rule": rule, "dtype": "float64", "readers": 1 if wrapping == "tensor parallel" else 2}
    ours = ranks.run(train, wrapping=wrapping, recipe={"max_grad_norm": LIMIT}, **options)
    alone = train(wrapping="alone", clip=True, **options)
    assert ours[0]["norms"] == ours[1]["norms"]
    assert ours[0]["norms"] == pytest.approx(alone["norms"], rel=1e-12)
    assert any(norm > LIMIT for norm in alone["norms"])
    for mine in ours:
        assert_close(mine["params"], alone["params"], rtol=1e-9, atol=1e-11)
        assert mine["left"] == []


@pytest.mark.parametrize("wrapping", ["FSDP2", "FSDP2 in part"])
def test_norms_of_groups(ranks: Ranks, wrapping: str) -> None:
    """As one process of fastlr's, which has a test of its own."""
    recipe = {"max_grad_norm": 0.2, "norm_per_group": True, "max_grad_value": 0.1, "zero_grad_in_step": True}
    options: dict[str, Any] = {"rule": "SGD", "dtype": "float64", "recipe": recipe}
    ours, alone = ranks.run(train, wrapping=wrapping, **options), train(wrapping="alone", **options)
    assert ours[0]["norms"] == ours[1]["norms"]
    for mine, norms in zip(ours[0]["norms"], alone["norms"], strict=True):
        assert mine == pytest.approx(norms, rel=1e-12)
    for mine in ours:
        assert_close(mine["params"], alone["params"], rtol=1e-9, atol=1e-11)


def norm_of(grads: list[Tensor]) -> float:
    return math.sqrt(math.fsum(value * value for grad in grads for value in grad.flatten().tolist()))


def clipped(params: list[Tensor], grads: list[Tensor], norms: list[float], limit: float) -> list[Tensor]:
    """By whole tensors, at the rate 1."""
    factors = [min(1.0, limit / (norm + 1e-6)) for norm in norms]
    return [param - grad * factor for param, grad, factor in zip(params, grads, factors, strict=True)]


@pytest.mark.parametrize("limit", [LIMIT, 1e6])
@pytest.mark.parametrize("alone", [False, True], ids=["one norm", "each its own"])
@pytest.mark.parametrize("mix", [*MIXES, *GRIDS])
def test_layouts(ranks: Ranks, mix: str, alone: bool, limit: float) -> None:
    """Shards, copies and parts of sums, on a row of ranks and on grids; each element counts once."""
    found = ranks.run(distributed_clipping.update, mix=mix, limit=limit, alone=alone, grid=mix in GRIDS)
    for rank in found:
        assert_same_bits(rank["grads"], found[0]["grads"])
        norms = [norm_of([grad] if alone else rank["grads"]) for grad in rank["grads"]]
        assert rank["norm"] == pytest.approx(tuple(norms) if alone else norms[0], rel=1e-14)
        assert rank["norm"] == found[0]["norm"]
        assert_close(rank["after"], clipped(rank["params"], rank["grads"], norms, limit))
        assert_same_bits(rank["kept"], rank["grads"], "gradient")


@pytest.mark.parametrize("missing", [[0, 1, 2], [1]], ids=["of all", "of one"])
def test_a_rank_without_gradients(ranks: Ranks, missing: list[int]) -> None:
    """Its part of them counts as 0, and it has the norm of the others."""
    for rank in ranks.run(distributed_clipping.without_gradients, missing=missing):
        expected = [distributed_clipping.values(4, 3, seed=i) for i in range(3)]
        for grads, norm in zip(rank["grads"], rank["norms"], strict=True):
            assert norm == pytest.approx(norm_of(grads), rel=1e-14)
            expected = clipped(expected, grads, [norm] * 3, LIMIT)
        assert_close(rank["params"], expected)
        assert rank["count"] == 2


@pytest.mark.parametrize("grid", [False, True], ids=["row", "grid"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
def test_what_is_not_finite_on_one_rank_skips_on_all(ranks: Ranks, rule: str, value: float, grid: bool) -> None:
    for found in ranks.run(distributed_clipping.not_finite, value=value, rule=rule, raises=False, grid=grid):
        assert found["changed"] == [False, True, False, True]
        assert found["counts"] == [0, 1, 1, 2]
        assert found["messages"] == []
        assert found["zeroed"] == [True] * 4


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_finite_on_one_rank_raises_on_all(ranks: Ranks, value: float) -> None:
    for found in ranks.run(distributed_clipping.not_finite, value=value, rule="AdamW", raises=True, grid=False):
        assert found["changed"] == [False, True, False, True]
        assert found["counts"] == [0, 1, 1, 2]
        assert len(found["messages"]) == 2
        assert all("The norm of the gradients is not finite" in message for message in found["messages"])
        assert found["zeroed"] == [False, True] * 2


@pytest.mark.parametrize("kind", ["clipped", "not clipped"])
def test_a_scaler_skips_on_all_ranks(ranks: Ranks, kind: str) -> None:
    found = ranks.run(distributed_clipping.scaled, kind=kind)
    for rank in found:
        assert rank["counts"] == [0, 1, 2, 2, 3]
        assert rank["scales"] == [2.0**9] * 3 + [2.0**8] * 2
        assert_same_bits(rank["params"], found[0]["params"])
