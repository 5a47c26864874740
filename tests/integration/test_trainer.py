"""Hugging Face Trainer with fastlr's optimizers: applied rate = logged rate = expected rate at every update.

Trainer reads `scheduler.get_last_lr()` after `optimizer.step()` and before `scheduler.step()`: the log of update t
carries the rate that update t used.
"""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from adam_cases import needs_fma
from adam_standard import StandardAdamW
from driven_cases import (
    ACCUMULATED_AND_CLIPPED,
    ALONE,
    DRIVEN,
    EXPECTED,
    UPDATES,
    WARM,
    Driven,
    assert_same_bits,
    own_adamw,
    standard_adamw,
)

import fastlr
from fastlr import schedules

transformers = pytest.importorskip("transformers", reason="needs `pip install torch-fastlr[integrations]`")


class Regression(torch.nn.Module):
    """Named arguments and a dict with the loss: all that Trainer asks of a model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Linear(4, 3, dtype=torch.float64)
        self.norm: torch.nn.Module = torch.nn.Identity()
        self.head = torch.nn.Linear(3, 1, dtype=torch.float64)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        out = self.head(torch.tanh(self.norm(self.body(inputs))))
        return {"loss": (out - labels).square().mean(), "out": out}

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.body.parameters())}, {"params": list(self.head.parameters())}]


class Normed(Regression):
    """With a norm, which is not decayed, and of float32, as most models are."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(3)
        self.float()

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return super().forward(inputs.float(), labels.float())


def rows() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(48, 4, generator=generator, dtype=torch.float64)
    return [{"inputs": row, "labels": row.sum(0, keepdim=True)} for row in inputs]


def trainer_of(model: Regression, folder: Path, optimizers: tuple[Any, Any] = (None, None), **options: Any) -> Any:
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": UPDATES,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "save_strategy": "no",
        "max_grad_norm": 0.0,
        "dataloader_pin_memory": False,
    }
    own = {name: options.pop(name) for name in ("optimizer_cls_and_kwargs",) if name in options}
    arguments = transformers.TrainingArguments(**{**settings, **options})
    return transformers.Trainer(model=model, args=arguments, train_dataset=rows(), optimizers=optimizers, **own)


def logged(trainer: Any, name: str = "learning_rate") -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", DRIVEN)
def test_applied_logged_and_expected_rates_agree(tmp_path: Path, name: str, accumulate: int) -> None:
    model = Regression()
    driven = Driven(name, model.groups())
    pair = driven.optimizer, driven.scheduler
    trainer = trainer_of(model, tmp_path, pair, gradient_accumulation_steps=accumulate)
    trainer.train()
    driven.check(range(UPDATES))
    assert logged(trainer) == EXPECTED[0]


@pytest.mark.parametrize("name", DRIVEN)
def test_resumed_from_a_checkpoint(tmp_path: Path, name: str) -> None:
    models = Regression(), Regression()
    runs = [Driven(name, model.groups(), usual=True) for model in models]
    pairs = [(run.optimizer, run.scheduler) for run in runs]
    whole = trainer_of(models[0], tmp_path, pairs[0], save_strategy="steps", save_steps=5)
    whole.train()
    resumed = trainer_of(models[1], tmp_path, pairs[1])
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    runs[1].check_stated(range(5, UPDATES))
    assert logged(resumed) == EXPECTED[0]
    assert logged(resumed, "loss") == logged(whole, "loss")
    assert_same_bits(runs[1].optimizer, runs[0].optimizer)


@pytest.mark.parametrize("name", ALONE)
def test_trainer_s_own_scheduler_is_obeyed_with_one_warning_that_names_the_follower(tmp_path: Path, name: str) -> None:
    """Without the follower Trainer makes a linear decay of its own from `initial_lr`, which is the schedule's peak."""
    model = Regression()
    driven = Driven(name, model.groups())
    trainer = trainer_of(model, tmp_path, (driven.optimizer, None))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    own = [str(w.message) for w in caught if "fastlr" in str(w.message)]
    assert len(own) == 1
    assert "fastlr.LRScheduler" in own[0]
    linear = [WARM.peak * (UPDATES - t) / UPDATES for t in range(UPDATES)]
    assert driven.spy.applied[0] == pytest.approx(linear, rel=1e-9)
    assert logged(trainer) == pytest.approx(linear, rel=1e-9)


@needs_fma
@ACCUMULATED_AND_CLIPPED
def test_the_bits_of_torch_s_adamw(tmp_path: Path, accumulate: int, clip: float) -> None:
    models = Regression(), Regression()
    pairs = [make(model.groups()) for make, model in zip((own_adamw, standard_adamw), models, strict=True)]
    options = {"gradient_accumulation_steps": accumulate, "max_grad_norm": clip}
    trainers = [trainer_of(model, tmp_path, pair, **options) for model, pair in zip(models, pairs, strict=True)]
    for trainer in trainers:
        trainer.train()
    for name in ("loss", "learning_rate") + (("grad_norm",) if clip else ()):
        assert len(logged(trainers[0], name)) == UPDATES
        assert logged(trainers[0], name) == logged(trainers[1], name)
    assert_same_bits(pairs[0][0], pairs[1][0])


COSINE = {"learning_rate": 0.05, "lr_scheduler_type": "cosine", "warmup_steps": 3, "weight_decay": 0.1}


@needs_fma
def test_trainer_s_groups_are_those_of_param_groups(tmp_path: Path) -> None:
    """Trainer makes the optimizer and its scheduler; or gets the optimizer and makes a scheduler; or the same of torch.

    The rates are Trainer's own in each, as no schedule is given.
    """
    made = [
        trainer_of(Normed(), tmp_path, optimizer_cls_and_kwargs=(cls, {"lr": 0.05, **own}), **COSINE)
        for cls, own in ((fastlr.AdamW, {}), (StandardAdamW, {"foreach": False}))
    ]
    model = Normed()
    optimizer = fastlr.AdamW(fastlr.param_groups(model, 0.1), lr=0.05)
    made.append(trainer_of(model, tmp_path, (optimizer, None), **COSINE))
    for trainer in made:
        trainer.train()
    sizes = [[(group["weight_decay"], len(group["params"])) for group in t.optimizer.param_groups] for t in made]
    assert sizes == [[(0.1, 2), (0.0, 4)]] * 3
    for trainer in made[1:]:
        assert logged(trainer) == logged(made[0])
        assert logged(trainer, "loss") == logged(made[0], "loss")
        assert_same_bits(trainer.optimizer.optimizer, made[0].optimizer.optimizer)


CROSSED = [(fastlr.AdamW, fastlr.AdamW), (StandardAdamW, fastlr.AdamW), (fastlr.AdamW, StandardAdamW)]


@needs_fma
@pytest.mark.parametrize(("before", "after"), CROSSED)
def test_a_checkpoint_goes_on_with_torch_s_adamw_and_torch_s_with_this(tmp_path: Path, before: Any, after: Any) -> None:
    """Under Trainer's own scheduler, whose place is in the checkpoint too."""
    whole, first, second = (
        trainer_of(Normed(), tmp_path, optimizer_cls_and_kwargs=(cls, {"lr": 0.05, "foreach": False}), **COSINE, **save)
        for cls, save in ((after, {}), (before, {"save_strategy": "steps", "save_steps": 5}), (after, {}))
    )
    whole.train()
    first.train()
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert logged(second) == logged(whole)
    assert logged(second, "loss") == logged(whole, "loss")
    assert_same_bits(second.optimizer.optimizer, whole.optimizer.optimizer)


def test_as_trainer_trains_by_default(tmp_path: Path) -> None:
    """Its own AdamW (torch's fused) and cosine with warmup, against a schedule of fastlr's."""
    peer = trainer_of(Normed(), tmp_path, max_grad_norm=1.0, **COSINE)
    model = Normed()
    schedule = schedules.Linear(0.0, 0.05, 3) >> schedules.Cosine(0.05, 0.0, UPDATES - 3)
    optimizer = fastlr.AdamW(fastlr.param_groups(model, weight_decay=0.1), lr=schedule)
    ours = trainer_of(model, tmp_path, (optimizer, fastlr.LRScheduler(optimizer)), max_grad_norm=1.0)
    for trainer in (peer, ours):
        trainer.train()
    assert logged(ours) == pytest.approx(logged(peer), rel=1e-12)
    for name in ("loss", "grad_norm"):
        assert logged(ours, name) == pytest.approx(logged(peer, name), rel=1e-4)
    for ours_param, peer_param in zip(model.parameters(), peer.model.parameters(), strict=True):
        torch.testing.assert_close(ours_param, peer_param, rtol=1e-5, atol=1e-6)
