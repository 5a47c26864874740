"""A block after which everything is as before: its parts by themselves."""

import random
import signal
import threading
from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch
from find_cases import differences, everything, network

import fastlr
from fastlr.searching.interrupts import Interrupts
from fastlr.searching.keeping import Kept
from fastlr.searching.randomness import Randomness
from fastlr.searching.restoring import restored, trainable


def test_containers_keep_their_identity_and_contents() -> None:
    tensor = torch.arange(3.0)
    inner: dict[str, Any] = {"t": tensor, "n": 1}
    owner: dict[str, Any] = {"list": [1, inner], "set": {1, 2}, "deque": deque([inner]), "order": OrderedDict(b=1, a=2)}
    parts = dict(owner)
    kept = Kept()
    kept.keep(owner)
    tensor.fill_(9)
    inner["t"] = None
    owner["list"].append(3)
    owner["set"].clear()
    owner["deque"].pop()
    owner["order"].move_to_end("b")
    owner["new"] = owner.pop("list")
    kept.restore()
    assert owner == {"list": [1, inner], "set": {1, 2}, "deque": deque([inner]), "order": OrderedDict(b=1, a=2)}
    assert all(owner[name] is part for name, part in parts.items())
    assert inner["t"] is tensor
    assert tensor.tolist() == [0, 1, 2]


TENSORS = [
    torch.tensor([float("nan"), -0.0, float("inf")]),
    torch.arange(12.0).view(3, 4).t(),
    torch.ones(1).expand(5),
    torch.zeros(0),
    torch.tensor([1, 2], dtype=torch.int8),
    torch.tensor([True, False]),
    torch.ones(2, dtype=torch.bfloat16),
    torch.ones(2, dtype=torch.complex64),
]


@pytest.mark.parametrize("tensor", TENSORS, ids=str)
def test_tensors_of_every_kind(tensor: torch.Tensor) -> None:
    before = tensor.clone().contiguous().view(torch.uint8).tolist()
    kept = Kept()
    kept.keep(tensor)
    tensor[:1].fill_(0)
    kept.restore()
    assert tensor.contiguous().view(torch.uint8).tolist() == before


def test_gradients_are_away_within_and_back_after() -> None:
    model = network()
    params = list(model.parameters())
    params[0].grad = grad = torch.ones_like(params[0])
    with restored(model):
        assert all(param.grad is None for param in params)
        params[0].grad = torch.zeros_like(params[0])
        params[1].requires_grad_(False)
        params[1].grad = torch.zeros_like(params[1])
    assert params[0].grad is grad
    assert params[1].grad is None
    assert params[1].requires_grad
    assert grad.eq(1).all()


def test_a_buffer_into_which_a_gradient_flowed() -> None:
    model = torch.nn.BatchNorm1d(2)
    assert model.running_mean is not None
    with restored(model):
        model.running_mean.mul_(model.weight)
        assert not model.running_mean.is_leaf
    assert model.running_mean.is_leaf
    assert not model.running_mean.requires_grad


def test_an_optimizer_within_an_optimizer() -> None:
    class Outer(torch.optim.Optimizer):
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            super().__init__(inner.param_groups, {})
            self.inner, self.count = inner, 0

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            self.count += 1
            self.inner.step()

    weight = torch.nn.Parameter(torch.ones(2))
    outer = Outer(torch.optim.Adam([weight]))
    weight.grad = torch.ones(2)
    before = everything(outer)
    with restored(optimizer=outer):
        weight.grad = torch.ones(2)
        outer.step()
    assert outer.count == 0
    assert differences(everything(outer), before) == []


@pytest.mark.parametrize("seeded", [False, True])
def test_random_numbers_go_on_where_they_were(seeded: bool) -> None:
    class Loader:
        generator = torch.Generator().manual_seed(1)

    loader = Loader()
    loader.sampler = torch.utils.data.RandomSampler([1], generator=torch.Generator().manual_seed(2))  # type: ignore[attr-defined]
    loader.dataset = lambda: None  # type: ignore[attr-defined]
    loader.dataset.rng = np.random.default_rng(3)  # type: ignore[attr-defined]
    loader.dataset.python = random.Random(4)  # type: ignore[attr-defined]
    loader.dataset.legacy = np.random.RandomState(5)  # type: ignore[attr-defined]
    loader.own = torch.Generator().manual_seed(6)  # type: ignore[attr-defined]

    def draw() -> list[float]:
        data = loader.dataset  # type: ignore[attr-defined]
        torchs = [loader.sampler.generator, loader.own]  # type: ignore[attr-defined]
        found = [torch.rand(1, generator=one).item() for one in torchs]
        return [*found, data.rng.random(), data.python.random(), data.legacy.rand(), random.random(), np.random.rand()]

    randomness = Randomness(loader=loader)
    if seeded:
        randomness.seed(2**40)
    first, torchs = draw(), torch.rand(1).item()
    randomness.restore()
    if seeded:
        other, _ = draw(), randomness.seed(2**40)
        assert all(a != b for a, b in zip(first, other, strict=True))
    assert draw() == first
    assert torch.rand(1).item() == torchs


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_waits_for_the_owner_only() -> None:
    class Owner:
        def __init__(self) -> None:
            self.interrupts = Interrupts(self)
            self.done = False

        def work(self) -> None:
            signal.raise_signal(signal.SIGINT)
            self.done = True

    handler = signal.getsignal(signal.SIGINT)
    owner = Owner()
    owner.interrupts.begin()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    owner.work()
    assert owner.done
    with pytest.raises(KeyboardInterrupt):
        owner.interrupts.end()
    assert signal.getsignal(signal.SIGINT) is handler
    owner.interrupts.end()  # it is told once


@pytest.mark.usefixtures("ctrl_c")
def test_blocks_within_blocks_and_in_other_threads() -> None:
    model, handler = network(), signal.getsignal(signal.SIGINT)
    before = everything(model)

    def interrupted() -> None:
        with restored(model):
            model[0].weight.data.zero_()
            with restored(model):
                model[0].weight.data.fill_(1)
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert differences(everything(model), before) == []

    def in_thread() -> None:
        with restored(model):
            model[0].weight.data.zero_()

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert differences(everything(model), before) == []
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_optimizer_of_fastlr_is_brought_up_to_date_and_keeps_its_plan() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = fastlr.SGD([weight], lr=0.5, max_grad_norm=1.0)
    weight.grad = torch.full((2,), 3.0)
    optimizer.step()
    norm, plan = optimizer.grad_norm, optimizer._plan
    with restored(optimizer=optimizer):
        weight.grad = torch.ones(2)
        optimizer.step()
        assert optimizer.grad_norm != norm
    assert optimizer._plan is plan
    assert (optimizer.grad_norm, optimizer.step_count) == (norm, 1)


def test_trainable_parameters_come_once() -> None:
    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    two.weight = one.weight
    two.bias.requires_grad_(False)
    assert [id(param) for param in trainable([one, two])] == [id(one.weight), id(one.bias)]
