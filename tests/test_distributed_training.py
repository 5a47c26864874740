"""Trainings on two ranks: as torch's optimizers under the same wrapping, and as one process."""

from typing import Any

import pytest
import torch
from sgd_cases import NATIVE, assert_same_bits

if not torch.distributed.is_available():
    pytest.skip("needs a torch that was built with distributed", allow_module_level=True)

from distributed_processes import Ranks
from distributed_runs import RULES, train


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert_same_bits(actual["params"], expected["params"], "parameter")
    for index, (ours, theirs) in enumerate(zip(actual["state"], expected["state"], strict=True)):
        assert ours.keys() == theirs.keys()
        assert_same_bits(ours.values(), [theirs[name] for name in ours], f"state of parameter {index}")


def assert_close(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    for ours, theirs in zip(actual["params"], expected["params"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def check(ranks: Ranks, wrapping: str, rule: str, *, as_alone: bool = True, **options: Any) -> None:
    """As torch's optimizer on the same ranks, and as a single process, where sums are added up in the same order."""
    options["rule"] = rule
    ours = ranks.run(train, wrapping=wrapping, **options)
    alone = train(wrapping="alone", **options)
    for mine in ours:
        (assert_same if as_alone else assert_close)(mine, alone)
        assert mine["groups"] == alone["groups"]
        assert mine["left"] == [] or not NATIVE
    if RULES[rule].theirs is not None:
        for mine, other in zip(ours, ranks.run(train, wrapping=wrapping, maker="torch", **options), strict=True):
            (assert_same if RULES[rule].exact else assert_close)(mine, other)


WRAPPINGS = ["DDP", "FSDP2", "FSDP2 in part"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_training(ranks: Ranks, wrapping: str, rule: str) -> None:
    check(ranks, wrapping, rule)


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_accumulated_gradients(ranks: Ranks, wrapping: str, rule: str) -> None:
    check(ranks, wrapping, rule, accumulate=3)


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
@pytest.mark.parametrize("wrapping", ["DDP", "FSDP2"])
def test_clipping(ranks: Ranks, wrapping: str, rule: str) -> None:
    """By the norm of all gradients, which the ranks add up in an order of their own."""
    check(ranks, wrapping, rule, clip=True, as_alone=False)


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
def test_tensor_parallel(ranks: Ranks, rule: str) -> None:
    check(ranks, "tensor parallel", rule, readers=1, as_alone=False)


@pytest.mark.parametrize("wrapping", ["DDP", "FSDP2"])
def test_late_gradients(ranks: Ranks, wrapping: str) -> None:
    """Each parameter counts its own updates."""
    check(ranks, wrapping, "AdamW", late=3)


@pytest.mark.parametrize("rule", ["Lion", "scheduled beta"])
@pytest.mark.parametrize("wrapping", ["DDP", "FSDP2"])
def test_bfloat16(ranks: Ranks, wrapping: str, rule: str) -> None:
    """Computed in float32, and rounded once; torch rounds after every operator."""
    check(ranks, wrapping, rule, dtype="bfloat16")


@pytest.mark.parametrize("state_dtype", [None, "bfloat16"])
@pytest.mark.parametrize("wrapping", ["DDP", "FSDP2"])
def test_masters_and_averages(ranks: Ranks, wrapping: str, state_dtype: str | None) -> None:
    """In float32, sharded as their parameters are."""
    recipe = {"master_weights": True, "ema_decay": 0.9, "state_dtype": state_dtype, "zero_grad_in_step": True}
    check(ranks, wrapping, "Lion", dtype="bfloat16", recipe=recipe)
