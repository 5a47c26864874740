"""Trainings on two ranks and on one, which give the same parameters: what the tests run, in each of the processes."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import fastlr
from fastlr import schedules

WORLD = 2
STEPS = 9
# The first update has the rate 0, as those have that only create the optimizer's state.
RATE = schedules.Linear(0.0, 0.1, 3) >> schedules.Cosine(0.1, 0.01, STEPS)


@dataclass(frozen=True)
class Rule:
    """An optimizer of fastlr, and the one of torch that does the same (None: torch has none)."""

    ours: Callable[..., torch.optim.Optimizer]
    theirs: Callable[..., torch.optim.Optimizer] | None
    options: dict[str, Any] = field(default_factory=dict)
    exact: bool = True  # bit for bit; torch's square roots on x86 are not rounded right


RULES = {
    "SGD": Rule(fastlr.SGD, torch.optim.SGD, {"momentum": 0.9}),
    "SGD without momentum": Rule(fastlr.SGD, torch.optim.SGD),
    "AdamW": Rule(fastlr.AdamW, torch.optim.AdamW, exact=False),
    "Adam, amsgrad": Rule(fastlr.Adam, torch.optim.Adam, {"amsgrad": True}, exact=False),
    "Lion": Rule(fastlr.Lion, None),
    "scheduled momentum": Rule(fastlr.SGD, None, {"momentum": schedules.Linear(0.5, 0.9, 6)}),
    "scheduled beta": Rule(fastlr.AdamW, None, {"betas": (schedules.Linear(0.5, 0.9, 6), 0.99)}),
    "averaged": Rule(fastlr.SGD, None, {"momentum": 0.9, "ema_decay": schedules.Linear(0.2, 0.9, 6)}),
}


def make(rule: str, maker: str, params: Any, lr: Any, **recipe: Any) -> tuple[torch.optim.Optimizer, list[str]]:
    """The optimizer, and a list that grows by what fastlr's core leaves to torch's operators."""
    left: list[str] = []
    if maker == "torch":
        theirs = RULES[rule].theirs
        assert theirs is not None
        return theirs(params, lr=lr, foreach=False, **RULES[rule].options), left
    optimizer: Any = RULES[rule].ours(params, lr=lr, **RULES[rule].options, **recipe)
    inner = optimizer._fallback

    def counted(entries: list[Any]) -> None:
        left.extend(type(param).__name__ for *_, found in entries for param in found)
        inner(entries)

    optimizer._fallback = counted
    return optimizer, left


def build() -> torch.nn.Sequential:
    """Sizes that two ranks cannot share evenly, and some that leave the second one with nothing."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 7), torch.nn.LayerNorm(7), torch.nn.Tanh(), torch.nn.Linear(7, 3), torch.nn.Linear(3, 1)
    )


def batch(step: int, rank: int, part: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(100 * step + 10 * rank + part)
    return torch.randn(6, 5, generator=generator), torch.randn(6, 1, generator=generator)


def shard(model: torch.nn.Sequential, *, whole: bool) -> torch.nn.Module:
    """With FSDP2 the linear layers, and what is left of the model if it is to be sharded as a whole."""
    mesh = init_device_mesh("cpu", (WORLD,))
    for layer in [layer for layer in model if isinstance(layer, torch.nn.Linear)][: None if whole else 2]:
        fully_shard(layer, mesh=mesh)
    if whole:
        fully_shard(model, mesh=mesh)
    return model


def split(model: torch.nn.Sequential) -> torch.nn.Module:
    """Tensor parallel: every rank has the same data, and parts of the first two linear layers."""
    plan = {
        "0": ColwiseParallel(output_layouts=Replicate()),
        "3": RowwiseParallel(input_layouts=Replicate()),
    }
    return parallelize_module(model, init_device_mesh("cpu", (WORLD,)), plan)


WRAPPINGS: dict[str, Callable[[torch.nn.Sequential], torch.nn.Module]] = {
    "alone": lambda model: model,
    "DDP": DistributedDataParallel,
    "FSDP2": lambda model: shard(model, whole=True),
    "FSDP2 in part": lambda model: shard(model, whole=False),
    "tensor parallel": split,
}


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """As in the ranks: some gradients depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def full(tensor: torch.Tensor) -> torch.Tensor:
    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().clone()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, schedules.Schedule) else value


@dataclass
class Run:
    """A training; "alone" it averages the gradients of the ranks itself."""

    wrapping: str
    rule: str
    maker: str = "fastlr"
    accumulate: int = 1  # backward passes for an update
    clip: bool = False
    readers: int = WORLD  # ranks that have data of their own
    late: int = 0  # updates before the last parameter gets a gradient
    dtype: str = "float32"
    recipe: dict[str, Any] = field(default_factory=dict)
    norms: list[Any] = field(default_factory=list)  # of the gradients, where they are clipped
    done: int = 0

    def __post_init__(self) -> None:
        self.model = WRAPPINGS[self.wrapping](build().to(getattr(torch, self.dtype)))
        self.params = list(self.model.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [param for param in self.params if param.dim() > 1], "weight_decay": 0.1},
            {"params": [param for param in self.params if param.dim() == 1], "lr_scale": 0.5},
        ]
        rate = RATE if self.maker == "fastlr" else 0.0
        self.optimizer, self.left = make(self.rule, self.maker, groups, rate, **self.recipe)

    def train(self, steps: int) -> "Run":
        """Go on until so many steps are done."""
        for step in range(self.done, steps):
            self.optimizer.zero_grad()
            self._average_alone(step) if self.wrapping == "alone" else self._backward(step)
            if step < self.late:
                self.params[-1].grad = None
            if self.clip:
                self.norms.append(full(torch.nn.utils.clip_grad_norm_(self.params, 0.5)).item())
            if self.maker == "torch":
                for group in self.optimizer.param_groups:
                    group["lr"] = RATE(step) * group.get("lr_scale", 1.0)
            self.optimizer.step()
            if self.recipe.get("max_grad_norm") is not None:
                self.norms.append(self.optimizer.grad_norm)  # type: ignore[attr-defined]
        self.done = steps
        return self

    def _backward(self, step: int) -> None:
        for part in range(self.accumulate):
            with self._reduced(part + 1 == self.accumulate):
                self._loss(step, dist.get_rank() % self.readers, part).backward()
        if self.wrapping == "FSDP2 in part":
            for param in self.params:
                if not isinstance(param, DTensor):
                    dist.all_reduce(param.grad)
                    param.grad /= WORLD

    def _loss(self, step: int, rank: int, part: int) -> torch.Tensor:
        inputs, targets = (values.to(self.params[0].dtype) for values in batch(step, rank, part))
        return (self.model(inputs) - targets).square().mean() / self.accumulate

    @contextlib.contextmanager
    def _reduced(self, reduced: bool) -> Iterator[None]:
        """Whether the ranks exchange gradients in this backward."""
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.set_requires_gradient_sync(reduced)
        if isinstance(self.model, DistributedDataParallel) and not reduced:
            with self.model.no_sync():
                yield
        else:
            yield

    @one_thread()
    def _average_alone(self, step: int) -> None:
        parts = []
        for rank in range(self.readers):
            self.model.zero_grad()
            for part in range(self.accumulate):
                self._loss(step, rank, part).backward()
            parts.append([param.grad for param in self.params])
        for param, *grads in zip(self.params, *parts, strict=True):
            param.grad = torch.stack(grads).sum(0) / self.readers

    def record(self) -> dict[str, Any]:
        """All that the training has changed, gathered from the ranks."""
        state = [self.optimizer.state.get(param, {}) for param in self.params]
        own = ("lr", "lr_schedule", "step_count", "held_steps", "momentum", "betas")
        return {
            "params": [full(param) for param in self.params],
            "state": [{name: full(value) for name, value in entries.items()} for entries in state],
            "groups": [{name: _plain(group.get(name)) for name in own} for group in self.optimizer.param_groups],
            "left": self.left,
            "norms": self.norms,
        }


def train(steps: int = STEPS, **options: Any) -> dict[str, Any]:
    return Run(**options).train(steps).record()
