"""After a range test everything is as before, byte for byte and the same objects, however it ends."""

import random
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from find_cases import batches, differences, everything, interrupted, network, train
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import fastlr
from fastlr.finder import find_lr
from fastlr.schedules import Cosine, ReduceOnPlateau

LOADER = batches()
SHORT = {"low": 1e-3, "high": 1.0, "steps": 5}

Make = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "fastlr.SGD": lambda params: fastlr.SGD(params, lr=Cosine(0.1, 0.0, 20), momentum=0.9, max_grad_norm=1.0),
    "fastlr.AdamW": lambda params: fastlr.AdamW(params, lr=0.01, ema_decay=0.9, weight_decay=Cosine(0.1, 0.0, 9)),
    "fastlr.Lion": lambda params: fastlr.Lion(params, lr=ReduceOnPlateau(0.01, patience=1)),
    "torch.SGD": lambda params: torch.optim.SGD(params, lr=torch.tensor(0.1), momentum=0.9),
    "torch.Adam": lambda params: torch.optim.Adam(params, amsgrad=True),
    "torch.LBFGS": lambda params: torch.optim.LBFGS(params, max_iter=3),
}


def trained(make: Make) -> tuple[nn.Module, torch.optim.Optimizer, torch.amp.GradScaler]:
    """A model and its optimizer in the middle of a training, gradients included, and a scaler in use."""
    model = network()
    model[3].eval()
    optimizer = make(model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(()))  # which makes its tensors
    if isinstance(optimizer, torch.optim.LBFGS):
        optimizer.step(lambda: cross_entropy(model(LOADER[0][0]), LOADER[0][1]).detach().requires_grad_())
    else:
        train(model, optimizer, LOADER)
    if isinstance(optimizer, fastlr.Lion):
        optimizer.report(1.0)
    return model, optimizer, scaler


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_everything_is_as_before(name: str) -> None:
    model, optimizer, scaler = trained(OPTIMIZERS[name])
    options: dict[str, Any] = {} if name == "torch.LBFGS" else {"scaler": scaler}
    before = everything(model, optimizer, scaler)
    norm = getattr(optimizer, "grad_norm", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = find_lr(model, cross_entropy, LOADER, optimizer, repeats=2, **SHORT, **options)
    assert len(set(result.losses)) > 1
    assert differences(everything(model, optimizer, scaler), before) == []
    assert getattr(optimizer, "grad_norm", None) == norm


@pytest.mark.parametrize("name", ["fastlr.SGD", "fastlr.AdamW", "fastlr.Lion", "torch.SGD", "torch.Adam"])
def test_training_goes_on_as_if_there_had_been_no_test(name: str) -> None:
    ends = []
    for tested in (True, False):
        model, optimizer, _ = trained(OPTIMIZERS[name])
        if tested:
            find_lr(model, cross_entropy, LOADER, optimizer, **SHORT)
        train(model, optimizer, LOADER)
        ends.append([tensor.tolist() for tensor in model.state_dict().values()])
    assert ends[0] == ends[1]


SCHEDULERS: list[Callable[[Any], Any]] = [
    lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5),
    lambda optimizer: fastlr.LRScheduler(optimizer, lr=Cosine(0.1, 0.0, 30)),
    lambda optimizer: fastlr.LRScheduler(optimizer, factor=Cosine(1.0, 0.0, 30)),
]


@pytest.mark.parametrize("make", [fastlr.SGD, torch.optim.SGD])
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_schedulers_do_not_notice(make: Any, schedule: Callable[[Any], Any]) -> None:
    rates = []
    for tested in (True, False):
        model = network()
        optimizer = make(model.parameters(), lr=0.1)
        scheduler = schedule(optimizer)
        for _ in range(2):
            if tested:
                find_lr(model, cross_entropy, LOADER, optimizer, **SHORT)
            train(model, optimizer, LOADER, scheduler)
            rates.append((scheduler.get_last_lr(), scheduler.last_epoch, optimizer.param_groups[0]["lr"]))
    assert rates[:2] == rates[2:]


def test_a_scheduler_still_warns_of_an_optimizer_that_has_not_stepped() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    find_lr(model, cross_entropy, LOADER, optimizer, **SHORT)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()


EVENTS = ["loader", "forward", "loss", "backward", "step"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("at", [0, 3])
def test_an_exception_anywhere_leaves_nothing_behind(error: type[BaseException], event: str, at: int) -> None:
    model, optimizer, scaler = trained(OPTIMIZERS["fastlr.SGD"])
    counts = dict.fromkeys(EVENTS, 0)

    def happens(what: str) -> None:
        counts[what] += 1
        if what == event and counts[what] == at + 1:
            raise error("now")

    class Loader:
        def __iter__(self) -> Iterator[Any]:
            for batch in LOADER:
                random.random(), np.random.rand(), torch.rand(1)
                happens("loader")
                yield batch

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        happens("loss")
        loss = cross_entropy(output, target)
        loss.register_hook(lambda _: happens("backward"))
        return loss

    hooks = [model.register_forward_hook(lambda *_: happens("forward"))]
    hooks.append(optimizer.register_step_post_hook(lambda *_: happens("step")))
    before = everything(model, optimizer, scaler)
    with pytest.raises(error, match="now"):
        find_lr(model, loss_fn, Loader(), optimizer, scaler=scaler, **SHORT)
    assert differences(everything(model, optimizer, scaler), before) == []
    assert counts[event] == at + 1


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_anywhere_leaves_nothing_behind() -> None:
    model, optimizer, scaler = trained(OPTIMIZERS["fastlr.AdamW"])
    before = everything(model, optimizer, scaler)
    handler = signal.getsignal(signal.SIGINT)

    def call() -> None:
        find_lr(model, cross_entropy, LOADER, optimizer, scaler=scaler, low=1e-3, high=1.0, steps=2)

    total = interrupted(call, -1)
    assert differences(everything(model, optimizer, scaler), before) == []
    for at in range(1, total, max(1, total // 150)):
        with pytest.raises(KeyboardInterrupt):
            interrupted(call, at)
        assert differences(everything(model, optimizer, scaler), before) == [], at
        assert signal.getsignal(signal.SIGINT) is handler, at


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_with_its_own_generator_goes_on_with_the_order_it_would_have_had(workers: int) -> None:
    data = torch.utils.data.TensorDataset(torch.cat([x for x, _ in LOADER]), torch.cat([y for _, y in LOADER]))
    orders = []
    for tested in (True, False):
        generator = torch.Generator().manual_seed(4)
        loader = torch.utils.data.DataLoader(
            data, 13, shuffle=True, generator=generator, num_workers=workers, persistent_workers=workers > 0
        )
        model = network()
        iterator = iter(loader)
        first = next(iterator)[1]
        if tested:
            find_lr(model, cross_entropy, loader, steps=10)
        rest = [target for _, target in iterator]
        orders.append(torch.cat([first, *rest, *(target for _, target in loader)]).tolist())
    assert orders[0] == orders[1]


def test_what_a_forward_pass_writes_into_its_module_is_put_back() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()
            self.calls = 0
            self.cached: Tensor | None = None
            self.register_buffer("seen", torch.zeros(1).expand(3))
            self.register_buffer("last", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.cached = x
            self.last = x.sum()  # another tensor in the buffer's place
            found: Tensor = self.net(x)
            return found

    model = Counting()
    before = everything(model)
    find_lr(model, cross_entropy, LOADER, **SHORT)
    assert differences(everything(model), before) == []
    assert (model.calls, model.cached) == (0, None)


def test_an_optimizer_of_fastlr_within_another() -> None:
    class Wrapper(torch.optim.Optimizer):
        """As accelerate's, and others that share the groups of the one inside."""

        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer
            self.param_groups = optimizer.param_groups

        def zero_grad(self, set_to_none: bool = True) -> None:
            self.optimizer.zero_grad(set_to_none)

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            self.optimizer.step(closure)

    ends = []
    for tested in (True, False):
        model, optimizer, _ = trained(OPTIMIZERS["fastlr.SGD"])
        before = everything(model, optimizer)
        if tested:
            find_lr(model, cross_entropy, LOADER, Wrapper(optimizer), **SHORT)
            assert differences(everything(model, optimizer), before) == []
        train(model, optimizer, LOADER)
        ends.append([tensor.tolist() for tensor in model.state_dict().values()])
    assert ends[0] == ends[1]
