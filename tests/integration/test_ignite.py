"""ignite's Engine with fastlr.SGD: applied rate = logged rate = expected rate at every update.

OptimizerParamsHandler logs `param_groups` at the event it is attached to. At ITERATION_STARTED that is the rate which
the iteration's update uses; at ITERATION_COMPLETED it is already the next one.
"""

from typing import Any

import pytest
import torch
from driven_cases import DRIVEN, Driven
from driven_cases import EXPECTED as DRIVEN_EXPECTED
from sgd_spy import RateSpy

import fastlr

ignite = pytest.importorskip("ignite", reason="needs `pip install torch-fastlr[integrations]`")
from ignite.engine import Engine, Events, create_supervised_trainer  # noqa: E402
from ignite.handlers import LRScheduler as Handler  # noqa: E402
from ignite.handlers.base_logger import BaseLogger, BaseOptimizerParamsHandler  # noqa: E402

UPDATES = 12
WARM = fastlr.warmup_cosine(0.05, UPDATES, warmup=3)
EXPECTED = [WARM(t) for t in range(UPDATES)]


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


def build() -> tuple[torch.nn.Module, fastlr.SGD, Engine]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3, dtype=torch.float64), torch.nn.Linear(3, 1, dtype=torch.float64))
    groups: list[dict[str, Any]] = [
        {"params": list(model[0].parameters())},
        {"params": list(model[1].parameters()), "lr_scale": 0.5},
    ]
    optimizer = fastlr.SGD(groups, lr=WARM)
    return model, optimizer, create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(6, 4, 4, generator=generator, dtype=torch.float64)
    return [(x, x.sum(1, keepdim=True)) for x in inputs]


@pytest.mark.parametrize(("event", "ahead"), [(Events.ITERATION_STARTED, 0), (Events.ITERATION_COMPLETED, 1)])
def test_applied_logged_and_expected_rates_agree(event: Any, ahead: int) -> None:
    _, optimizer, engine = build()
    spy, log = RateSpy(optimizer), Log()
    log.attach_opt_params_handler(engine, event_name=event, optimizer=optimizer)
    engine.run(batches(), max_epochs=2)
    assert spy.stated == [EXPECTED, [rate * 0.5 for rate in EXPECTED]]
    assert spy.applied[0] == pytest.approx(EXPECTED, rel=1e-9)
    assert spy.applied[1] == pytest.approx([rate * 0.5 for rate in EXPECTED], rel=1e-9)
    logged = [WARM(t + ahead) for t in range(UPDATES)]
    assert log.rows == [{"lr/group_0": rate, "lr/group_1": rate * 0.5} for rate in logged]


def test_resumed_through_a_checkpoint_of_ignite_s_objects() -> None:
    whole, _, engine = build()
    engine.run(batches(), max_epochs=2)
    model, optimizer, engine = build()
    engine.run(batches(), max_epochs=1)
    resumed, other, engine = build()
    resumed.load_state_dict(model.state_dict())
    other.load_state_dict(optimizer.state_dict())
    spy = RateSpy(other)
    engine.run(batches(), max_epochs=1)
    assert spy.stated[0] == EXPECTED[6:]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def driven_engine(name: str, momentum: float = 0.0) -> tuple[torch.nn.Module, Driven, Engine]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3, dtype=torch.float64), torch.nn.Linear(3, 1, dtype=torch.float64))
    driven = Driven(name, [{"params": list(layer.parameters())} for layer in model], momentum)
    return model, driven, create_supervised_trainer(model, driven.optimizer, torch.nn.functional.mse_loss)


def attach(engine: Engine, driven: Driven, way: str) -> Any:
    """Both ways in which ignite takes a scheduler of torch; the object to be saved."""
    if way == "handler":
        handler = Handler(driven.scheduler)
        engine.add_event_handler(Events.ITERATION_STARTED, handler)
        return handler
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: driven.scheduler.step())
    return driven.scheduler


WAYS = pytest.mark.parametrize("way", ["handler", "step"])


@WAYS
@pytest.mark.parametrize("name", DRIVEN)
def test_schedules_over_any_optimizer(name: str, way: str) -> None:
    _, driven, engine = driven_engine(name)
    attach(engine, driven, way)
    log = Log()
    log.attach_opt_params_handler(engine, event_name=Events.ITERATION_STARTED, optimizer=driven.optimizer)
    engine.run(batches(), max_epochs=2)
    driven.check(range(UPDATES))
    assert log.rows == [{"lr/group_0": a, "lr/group_1": b} for a, b in zip(*DRIVEN_EXPECTED, strict=True)]


@WAYS
@pytest.mark.parametrize("name", DRIVEN)
def test_any_optimizer_resumed_through_a_checkpoint(name: str, way: str) -> None:
    whole, driven, engine = driven_engine(name, 0.9)
    attach(engine, driven, way)
    engine.run(batches(), max_epochs=2)
    first, driven, engine = driven_engine(name, 0.9)
    saved = attach(engine, driven, way)
    engine.run(batches(), max_epochs=1)
    second, resumed, engine = driven_engine(name, 0.9)
    second.load_state_dict(first.state_dict())
    resumed.optimizer.load_state_dict(driven.optimizer.state_dict())
    attach(engine, resumed, way).load_state_dict(saved.state_dict())
    engine.run(batches(), max_epochs=1)
    resumed.check_stated(range(6, UPDATES))
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
