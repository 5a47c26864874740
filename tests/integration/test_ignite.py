"""ignite's Engine with fastlr's optimizers: applied rate = logged rate = expected rate at every update.

OptimizerParamsHandler logs `param_groups` at the event it is attached to. At ITERATION_STARTED that is the rate which
the iteration's update uses; at ITERATION_COMPLETED it is already the next one.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from adam_cases import needs_fma
from driven_cases import (
    ACCUMULATED_AND_CLIPPED,
    ALONE,
    DRIVEN,
    HALF,
    UPDATES,
    WARM,
    Driven,
    assert_same_bits,
    own_adamw,
    standard_adamw,
)

ignite = pytest.importorskip("ignite", reason="needs `pip install torch-fastlr[integrations]`")
from ignite.engine import Engine, Events, create_supervised_trainer  # noqa: E402
from ignite.handlers import Checkpoint, DiskSaver  # noqa: E402
from ignite.handlers import LRScheduler as Handler  # noqa: E402
from ignite.handlers.base_logger import BaseLogger, BaseOptimizerParamsHandler  # noqa: E402

mse_loss = torch.nn.functional.mse_loss
# Both ways in which ignite takes a scheduler of torch, and none for an optimizer that is alone.
WAYS = [(name, way) for name in DRIVEN for way in (["none"] if name in ALONE else ["handler", "step"])]


class Log(BaseLogger):
    """Keeps what is logged in a list."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def _create_output_handler(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("these tests log parameters only")

    def _create_opt_params_handler(self, *args: Any, **kwargs: Any) -> Any:
        return ParamsHandler(*args, **kwargs)


class ParamsHandler(BaseOptimizerParamsHandler):
    """What every ignite logger's OptimizerParamsHandler does: the named entry of each group."""

    def __call__(self, engine: Engine, logger: Log, event_name: Any) -> None:
        groups = enumerate(self.optimizer.param_groups)
        logger.rows.append({f"{self.param_name}/group_{i}": float(group[self.param_name]) for i, group in groups})


def model_and_groups() -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3, dtype=torch.float64), torch.nn.Linear(3, 1, dtype=torch.float64))
    return model, [{"params": list(layer.parameters())} for layer in model]


def batches(count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 4, 4, generator=generator, dtype=torch.float64)
    return [(x, x.sum(1, keepdim=True)) for x in inputs]


class Run:
    """An engine that trains a model, what it logged, and its parts to be saved."""

    def __init__(self, name: str, way: str, *, usual: bool = False, event: Any = Events.ITERATION_STARTED) -> None:
        model, groups = model_and_groups()
        self.driven = Driven(name, groups, usual=usual)
        self.engine = create_supervised_trainer(model, self.driven.optimizer, mse_loss)
        self.parts = {"model": model, "optimizer": self.driven.optimizer, "engine": self.engine}
        if way == "handler":
            self.parts["scheduler"] = Handler(self.driven.scheduler)
            self.engine.add_event_handler(Events.ITERATION_STARTED, self.parts["scheduler"])
        elif way == "step":
            self.parts["scheduler"] = self.driven.scheduler
            self.engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self.driven.scheduler.step())
        self.log, self.losses = Log(), list[float]()
        self.log.attach_opt_params_handler(self.engine, event_name=event, optimizer=self.driven.optimizer)
        self.engine.add_event_handler(Events.ITERATION_COMPLETED, lambda e: self.losses.append(e.state.output))

    def train(self, epochs: int) -> "Run":
        self.engine.run(batches(), max_epochs=epochs)
        return self


def rows(steps: range) -> list[dict[str, float]]:
    return [{"lr/group_0": WARM(t), "lr/group_1": HALF(t)} for t in steps]


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_applied_logged_and_expected_rates_agree(name: str, way: str) -> None:
    run = Run(name, way).train(epochs=2)
    run.driven.check(range(UPDATES))
    assert run.log.rows == rows(range(UPDATES))


@pytest.mark.parametrize("name", ALONE)
def test_logged_after_an_update_are_the_next_one_s_rates(name: str) -> None:
    run = Run(name, "none", event=Events.ITERATION_COMPLETED).train(epochs=2)
    assert run.log.rows == rows(range(1, UPDATES + 1))


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_resumed_from_its_checkpoint(tmp_path: Path, name: str, way: str) -> None:
    whole = Run(name, way, usual=True).train(epochs=2)
    first = Run(name, way, usual=True)
    saver = Checkpoint(first.parts, DiskSaver(str(tmp_path), create_dir=False), filename_pattern="half.pt")
    first.engine.add_event_handler(Events.EPOCH_COMPLETED, saver)
    first.train(epochs=1)
    second = Run(name, way, usual=True)
    Checkpoint.load_objects(second.parts, torch.load(tmp_path / "half.pt", weights_only=True))
    second.train(epochs=2)
    second.driven.check_stated(range(6, UPDATES))
    assert first.losses + second.losses == whole.losses
    assert_same_bits(second.driven.optimizer, whole.driven.optimizer)


def trained(make: Any, accumulate: int, clip: float) -> tuple[list[float], torch.optim.Optimizer]:
    """The losses, and the optimizer, of an engine with an update function as users write it."""
    model, groups = model_and_groups()
    optimizer, scheduler = make(groups)
    losses = []

    def update(engine: Engine, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        loss = mse_loss(model(batch[0]), batch[1])
        losses.append(loss.item())
        (loss / accumulate).backward()
        if engine.state.iteration % accumulate == 0:
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

    Engine(update).run(batches(UPDATES * accumulate), max_epochs=1)
    return losses, optimizer


@needs_fma
@ACCUMULATED_AND_CLIPPED
def test_the_bits_of_torch_s_adamw(accumulate: int, clip: float) -> None:
    (losses, ours), (others, theirs) = (trained(make, accumulate, clip) for make in (own_adamw, standard_adamw))
    assert losses == others
    assert_same_bits(ours, theirs)
