"""Lightning with fastlr.SGD and no scheduler: applied rate = logged rate = expected rate at every update.

LearningRateMonitor reads `param_groups` when a training batch starts, before its update, under the number of updates
done: the value logged at step t is the rate that update t uses.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from driven_cases import DRIVEN, EXPECTED, Driven
from sgd_spy import RateSpy

import fastlr
from fastlr import schedules

lightning = pytest.importorskip("lightning", reason="needs `pip install torch-fastlr[integrations]`")
from lightning.pytorch.callbacks import LearningRateMonitor  # noqa: E402
from lightning.pytorch.loggers import Logger  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),  # depends on the machine's cores
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),  # Lightning's own use of torch's pytree
]

UPDATES = 12
WARM = fastlr.warmup_cosine(0.05, UPDATES, warmup=3)
MOMENTUM = schedules.Linear(0.5, 0.9, UPDATES)


class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
    """configure_optimizers returns the optimizer alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Linear(4, 3, dtype=torch.float64)
        self.head = torch.nn.Linear(3, 1, dtype=torch.float64)
        self.options = options

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        (inputs,) = batch
        loss: torch.Tensor = (self.head(torch.tanh(self.body(inputs))) - inputs.sum(1, keepdim=True)).square().mean()
        return loss

    def configure_optimizers(self) -> fastlr.SGD:
        groups: list[dict[str, Any]] = [
            {"params": list(self.body.parameters()), "name": "body"},
            {"params": list(self.head.parameters()), "name": "head", "lr_scale": 0.5},
        ]
        self.optimizer = fastlr.SGD(groups, **{"lr": WARM, **self.options})
        self.spy = RateSpy(self.optimizer)
        return self.optimizer


class Log(Logger):
    """Keeps the metrics in a list."""

    name = "log"
    version = 0

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None
        self.rows.append((step, {key: float(value) for key, value in metrics.items()}))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to keep."""

    def values(self, name: str) -> dict[int, float]:
        return {step: row[name] for step, row in self.rows if name in row}


def batches() -> torch.utils.data.DataLoader[Any]:
    """Six equal batches: Lightning resumes at a batch of its own choice, which is not what is tested here."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(4, 4, generator=generator, dtype=torch.float64).repeat(6, 1)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows), batch_size=4)


def fit(module: Module, folder: Path, checkpoint: Path | None = None, **options: Any) -> tuple[Any, Log]:
    log = Log()
    settings: dict[str, Any] = {
        "max_steps": UPDATES,
        "max_epochs": -1,
        "accelerator": "cpu",
        "logger": log,
        "log_every_n_steps": 1,
        "callbacks": [LearningRateMonitor(log_momentum=True)],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": str(folder),
    }
    trainer = lightning.Trainer(**{**settings, **options})
    trainer.fit(module, batches(), ckpt_path=checkpoint, weights_only=True if checkpoint else None)
    return trainer, log


@pytest.mark.parametrize("accumulate", [1, 2])
def test_applied_logged_and_expected_rates_agree(tmp_path: Path, accumulate: int) -> None:
    module = Module()
    _, log = fit(module, tmp_path, accumulate_grad_batches=accumulate)
    expected = [WARM(t) for t in range(UPDATES)]
    half = [rate * 0.5 for rate in expected]
    assert module.spy.stated == [expected, half]
    assert module.spy.applied[0] == pytest.approx(expected, rel=1e-9)
    assert module.spy.applied[1] == pytest.approx(half, rel=1e-9)
    assert log.values("lr-SGD/body") == dict(enumerate(expected))
    assert log.values("lr-SGD/head") == dict(enumerate(half))
    assert module.optimizer.step_count == UPDATES


def test_logged_momentum_follows_its_schedule(tmp_path: Path) -> None:
    _, log = fit(Module(momentum=MOMENTUM), tmp_path)
    assert log.values("lr-SGD/body-momentum") == {t: MOMENTUM(t) for t in range(UPDATES)}


def test_resumed_from_a_checkpoint(tmp_path: Path) -> None:
    whole, first, second = (Module(momentum=0.9) for _ in range(3))
    fit(whole, tmp_path)
    trainer, _ = fit(first, tmp_path, max_steps=6)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, log = fit(second, tmp_path, checkpoint=tmp_path / "half.ckpt")
    assert log.values("lr-SGD/body") == {t: WARM(t) for t in range(6, UPDATES)}
    assert second.optimizer.step_count == UPDATES
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


class DrivenModule(Module):
    """configure_optimizers returns an optimizer with its scheduler."""

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [
            {"params": list(self.body.parameters()), "name": "body"},
            {"params": list(self.head.parameters()), "name": "head"},
        ]
        self.driven = Driven(self.options["name"], groups, momentum=self.options.get("momentum", 0.0))
        made = fastlr.lightning(self.driven.optimizer, self.driven.scheduler)
        made["lr_scheduler"].update(self.options.get("entry", {}))
        return made


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", DRIVEN)
def test_schedules_over_any_optimizer(tmp_path: Path, name: str, accumulate: int) -> None:
    module = DrivenModule(name=name)
    _, log = fit(module, tmp_path, accumulate_grad_batches=accumulate)
    module.driven.check(range(UPDATES))
    kind = type(module.driven.optimizer).__name__
    assert log.values(f"lr-{kind}/body") == dict(enumerate(EXPECTED[0]))
    assert log.values(f"lr-{kind}/head") == dict(enumerate(EXPECTED[1]))


@pytest.mark.parametrize("name", DRIVEN)
def test_any_optimizer_resumed_from_a_checkpoint(tmp_path: Path, name: str) -> None:
    whole, first, second = (DrivenModule(name=name, momentum=0.9) for _ in range(3))
    fit(whole, tmp_path)
    trainer, _ = fit(first, tmp_path, max_steps=6)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, log = fit(second, tmp_path, checkpoint=tmp_path / "half.ckpt")
    second.driven.check_stated(range(6, UPDATES))
    kind = type(second.driven.optimizer).__name__
    assert log.values(f"lr-{kind}/body") == {t: EXPECTED[0][t] for t in range(6, UPDATES)}
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_stepped_once_an_epoch_it_warns_and_names_the_interval(tmp_path: Path) -> None:
    module = DrivenModule(name="torch.optim.SGD", entry={"interval": "epoch"})
    with pytest.warns(UserWarning, match="6 updates between two steps.*interval 'step'"):
        fit(module, tmp_path)
    assert module.driven.scheduler.last_epoch == UPDATES
