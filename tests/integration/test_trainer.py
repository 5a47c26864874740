"""Hugging Face Trainer with fastlr.SGD and its follower: applied rate = logged rate = expected rate at every update.

Trainer reads `scheduler.get_last_lr()` after `optimizer.step()` and before `scheduler.step()`: the log of update t
carries the rate that update t used.
"""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from driven_cases import DRIVEN, EXPECTED, Driven
from sgd_spy import RateSpy

import fastlr

transformers = pytest.importorskip("transformers", reason="needs `pip install torch-fastlr[integrations]`")

UPDATES = 12
WARM = fastlr.warmup_cosine(0.05, UPDATES, warmup=3)


class Regression(torch.nn.Module):
    """Named arguments and a dict with the loss: all that Trainer asks of a model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Linear(4, 3, dtype=torch.float64)
        self.head = torch.nn.Linear(3, 1, dtype=torch.float64)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.head(torch.tanh(self.body(inputs)))
        return {"loss": (out - labels).square().mean(), "out": out}


def rows() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(48, 4, generator=generator, dtype=torch.float64)
    return [{"inputs": row, "labels": row.sum(0, keepdim=True)} for row in inputs]


def optimizer_of(model: Regression, **options: Any) -> fastlr.SGD:
    groups: list[dict[str, Any]] = [
        {"params": list(model.body.parameters())},
        {"params": list(model.head.parameters()), "lr_scale": 0.5},
    ]
    return fastlr.SGD(groups, **{"lr": WARM, **options})


def trainer_of(model: Regression, optimizers: tuple[Any, Any], folder: Path, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": UPDATES,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "max_grad_norm": 0.0,
        "dataloader_pin_memory": False,
    }
    arguments = transformers.TrainingArguments(**{**settings, **options})
    return transformers.Trainer(model=model, args=arguments, train_dataset=rows(), optimizers=optimizers)


def logged_rates(trainer: Any) -> list[float]:
    return [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_applied_logged_and_expected_rates_agree(tmp_path: Path, accumulate: int) -> None:
    model = Regression()
    optimizer = optimizer_of(model)
    spy = RateSpy(optimizer)
    trainer = trainer_of(
        model, (optimizer, fastlr.LRScheduler(optimizer)), tmp_path, gradient_accumulation_steps=accumulate
    )
    trainer.train()
    expected = [WARM(t) for t in range(UPDATES)]
    assert spy.stated == [expected, [rate * 0.5 for rate in expected]]
    assert logged_rates(trainer) == expected
    assert spy.applied[0] == pytest.approx(expected, rel=1e-9)
    assert spy.applied[1] == pytest.approx([rate * 0.5 for rate in expected], rel=1e-9)
    assert optimizer.step_count == UPDATES
    assert [group["held_steps"] for group in optimizer.param_groups] == [0, 0]


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    models = Regression(), Regression()
    optimizers = [optimizer_of(model, momentum=0.9) for model in models]
    whole = trainer_of(
        models[0], (optimizers[0], fastlr.LRScheduler(optimizers[0])), tmp_path, save_strategy="steps", save_steps=5
    )
    whole.train()
    resumed = trainer_of(models[1], (optimizers[1], fastlr.LRScheduler(optimizers[1])), tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert optimizers[1].step_count == UPDATES
    assert logged_rates(resumed) == [WARM(t) for t in range(UPDATES)]
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_trainer_s_own_scheduler_is_obeyed_with_one_warning_that_names_the_follower(tmp_path: Path) -> None:
    """Without the follower Trainer makes a linear decay of its own from `initial_lr`, which is the schedule's peak."""
    model = Regression()
    optimizer = optimizer_of(model)
    spy = RateSpy(optimizer)
    trainer = trainer_of(model, (optimizer, None), tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    own = [str(w.message) for w in caught if "fastlr" in str(w.message)]
    assert len(own) == 1
    assert "fastlr.LRScheduler" in own[0]
    linear = [WARM.peak * (UPDATES - t) / UPDATES for t in range(UPDATES)]
    assert spy.applied[0] == pytest.approx(linear, rel=1e-9)
    assert logged_rates(trainer) == pytest.approx(linear, rel=1e-9)


def groups_of(model: Regression) -> list[dict[str, Any]]:
    return [{"params": list(model.body.parameters())}, {"params": list(model.head.parameters())}]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", DRIVEN)
def test_schedules_over_any_optimizer(tmp_path: Path, name: str, accumulate: int) -> None:
    model = Regression()
    driven = Driven(name, groups_of(model))
    trainer = trainer_of(model, (driven.optimizer, driven.scheduler), tmp_path, gradient_accumulation_steps=accumulate)
    trainer.train()
    driven.check(range(UPDATES))
    assert logged_rates(trainer) == EXPECTED[0]


@pytest.mark.parametrize("name", DRIVEN)
def test_any_optimizer_resumed_from_a_checkpoint(tmp_path: Path, name: str) -> None:
    models = Regression(), Regression()
    runs = [Driven(name, groups_of(model), momentum=0.9) for model in models]
    pairs = [(run.optimizer, run.scheduler) for run in runs]
    trainer_of(models[0], pairs[0], tmp_path, save_strategy="steps", save_steps=5).train()
    resumed = trainer_of(models[1], pairs[1], tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    runs[1].check_stated(range(5, UPDATES))
    assert logged_rates(resumed) == EXPECTED[0]
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)
