"""accelerate with fastlr's optimizers: applied rate = logged rate = expected rate at every update.

A prepared scheduler is stepped at every micro-batch and passes that on after an update, num_processes times.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from adam_cases import needs_fma
from driven_cases import (
    ACCUMULATED_AND_CLIPPED,
    ALONE,
    DRIVEN,
    EXPECTED,
    UPDATES,
    Driven,
    assert_same_bits,
    own_adamw,
    standard_adamw,
)

accelerate = pytest.importorskip("accelerate", reason="needs `pip install torch-fastlr[integrations]`")


class Run:
    """A model, its optimizer and its scheduler, prepared."""

    def __init__(
        self, make: Any, accumulate: int = 1, clip: float = 0.0, *, scheduled: bool = True, scaled: bool = False
    ) -> None:
        torch.manual_seed(0)
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
        self.clip = clip
        layers = [torch.nn.Linear(4, 3, dtype=torch.float64), torch.nn.Linear(3, 1, dtype=torch.float64)]
        if scaled:  # what mixed_precision="fp16" does, which is for GPUs alone
            self.accelerator.scaler = torch.amp.GradScaler("cpu")
        optimizer, scheduler = make([{"params": list(layer.parameters())} for layer in layers])
        self.model, self.optimizer = self.accelerator.prepare(torch.nn.Sequential(*layers), optimizer)
        self.scheduler = self.accelerator.prepare(scheduler) if scheduled else None
        self.logged: list[list[float]] = []
        self.losses: list[float] = []

    def train(self, batches: range, overflow: int = -1) -> "Run":
        for batch in batches:
            generator = torch.Generator().manual_seed(batch)
            inputs = torch.randn(4, 4, generator=generator, dtype=torch.float64)
            with self.accelerator.accumulate(self.model):
                loss = (self.model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
                if batch == overflow:
                    loss = loss * float("inf")
                self.losses.append(loss.item())
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    if self.clip:
                        self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)
                    self.logged.append([group["lr"] for group in self.optimizer.param_groups])
                self.optimizer.step()
                if self.scheduler is not None:
                    assert not self.accelerator.sync_gradients or self.scheduler.get_last_lr() == self.logged[-1]
                    self.scheduler.step()
                self.optimizer.zero_grad()
        return self


class DrivenRun(Run):
    """The same for one of the kinds of optimizers; those that are alone have no scheduler."""

    def __init__(self, name: str, accumulate: int = 1, *, usual: bool = False, scaled: bool = False) -> None:
        def make(groups: list[dict[str, Any]]) -> Any:
            self.driven = Driven(name, groups, usual=usual)
            return self.driven.optimizer, self.driven.scheduler

        super().__init__(make, accumulate, scheduled=name not in ALONE, scaled=scaled)


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", DRIVEN)
def test_applied_logged_and_expected_rates_agree(
    monkeypatch: pytest.MonkeyPatch, name: str, accumulate: int, processes: int
) -> None:
    run = DrivenRun(name, accumulate)
    monkeypatch.setattr("accelerate.scheduler.AcceleratorState", lambda: SimpleNamespace(num_processes=processes))
    run.train(range(UPDATES * accumulate))
    run.driven.check(range(UPDATES))
    assert run.logged == [list(rates) for rates in zip(*EXPECTED, strict=True)]


@pytest.mark.parametrize("name", DRIVEN)
def test_an_update_that_the_gradient_scaler_skipped_is_not_counted(name: str) -> None:
    run = DrivenRun(name, scaled=True).train(range(UPDATES + 1), overflow=4)
    run.driven.check(range(UPDATES))
    rates = [list(pair) for pair in zip(*EXPECTED, strict=True)]
    assert run.logged == [*rates[:4], rates[4], *rates[4:]]


@pytest.mark.parametrize("name", DRIVEN)
def test_resumed_from_its_checkpoint(tmp_path: Path, name: str) -> None:
    whole = DrivenRun(name, usual=True).train(range(UPDATES))
    first = DrivenRun(name, usual=True).train(range(5))
    first.accelerator.save_state(str(tmp_path))
    second = DrivenRun(name, usual=True)
    second.accelerator.load_state(str(tmp_path))
    second.train(range(5, UPDATES))
    second.driven.check_stated(range(5, UPDATES))
    assert first.losses + second.losses == whole.losses
    assert_same_bits(second.driven.optimizer, whole.driven.optimizer)


@needs_fma
@ACCUMULATED_AND_CLIPPED
def test_the_bits_of_torch_s_adamw(accumulate: int, clip: float) -> None:
    ours, theirs = (
        Run(make, accumulate, clip).train(range(UPDATES * accumulate)) for make in (own_adamw, standard_adamw)
    )
    assert (ours.logged, ours.losses) == (theirs.logged, theirs.losses)
    assert_same_bits(ours.optimizer, theirs.optimizer)
