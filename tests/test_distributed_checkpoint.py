"""torch.distributed.checkpoint: saved on two ranks and loaded on two and on one, a training goes on with its bits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sgd_cases import assert_same_bits

if not torch.distributed.is_available():
    pytest.skip("needs a torch that was built with distributed", allow_module_level=True)

import distributed_checkpoints
from distributed_processes import Ranks
from distributed_runs import RATE, RULES, STEPS, WORLD

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized")
WRAPPINGS = ["DDP", "FSDP2", "FSDP2 in part"]


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert_same_bits(actual["params"], expected["params"], "parameter")
    for ours, other in zip(actual["state"], expected["state"], strict=True):
        assert ours.keys() == other.keys()
        assert_same_bits(ours.values(), [other[name] for name in ours], "state")
    assert actual["groups"] == expected["groups"]


def check(
    ranks: Ranks, folder: Path, saved: str, loaded: str, rule: str, at: int, before: int, flat: bool, **more: Any
) -> list[dict[str, Any]]:
    """Returns the trainings that were not interrupted."""
    options: dict[str, Any] = {"folder": str(folder), "flat": flat, "rule": rule, **more}
    wholes = ranks.run(distributed_checkpoints.save, wrapping=saved, at=at, **options)
    if loaded == "alone":
        resumed = [distributed_checkpoints.resume(wrapping=loaded, before=before, **options)]
    else:
        resumed = ranks.run(distributed_checkpoints.resume, wrapping=loaded, before=before, **options)
    for whole, (start, end) in zip(wholes, resumed * (WORLD // len(resumed)), strict=True):
        for group, scale in zip(start["groups"], (1.0, 0.5), strict=True):
            assert group["lr"] == RATE(at) * scale
            assert (group["step_count"], group["held_steps"], group["lr_schedule"]) == (at, 0, str(RATE))
        assert_same(end, whole)
    return list(wholes)


@pytest.mark.parametrize("loaded", [*WRAPPINGS, "alone"])
@pytest.mark.parametrize("saved", WRAPPINGS)
def test_every_wrapping_reads_every_other(ranks: Ranks, tmp_path: Path, saved: str, loaded: str) -> None:
    check(ranks, tmp_path, saved, loaded, rule="SGD", at=4, before=0, flat=False)


# Loaded by, after so many updates of the saved training and of the one that loads, with flat optimizer state.
RESUMED = [
    ("FSDP2", 0, 0, False),
    ("FSDP2", 0, 6, True),
    ("FSDP2", 1, 0, True),
    ("FSDP2", 4, 0, True),
    ("FSDP2", 4, 6, False),
    ("alone", 0, 0, True),
    ("alone", 1, 6, False),
    ("alone", 4, 0, True),
    ("alone", 4, 6, True),
]


CASES = [(rule, *case) for rule in RULES for case in RESUMED if rule in ("SGD", "AdamW") or case[1] == 4]


@pytest.mark.parametrize(("rule", "loaded", "at", "before", "flat"), CASES)
def test_resuming(ranks: Ranks, tmp_path: Path, rule: str, loaded: str, at: int, before: int, flat: bool) -> None:
    """Before the first update and after it, into a new optimizer and one that is ahead."""
    check(ranks, tmp_path, "FSDP2", loaded, rule, at, before, flat)


@pytest.mark.parametrize("loaded", ["FSDP2", "alone"])
def test_each_parameter_keeps_its_count(ranks: Ranks, tmp_path: Path, loaded: str) -> None:
    wholes = check(ranks, tmp_path, "FSDP2", loaded, "AdamW", at=4, before=0, flat=False, late=2)
    assert {float(entries["step"]) for entries in wholes[0]["state"]} == {STEPS, STEPS - 2}


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
@pytest.mark.parametrize("how", ["state dicts", "gathered and sent by the first rank"])
def test_handing_over_in_memory(ranks: Ranks, how: str, rule: str) -> None:
    for first, second in ranks.run(distributed_checkpoints.hand_over, how=how, at=4, wrapping="FSDP2", rule=rule):
        assert_same(second, first)
