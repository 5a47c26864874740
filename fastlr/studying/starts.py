"""Where runs begin: parameters, batches and random numbers, by digests, so that those from another start are known."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from fastlr.finder.run import Training
from fastlr.searching.batches import Batches, device_of
from fastlr.searching.losses import require_finite
from fastlr.searching.randomness import Randomness
from fastlr.searching.restoring import restored
from fastlr.studying.questions import digest
from fastlr.sweeping.subject import Subject, tensors_in

NEAR = 1e-3  # what the first loss may differ by, as a part of it: other processors round otherwise


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    Attributes:
        parameters: A digest of the model's parameters and buffers, and of the state of the optimizer.
        batch: A digest of the first batch.
        seed: That all random numbers begin with.
        loss: Of the first batch, before any update.
        validation: A digest of the first validation batch; None where there is none.
    """

    parameters: str
    batch: str
    seed: int
    loss: float
    validation: str | None = None

    def packed(self) -> dict[str, Any]:
        return asdict(self)

    def difference(self, stored: dict[str, Any]) -> str | None:
        """What is not as in a start that was stored, in words; None where nothing is."""
        if stored["parameters"] != self.parameters:
            return "the model's parameters differ"
        if stored["seed"] != self.seed:
            return "the random numbers differ"
        if stored["batch"] != self.batch:
            return "the first batch differs"
        if stored["validation"] != self.validation:
            return "the first validation batch differs"
        if not math.isclose(stored["loss"], self.loss, rel_tol=NEAR, abs_tol=1e-6):
            return f"the loss of the first batch, {self.loss:.6g}, differs"
        return None


def seed_here() -> int:
    """A seed that follows from where torch's random numbers are, which stay there."""
    generator = torch.Generator()
    generator.set_state(torch.get_rng_state())
    return int(torch.randint(2**62, (), generator=generator))


def sweep_start(
    model: torch.nn.Module,
    loss_fn: Any,
    forward: Any,
    loader: Iterable[Any],
    validation: Iterable[Any] | None,
    seed: int,
) -> Start:
    """Of a sweep. Raises what `fastlr.sweep` does for a model and a loader that it does not take."""
    modules = _modules(loss_fn)
    with restored(*modules, loader=loader) as randomness:
        randomness.seed(seed)
        subject = Subject(model, loss_fn, forward)
        batch = next(Batches(loader, device_of(model)))
        seen = digest(tensors_in(batch))
        devices = {tensor.device.type for tensor in model.parameters()}
        loss = subject.look(batch, Randomness(devices, loader)).loss
    checked = None if validation is None else _first(validation, seed)
    return Start(sweep_parameters(model, loss_fn), seen, seed, loss, checked)


def find_start(training: Training, modules: list[torch.nn.Module], seed: int) -> Start:
    """Of a range test. Raises what `fastlr.find_lr` does for a loader and a loss that it does not take."""
    state = find_parameters(training, modules)
    with restored(*modules, loader=training.loader) as randomness:
        randomness.seed(seed)
        if not training.model.training:
            training.model.train()
        batch = next(Batches(training.loader, training.device))
        seen = digest(tensors_in(batch))
        with torch.no_grad():
            loss = float(training.loss(batch))
    require_finite(loss)
    return Start(state, seen, seed, loss)


def sweep_parameters(model: torch.nn.Module, loss_fn: Any) -> str:
    """A digest of what a sweep starts from."""
    return digest(_state([model, *_modules(loss_fn)]))


def find_parameters(training: Training, modules: Iterable[torch.nn.Module]) -> str:
    """A digest of what a range test starts from."""
    return digest([*_state(modules), *_state_of(training.optimizer)])


def begins_again(loader: Iterable[Any], start: Start) -> bool:
    """Whether the loader gives the start's batch once more when the random numbers begin again."""
    return _first(loader, start.seed) == start.batch


def _first(loader: Iterable[Any], seed: int) -> str:
    """A digest of the batch that a loader begins with."""
    with restored(loader=loader) as randomness:
        randomness.seed(seed)
        return digest(tensors_in(next(Batches(loader))))


def _modules(loss_fn: Any) -> list[torch.nn.Module]:
    return [loss_fn] if isinstance(loss_fn, torch.nn.Module) else []


def _state(modules: Iterable[torch.nn.Module]) -> Iterator[torch.Tensor]:
    for module in modules:
        yield from (value for value in module.state_dict(keep_vars=True).values() if isinstance(value, torch.Tensor))


def _state_of(optimizer: Optimizer) -> Iterator[torch.Tensor]:
    for state in optimizer.state_dict()["state"].values():
        yield from tensors_in(state)
