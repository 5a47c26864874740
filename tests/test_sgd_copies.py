"""Copies and processes: deepcopy, pickle, named parameters, groups added later, fork, threads."""

import copy
import io
import multiprocessing
import pickle
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from sgd_cases import NATIVE, assert_same_bits, assert_same_state, filled, gradient_like, same_bits, torch_sgd
from torch import Tensor

import fastlr

OPTIONS: dict[str, Any] = {"momentum": 0.9, "weight_decay": 0.01}


def build(**options: Any) -> fastlr.SGD:
    params = [filled(layout, torch.float32, i) for i, layout in enumerate(["31", "channels_last", "0"])]
    return fastlr.SGD(params, **{"lr": fastlr.warmup_cosine(0.1, 40, warmup=4), **OPTIONS, **options})


def run(optimizer: torch.optim.Optimizer, steps: range) -> None:
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for step in steps:
        for index, param in enumerate(params):
            param.grad = gradient_like(param, 100 * index + step)
        optimizer.step()


def by_pickle(optimizer: fastlr.SGD) -> fastlr.SGD:
    copied: fastlr.SGD = pickle.loads(pickle.dumps(optimizer))
    return copied


def by_torch_save(optimizer: fastlr.SGD) -> fastlr.SGD:
    file = io.BytesIO()
    torch.save(optimizer, file)
    file.seek(0)
    copied: fastlr.SGD = torch.load(file, weights_only=False)
    return copied


COPIES: list[Callable[[fastlr.SGD], fastlr.SGD]] = [copy.deepcopy, by_pickle, by_torch_save]


@pytest.mark.parametrize("duplicate", COPIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("at", [0, 5])
def test_a_copy_goes_on_alone_with_the_same_bits(duplicate: Callable[[fastlr.SGD], fastlr.SGD], at: int) -> None:
    original = build()
    run(original, range(at))
    original.register_step_pre_hook(lambda *_: None)
    copied = duplicate(original)
    assert type(copied) is fastlr.SGD
    assert not copied._optimizer_step_pre_hooks
    run(original, range(at, 12))
    assert copied.step_count == at
    run(copied, range(at, 12))
    assert_same_state(copied, original)
    assert copied.step_count == original.step_count == 12
    assert copied.param_groups[0]["lr"] == original.param_groups[0]["lr"]
    for a, b in zip(copied.param_groups[0]["params"], original.param_groups[0]["params"], strict=True):
        assert a is not b
        assert a.numel() == 0 or a.data_ptr() != b.data_ptr()


def test_deepcopy_of_a_model_with_its_optimizer_keeps_them_together() -> None:
    model = torch.nn.Linear(3, 2)
    pair = copy.deepcopy((model, fastlr.SGD(model.parameters(), lr=0.1)))
    assert pair[1].param_groups[0]["params"][0] is pair[0].weight


def test_an_optimizer_pickled_by_its_class_s_own_state_has_torch_s_keys() -> None:
    state = build().__getstate__()
    assert {"defaults", "state", "param_groups"} <= state.keys()


def test_named_parameters() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    optimizer = fastlr.SGD(model.named_parameters(), lr=0.1)
    names = ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert optimizer.param_groups[0]["param_names"] == names
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == names
    assert optimizer.param_groups[0]["params"][0] is model[0].weight


@pytest.mark.parametrize("own", [{}, {"lr": 0.3}, {"lr": 0.3, "momentum": 0.5, "nesterov": True}, {"lr_scale": 0.5}])
def test_a_group_added_during_training(own: dict[str, Any]) -> None:
    """Without a rate of its own it follows the constructor's schedule, at the optimizer's count."""
    schedule = fastlr.warmup_cosine(0.1, 40, warmup=4)
    ours, theirs = build(lr=schedule), torch_sgd(build().param_groups[0]["params"], lr=0.1, **OPTIONS)
    for step in range(9):
        if step == 3:
            for optimizer in (ours, theirs):
                optimizer.add_param_group({"params": [filled("257", torch.float32, 9)], **own})
        expected = [schedule(step), own.get("lr", schedule(step) * own.get("lr_scale", 1.0))]
        for group, rate, mine in zip(theirs.param_groups, expected, ours.param_groups, strict=False):
            group["lr"] = rate
            assert mine["lr"] == rate
        run(ours, range(step, step + 1))
        run(theirs, range(step, step + 1))
    assert_same_state(ours, theirs)
    assert [group["step_count"] for group in ours.param_groups] == [9, 9]


def child(optimizer: fastlr.SGD, pipe: Connection) -> None:
    """In a forked process: one update, the parameters' values sent back as bytes."""
    optimizer.step()
    pipe.send_bytes(optimizer.param_groups[0]["params"][0].detach().numpy().tobytes())
    pipe.close()


@pytest.mark.skipif(
    not NATIVE, reason="needs a CPU with fused multiply-add: torch's OpenMP threads hang a forked child"
)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_can_step() -> None:
    """The parent's threads do not exist in the child; both go on, with the same bits."""
    param = torch.linspace(-1, 1, 400_009)
    optimizer = fastlr.SGD([param, torch.ones(3)], lr=0.1, momentum=0.9)
    param.grad = torch.linspace(1, 2, 400_009)
    optimizer.step()
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(optimizer, sending))
    process.start()
    sending.close()
    try:
        assert receiving.poll(30), "the child hangs"
        answer = receiving.recv_bytes()
        process.join(30)
    finally:
        if process.is_alive():
            process.kill()
    assert process.exitcode == 0
    optimizer.step()
    assert answer == param.numpy().tobytes()


def test_optimizers_in_threads_of_their_own() -> None:
    def work(results: list[Tensor], index: int) -> None:
        param = torch.linspace(-1, 1, 100_003) + index
        optimizer = fastlr.SGD([param, torch.ones(7)], lr=0.01 * (index + 1), momentum=0.9)
        for step in range(20):
            param.grad = torch.full_like(param, 1.0 + step)
            optimizer.step()
        results[index] = param

    count = 4
    alone, together = [torch.empty(0)] * count, [torch.empty(0)] * count
    for index in range(count):
        work(alone, index)
    threads = [threading.Thread(target=work, args=(together, index)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same_bits(together, alone)


def test_one_optimizer_stepped_from_a_new_thread_each_time() -> None:
    ours, theirs = build(lr=0.1), torch_sgd(build().param_groups[0]["params"], lr=0.1, **OPTIONS)
    for step in range(5):
        thread = threading.Thread(target=run, args=(ours, range(step, step + 1)))
        thread.start()
        thread.join()
    run(theirs, range(5))
    assert_same_state(ours, theirs)


def test_parameters_in_shared_memory() -> None:
    model = torch.nn.Linear(5, 3).share_memory()
    expected = copy.deepcopy(model)
    for net, make in ((model, fastlr.SGD), (expected, torch_sgd)):
        net(torch.ones(2, 5)).sum().backward()
        make(net.parameters(), lr=0.1).step()
    assert same_bits(model.weight, expected.weight)


def test_a_copy_keeps_what_was_written_from_outside() -> None:
    optimizer = fastlr.SGD([torch.nn.Parameter(torch.zeros(3))], lr=fastlr.warmup_cosine(0.1, 20))
    optimizer.param_groups[0]["lr"] = -0.5
    assert copy.deepcopy(optimizer).param_groups[0]["lr"] == -0.5
