"""accelerate with fastlr.LRScheduler: applied rate = logged rate = expected rate at every update.

A prepared scheduler is stepped at every micro-batch and passes that on after an update, num_processes times.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from driven_cases import DRIVEN, EXPECTED, UPDATES, Driven

accelerate = pytest.importorskip("accelerate", reason="needs `pip install torch-fastlr[integrations]`")


class Run:
    """A model, its optimizer and its scheduler, prepared."""

    def __init__(self, name: str, accumulate: int = 1, momentum: float = 0.0) -> None:
        torch.manual_seed(0)
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
        layers = [torch.nn.Linear(4, 3, dtype=torch.float64), torch.nn.Linear(3, 1, dtype=torch.float64)]
        self.driven = Driven(name, [{"params": list(layer.parameters())} for layer in layers], momentum)
        self.model, self.optimizer, self.scheduler = self.accelerator.prepare(
            torch.nn.Sequential(*layers), self.driven.optimizer, self.driven.scheduler
        )
        self.logged: list[list[float]] = []

    def train(self, batches: range) -> "Run":
        for batch in batches:
            generator = torch.Generator().manual_seed(batch)
            inputs = torch.randn(4, 4, generator=generator, dtype=torch.float64)
            with self.accelerator.accumulate(self.model):
                self.accelerator.backward((self.model(inputs) - inputs.sum(1, keepdim=True)).square().mean())
                self.optimizer.step()
                if self.accelerator.sync_gradients:
                    self.logged.append(self.scheduler.get_last_lr())
                self.scheduler.step()
                self.optimizer.zero_grad()
        return self


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", DRIVEN)
def test_applied_logged_and_expected_rates_agree(
    monkeypatch: pytest.MonkeyPatch, name: str, accumulate: int, processes: int
) -> None:
    run = Run(name, accumulate)
    monkeypatch.setattr("accelerate.scheduler.AcceleratorState", lambda: SimpleNamespace(num_processes=processes))
    run.train(range(UPDATES * accumulate))
    run.driven.check(range(UPDATES))
    assert run.logged == [list(rates) for rates in zip(*EXPECTED, strict=True)]


@pytest.mark.parametrize("name", DRIVEN)
def test_resumed_from_its_checkpoint(tmp_path: Path, name: str) -> None:
    whole = Run(name, momentum=0.9).train(range(UPDATES))
    first = Run(name, momentum=0.9).train(range(5))
    first.accelerator.save_state(str(tmp_path))
    second = Run(name, momentum=0.9)
    second.accelerator.load_state(str(tmp_path))
    second.train(range(5, UPDATES))
    second.driven.check_stated(range(5, UPDATES))
    for a, b in zip(parameters(whole), parameters(second), strict=True):
        assert torch.equal(a, b)


def parameters(run: Run) -> list[Any]:
    return list(run.model.parameters())
