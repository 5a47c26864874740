"""torch's manners around a step: closures, hooks, the profiler, repr, version counters, contexts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from sgd_cases import assert_same_state, filled, gradient_like, same_bits, torch_sgd
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import fastlr

Optimizer = torch.optim.Optimizer


def optimizer_with_gradient(**options: Any) -> fastlr.SGD:
    param = torch.nn.Parameter(torch.zeros(3))
    param.grad = -torch.ones(3)
    return fastlr.SGD([param], **{"lr": 1.0, **options})


def value(optimizer: Optimizer) -> float:
    (param, *_) = optimizer.param_groups[0]["params"]
    return float(param[0].item())


def test_it_is_a_torch_optimizer_whose_step_is_hooked_once() -> None:
    assert isinstance(optimizer_with_gradient(), Optimizer)
    step = fastlr.SGD.step
    assert step.hooked is True  # type: ignore[attr-defined]
    optimizer_with_gradient()
    assert fastlr.SGD.step is step


def test_closure_is_called_once_with_gradients_enabled_and_its_loss_returned() -> None:
    param = torch.nn.Parameter(torch.ones(3))
    optimizer = fastlr.SGD([param], lr=0.5)
    modes: list[bool] = []

    def closure() -> torch.Tensor:
        modes.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = param.sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
        assert not torch.is_grad_enabled()
    assert modes == [True]
    assert loss.item() == 3.0
    assert same_bits(param, torch.full((3,), 0.5))
    assert optimizer.step() is None


def test_an_error_in_the_closure_leaves_everything_unchanged() -> None:
    optimizer = optimizer_with_gradient(momentum=0.9)

    def closure() -> float:
        raise KeyError("from the closure")

    with pytest.raises(KeyError, match="from the closure"):
        optimizer.step(closure)
    assert value(optimizer) == 0.0
    assert optimizer.step_count == 0
    assert torch.is_grad_enabled()


def test_local_and_global_hooks_run_in_torch_s_order() -> None:
    logs: list[list[str]] = []
    for make in (fastlr.SGD, torch_sgd):
        log: list[str] = []
        optimizer = make([torch.zeros(3)], lr=1.0)
        optimizer.param_groups[0]["params"][0].grad = -torch.ones(3)

        def note(name: str, log: list[str] = log) -> Callable[[Optimizer, Any, Any], None]:
            return lambda stepped, args, kwargs: log.append(f"{name} {value(stepped)} {args[1:]} {kwargs}")

        handles = [
            register_optimizer_step_pre_hook(note("global pre")),
            register_optimizer_step_post_hook(note("global post")),
            optimizer.register_step_pre_hook(note("local pre")),
            optimizer.register_step_post_hook(note("local post")),
        ]
        try:
            optimizer.step()
            optimizer.step(closure=None)
            handles[2].remove()
            optimizer.step()
        finally:
            for handle in handles:
                handle.remove()
        optimizer.step()
        logs.append(log)
    assert logs[0] == logs[1]
    assert len(logs[0]) == 11


def test_a_pre_hook_may_replace_the_arguments() -> None:
    optimizer = optimizer_with_gradient()
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: 17.0), {}))
    assert optimizer.step() == 17.0
    assert value(optimizer) == 1.0


def test_a_pre_hook_s_wrong_result_is_refused_before_the_update() -> None:
    optimizer = optimizer_with_gradient()
    optimizer.register_step_pre_hook(lambda opt, args, kwargs: "wrong")  # type: ignore[arg-type,return-value]
    with pytest.raises(RuntimeError, match="must return None or a tuple"):
        optimizer.step()
    assert value(optimizer) == 0.0
    assert optimizer.step_count == 0


def test_a_pre_hook_sees_and_may_change_gradients_and_rate() -> None:
    optimizer = optimizer_with_gradient()

    def hook(opt: Optimizer, args: Any, kwargs: Any) -> None:
        (param,) = opt.param_groups[0]["params"]
        param.grad = 2 * param.grad
        opt.param_groups[0]["lr"] = 0.25

    optimizer.register_step_pre_hook(hook)
    optimizer.step()
    assert value(optimizer) == 0.5


def test_state_dict_hooks() -> None:
    optimizer = optimizer_with_gradient()
    calls: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda opt: calls.append("pre"))
    optimizer.register_state_dict_post_hook(lambda opt, state: {**state, "extra": 1})
    assert optimizer.state_dict()["extra"] == 1
    assert calls == ["pre"]


def test_load_state_dict_hooks() -> None:
    optimizer = optimizer_with_gradient()
    saved = optimizer.state_dict()
    calls: list[str] = []

    def halve(opt: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        calls.append("pre")
        groups = [{**group, "lr": group["lr"] / 2} for group in state["param_groups"]]
        return {**state, "param_groups": groups}

    optimizer.register_load_state_dict_pre_hook(halve)
    optimizer.register_load_state_dict_post_hook(lambda opt: calls.append("post"))
    optimizer.load_state_dict(saved)
    assert calls == ["pre", "post"]
    assert optimizer.param_groups[0]["lr"] == 0.5
    optimizer.step()
    assert value(optimizer) == 0.5


def test_profiler_shows_torch_s_event_names() -> None:
    optimizer = optimizer_with_gradient()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        optimizer.step()
        optimizer.zero_grad()
    names = {event.key: event.count for event in profiler.key_averages()}
    assert names["Optimizer.step#SGD.step"] == 1
    assert names["Optimizer.zero_grad#SGD.zero_grad"] == 1
    assert value(optimizer) == 1.0


def test_autograd_profiler_too() -> None:
    optimizer = optimizer_with_gradient()
    with torch.autograd.profiler.profile() as profiler:
        optimizer.step()
    assert any(event.name == "Optimizer.step#SGD.step" for event in profiler.function_events)


def test_repr_lists_every_group_s_options() -> None:
    optimizer = optimizer_with_gradient(momentum=0.9)
    optimizer.add_param_group({"params": [torch.zeros(2)], "lr": 0.125})
    text = repr(optimizer)
    assert text.startswith("SGD (\nParameter Group 0\n")
    assert "Parameter Group 1\n" in text
    for line in ("    lr: 0.125\n", "    momentum: 0.9\n", "    nesterov: False\n", "    weight_decay: 0\n"):
        assert line in text


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_stale_backward_raises_as_in_torch(momentum: float, dtype: torch.dtype) -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4, dtype=dtype))
    optimizer = fastlr.SGD([weight], lr=0.1, momentum=momentum)
    inputs = torch.ones(2, 4, dtype=dtype, requires_grad=True)
    loss = ((inputs @ weight) @ weight).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="has been modified by an inplace operation"):
        loss.backward()


def test_version_counters_of_updated_parameters_grow() -> None:
    counts = []
    for make in (fastlr.SGD, torch_sgd):
        params = [torch.zeros(3), torch.zeros(5), torch.zeros(2)]
        optimizer = make(params, lr=0.1, momentum=0.9)
        for _ in range(3):
            for param in params[:2]:
                param.grad = torch.ones_like(param)
            before = [p._version for p in params]
            optimizer.step()
            counts.append([p._version > old for p, old in zip(params, before, strict=True)])
    assert counts[:3] == counts[3:] == [[True, True, False]] * 3


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts(name: str) -> None:
    sides = [make([filled("31", torch.float32, 0)], lr=0.1, momentum=0.9) for make in (fastlr.SGD, torch_sgd)]
    for optimizer in sides:
        (param,) = optimizer.param_groups[0]["params"]
        for step in range(3):
            param.grad = gradient_like(param, step)
            with CONTEXTS[name]():
                optimizer.step()
    assert_same_state(*sides)


def test_inference_tensors_as_parameters() -> None:
    sides = []
    with torch.inference_mode():
        for make in (fastlr.SGD, torch_sgd):
            param = torch.ones(5)
            sides.append(make([param], lr=0.1, momentum=0.9))
            for step in range(3):
                param.grad = torch.full((5,), 1.0 + step)
                sides[-1].step()
        assert_same_state(*sides)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_does_not_change_the_bits(threads: int) -> None:
    before = torch.get_num_threads()
    sides = []
    try:
        for make, count in ((fastlr.SGD, threads), (torch_sgd, before)):
            torch.set_num_threads(count)
            param = torch.linspace(-1, 1, 400_009)
            sides.append(make([param, torch.ones(3)], lr=0.1, momentum=0.9))
            for step in range(2):
                param.grad = torch.linspace(1, 2 + step, 400_009)
                sides[-1].step()
    finally:
        torch.set_num_threads(before)
    assert_same_state(*sides)
