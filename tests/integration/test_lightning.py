"""Lightning with fastlr's optimizers: applied rate = logged rate = expected rate at every update.

LearningRateMonitor reads `param_groups` when a training batch starts, before its update, under the number of updates
done: the value logged at step t is the rate that update t uses.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from adam_cases import needs_fma
from driven_cases import (
    ACCUMULATED_AND_CLIPPED,
    DRIVEN,
    EXPECTED,
    UPDATES,
    Driven,
    assert_same_bits,
    own_adamw,
    standard_adamw,
)

import fastlr
from fastlr import schedules

lightning = pytest.importorskip("lightning", reason="needs `pip install torch-fastlr[integrations]`")
from lightning.pytorch.callbacks import LearningRateMonitor  # noqa: E402
from lightning.pytorch.loggers import Logger  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),  # depends on the machine's cores
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),  # Lightning's own use of torch's pytree
]

RISING = schedules.Linear(0.5, 0.9, UPDATES)


class Module(lightning.LightningModule):  # type: ignore[misc,name-defined]
    """configure_optimizers returns what `make` makes of the groups."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Linear(4, 3, dtype=torch.float64)
        self.head = torch.nn.Linear(3, 1, dtype=torch.float64)
        self.make = make
        self.losses: list[float] = []

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        (inputs,) = batch
        loss: torch.Tensor = (self.head(torch.tanh(self.body(inputs))) - inputs.sum(1, keepdim=True)).square().mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [
            {"params": list(self.body.parameters()), "name": "body"},
            {"params": list(self.head.parameters()), "name": "head"},
        ]
        return self.make(groups)


class DrivenModule(Module):
    """One of the kinds of optimizers, with its scheduler; those that are alone have none."""

    def __init__(self, name: str, usual: bool = False, **entry: Any) -> None:
        def make(groups: list[dict[str, Any]]) -> Any:
            self.driven = Driven(name, groups, usual=usual)
            if self.driven.alone:
                return self.driven.optimizer
            made = fastlr.lightning(self.driven.optimizer, self.driven.scheduler)
            made["lr_scheduler"].update(entry)
            return made

        super().__init__(make)

    def check_logged(self, log: "Log", updates: range) -> None:
        kind = type(self.driven.optimizer).__name__
        for name, rates in zip(("body", "head"), EXPECTED, strict=True):
            assert log.values(f"lr-{kind}/{name}") == {t: rates[t] for t in updates}


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
@pytest.mark.parametrize("name", DRIVEN)
def test_applied_logged_and_expected_rates_agree(tmp_path: Path, name: str, accumulate: int) -> None:
    module = DrivenModule(name)
    _, log = fit(module, tmp_path, accumulate_grad_batches=accumulate)
    module.driven.check(range(UPDATES))
    module.check_logged(log, range(UPDATES))


@pytest.mark.parametrize("name", DRIVEN)
def test_resumed_from_a_checkpoint(tmp_path: Path, name: str) -> None:
    whole, first, second = (DrivenModule(name, usual=True) for _ in range(3))
    fit(whole, tmp_path)
    trainer, _ = fit(first, tmp_path, max_steps=6)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, log = fit(second, tmp_path, checkpoint=tmp_path / "half.ckpt")
    second.driven.check_stated(range(6, UPDATES))
    second.check_logged(log, range(6, UPDATES))
    assert first.losses + second.losses == whole.losses
    assert_same_bits(second.driven.optimizer, whole.driven.optimizer)


MOMENTUM: dict[str, Any] = {
    "SGD": lambda groups: fastlr.SGD(groups, momentum=RISING),
    "AdamW": lambda groups: fastlr.AdamW(groups, betas=(RISING, 0.999)),
    "Lion": lambda groups: fastlr.Lion(groups, betas=(RISING, 0.99)),
}


@pytest.mark.parametrize("name", MOMENTUM)
def test_logged_momentum_follows_its_schedule(tmp_path: Path, name: str) -> None:
    _, log = fit(Module(MOMENTUM[name]), tmp_path)
    assert log.values(f"lr-{name}/body-momentum") == {t: RISING(t) for t in range(UPDATES)}


@needs_fma
@ACCUMULATED_AND_CLIPPED
def test_the_bits_of_torch_s_adamw(tmp_path: Path, accumulate: int, clip: float) -> None:
    pairs = []

    def make_with(make: Any) -> Any:
        def made(groups: list[dict[str, Any]]) -> Any:
            pairs.append(make(groups))
            return {"optimizer": pairs[-1][0], "lr_scheduler": {"scheduler": pairs[-1][1], "interval": "step"}}

        return made

    modules = [Module(make_with(make)) for make in (own_adamw, standard_adamw)]
    for module in modules:
        fit(module, tmp_path, accumulate_grad_batches=accumulate, gradient_clip_val=clip or None)
    assert len(modules[0].losses) == UPDATES * accumulate
    assert modules[0].losses == modules[1].losses
    assert_same_bits(pairs[0][0], pairs[1][0])


def test_stepped_once_an_epoch_it_warns_and_names_the_interval(tmp_path: Path) -> None:
    module = DrivenModule("torch.optim.SGD", interval="epoch")
    with pytest.warns(UserWarning, match="6 updates between two steps.*interval 'step'"):
        fit(module, tmp_path)
    assert module.driven.scheduler.last_epoch == UPDATES
