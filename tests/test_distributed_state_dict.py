"""torch.distributed.checkpoint's get and set of optimizer state: they change nothing, whenever and however often."""

import copy
import io
import warnings
from typing import Any

import pytest
import torch
from sgd_cases import assert_same_bits, assert_unchanged, gradient_like, snapshot
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

import fastlr
from fastlr import schedules

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="needs a torch that was built with distributed"
)

WARM = fastlr.warmup_cosine(0.1, 20, warmup=5)
RATES: dict[str, Any] = {
    "float": 0.1,
    "tensor": torch.tensor(0.1),
    "schedule": WARM,
    "schedule from 0": schedules.Linear(0.0, 0.1, 5) >> schedules.Cosine(0.1, 0.0, 20),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "decay": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9, "weight_decay": 0.1},
    "dampening": {"momentum": 0.9, "dampening": 0.3, "nesterov": False},
    "AdamW": {"rule": fastlr.AdamW},
    "amsgrad": {"rule": fastlr.Adam, "amsgrad": True, "weight_decay": 0.1},
    "betas": {"rule": fastlr.AdamW, "betas": (schedules.Linear(0.5, 0.9, 9), 0.99)},
    "Lion": {"rule": fastlr.Lion, "betas": (0.9, schedules.Linear(0.5, 0.9, 9))},
    "schedules": {"momentum": schedules.Linear(0.5, 0.9, 9), "weight_decay": schedules.Exponential(0.1, 0.9)},
    "masters": {"momentum": 0.9, "dtype": torch.bfloat16, "master_weights": True, "ema_decay": 0.5},
    "recipe": {
        "rule": fastlr.AdamW,
        "dtype": torch.bfloat16,
        "max_grad_norm": 0.5,
        "ema_decay": schedules.Linear(0.5, 0.9, 9),
        "stochastic_rounding": True,
        "state_dtype": torch.float32,
    },
}
FLAT = [False, True]


class Run:
    """A model, its optimizer and a fixed series of gradients; the last layer's bias gets its first one late."""

    def __init__(self, lr: Any, rule: Any = fastlr.SGD, dtype: torch.dtype = torch.float32, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3)).to(dtype)
        groups: list[dict[str, Any]] = [
            {"params": list(self.model[0].parameters())},
            {"params": list(self.model[1].parameters()), "lr_scale": 0.5},
        ]
        self.optimizer = rule(groups, lr=copy.deepcopy(lr), **options)

    def train(self, steps: range) -> "Run":
        for step in steps:
            for index, param in enumerate(self.model.parameters()):
                param.grad = None if index == 3 and step < 2 else gradient_like(param, 100 * index + step)
            self.optimizer.step()
        self.optimizer.zero_grad()
        return self

    def get(self, flat: bool) -> dict[str, Any]:
        options = StateDictOptions(flatten_optimizer_state_dict=flat)
        return dict(get_optimizer_state_dict(self.model, self.optimizer, options=options))

    def set(self, state: dict[str, Any], flat: bool, strict: bool = True) -> None:
        options = StateDictOptions(flatten_optimizer_state_dict=flat, strict=strict)
        set_optimizer_state_dict(self.model, self.optimizer, state, options=options)

    def load_model(self, other: "Run") -> None:
        self.model.load_state_dict(copy.deepcopy(other.model.state_dict()))


def assert_same_run(a: Run, b: Run) -> None:
    assert_same_bits(a.model.parameters(), b.model.parameters())
    for ours, other in zip(a.model.parameters(), b.model.parameters(), strict=True):
        kept, expected = a.optimizer.state.get(ours, {}), b.optimizer.state.get(other, {})
        assert_same_bits([kept[name] for name in expected], expected.values())
    assert a.optimizer.step_count == b.optimizer.step_count
    assert [g["lr"] for g in a.optimizer.param_groups] == [g["lr"] for g in b.optimizer.param_groups]


@pytest.mark.parametrize("flat", FLAT)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("rate", RATES)
def test_getting_changes_nothing(rate: str, options: str, flat: bool) -> None:
    """Before the first update, after it, and twice in a row: the run is the one without."""
    plain = Run(RATES[rate], **OPTIONS[options])
    saving = Run(RATES[rate], **OPTIONS[options])
    for step in range(6):
        for _ in range(2):
            params, _, groups = snapshot(saving.optimizer)
            saving.get(flat)
            assert_same_bits(saving.model.parameters(), params)
            assert [g["step_count"] for g in saving.optimizer.param_groups] == [step, step]
            assert [g["held_steps"] for g in saving.optimizer.param_groups] == [0, 0]
            assert [g["lr"] for g in saving.optimizer.param_groups] == [g["lr"] for g in groups]
        plain.train(range(step, step + 1))
        saving.train(range(step, step + 1))
        assert_same_run(saving, plain)


def test_getting_after_the_schedule_has_ended_at_zero() -> None:
    run = Run(fastlr.warmup_cosine(0.1, 3, warmup=1)).train(range(3))
    before = snapshot(run.optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.get(False)
        run.get(True)
    assert_unchanged(run.optimizer, before)


@pytest.mark.parametrize("flat", FLAT)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("at", [0, 1, 4])
def test_setting_into_a_new_optimizer_resumes(rate: str, options: str, flat: bool, at: int) -> None:
    whole = Run(RATES[rate], **OPTIONS[options]).train(range(8))
    first = Run(RATES[rate], **OPTIONS[options]).train(range(at))
    file = io.BytesIO()
    torch.save(first.get(flat), file)
    file.seek(0)
    second = Run(RATES[rate], **OPTIONS[options])
    second.load_model(first)
    # After one update the late parameter has no buffer yet, which torch takes for a fault unless told otherwise.
    second.set(torch.load(file, weights_only=True), flat, strict=at != 1)
    assert second.optimizer.step_count == at
    second.train(range(at, 8))
    assert_same_run(second, whole)


@pytest.mark.parametrize("flat", FLAT)
def test_setting_repeatedly_and_into_a_trained_optimizer(flat: bool) -> None:
    whole = Run(WARM, **OPTIONS["momentum"]).train(range(8))
    first = Run(WARM, **OPTIONS["momentum"]).train(range(4))
    state = first.get(flat)
    second = Run(WARM, **OPTIONS["momentum"]).train(range(6))
    for _ in range(2):
        second.load_model(first)
        second.set(copy.deepcopy(state), flat)
        assert second.optimizer.step_count == 4
    assert_same_run(second.train(range(4, 8)), whole)


@pytest.mark.parametrize("flat", FLAT)
def test_a_float_optimizer_takes_the_schedule(flat: bool) -> None:
    state = Run(WARM, momentum=0.9).train(range(4)).get(flat)
    second = Run(0.9, momentum=0.9)
    second.set(state, flat)
    assert [g["lr_schedule"] for g in second.optimizer.param_groups] == [WARM, WARM]
    assert [g["lr"] for g in second.optimizer.param_groups] == [WARM(4), WARM(4) * 0.5]


def test_full_state_dict_option() -> None:
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    whole = Run(WARM, **OPTIONS["momentum"]).train(range(8))
    first = Run(WARM, **OPTIONS["momentum"]).train(range(4))
    state = get_optimizer_state_dict(first.model, first.optimizer, options=options)
    second = Run(WARM, **OPTIONS["momentum"])
    second.load_model(first)
    set_optimizer_state_dict(second.model, second.optimizer, state, options=StateDictOptions(cpu_offload=True))
    assert_same_run(second.train(range(4, 8)), whole)
