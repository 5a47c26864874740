"""A step under torch.compile: an operator in the graph, the bits of the step outside, and no second compilation."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compile_cases import BACKENDS, RULES, SCHEDULE, Backend, Sides
from sgd_cases import assert_same_state, gradient_like, torch_sgd
from torch import Tensor

import fastlr

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),  # torch's own
]


@pytest.fixture(autouse=True)
def no_earlier_code() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_bits_of_torch_along_a_schedule(backend: str) -> None:
    params = [[torch.nn.Parameter(torch.linspace(-1, 1, size)) for size in (31, 257)] for _ in range(2)]
    optimizer = fastlr.SGD(params[0], lr=SCHEDULE, momentum=0.9, weight_decay=0.01)
    reference = torch_sgd(params[1], lr=0.1, momentum=0.9, weight_decay=0.01)
    recorder = Backend(backend)
    step = torch.compile(lambda: optimizer.step(), fullgraph=True, backend=recorder)
    for t in range(8):
        for side in params:
            for index, param in enumerate(side):
                param.grad = gradient_like(param, 10 * index + t)
        assert optimizer.param_groups[0]["lr"] == SCHEDULE(t)
        reference.param_groups[0]["lr"] = SCHEDULE(t)
        step()
        reference.step()
        assert_same_state(optimizer, reference, where=f"at step {t}")
    assert optimizer.step_count == 8
    assert len(recorder.graphs) == len(recorder.calls()) == 1


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule(rule: str, backend: str) -> None:
    sides = Sides(RULES[rule], backend=backend)
    for t in range(5):
        sides.step(t)
    assert len(sides.backend.graphs) == len(sides.backend.calls()) == 1
    assert int(sides.optimizers[0]._link.count) == 5


def test_what_the_operator_declares() -> None:
    sides = Sides(RULES["adamw"])
    sides.step(0)
    (call,) = sides.backend.calls()
    written = [a.name for a in call.target._schema.arguments if a.alias_info is not None and a.alias_info.is_write]  # type: ignore[union-attr]
    assert written == ["params", "states", "count"]
    shapes = [[node.meta["example_value"].shape for node in call.args[place]] for place in range(3)]  # type: ignore[union-attr]
    assert shapes == [[(7, 5), (7,)]] * 2 + [[(7, 5), (7, 5), (7,), (7,)]]
    assert call.args[5] == "0:exp_avg,exp_avg_sq 1:exp_avg,exp_avg_sq"


@pytest.mark.parametrize("rule", ["momentum", "amsgrad"])
def test_torch_checks_the_operator(rule: str) -> None:
    param = torch.nn.Parameter(torch.linspace(-1, 1, 31))
    optimizer = RULES[rule]([param])
    recorder = Backend()
    param.grad = gradient_like(param, 0)
    torch.compile(lambda: optimizer.step(), backend=recorder)()
    states = [value for name, value in optimizer.state[param].items() if name != "step"]
    count, (handle, layout, _) = torch.tensor(1), recorder.calls()[0].args[4:]
    arguments = ([param.detach()], [param.grad], states, count, handle, layout, True)
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(torch.ops.fastlr.step.default, arguments, test_utils=checks)


CHANGES: dict[str, Callable[[Any, int], None]] = {
    "set_schedule": lambda optimizer, t: optimizer.set_schedule(lr=fastlr.warmup_cosine(0.1 + t, 30)),
    "a constant": lambda optimizer, t: optimizer.set_schedule(lr=0.1 * t),
    "lr_scale": lambda optimizer, t: optimizer.param_groups[0].update(lr_scale=1.0 + t),
    "step_count": lambda optimizer, t: setattr(optimizer, "step_count", 2 * t),
    "load_state_dict": lambda optimizer, t: optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict())),
    "report": lambda optimizer, t: optimizer.report(float(t)),
    "a step outside": lambda optimizer, t: optimizer.step(),
    "zero_grad": lambda optimizer, t: optimizer.zero_grad(set_to_none=False),
}


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changing_rate_compiles_nothing_anew(change: str, backend: str) -> None:
    rate = fastlr.schedules.ReduceOnPlateau(0.1, patience=0) if change == "report" else SCHEDULE
    sides = Sides(lambda params: fastlr.AdamW(params, lr=rate), backend=backend)
    for t in range(5):
        sides.step(t)
        sides.each(lambda optimizer, _, t=t: CHANGES[change](optimizer, t))
        sides.run()
    assert len(sides.backend.graphs) == 1


def test_a_rate_written_by_hand() -> None:
    sides = Sides(lambda params: fastlr.SGD(params, lr=0.1, momentum=0.9))
    for t in range(5):
        sides.each(lambda optimizer, _, t=t: optimizer.param_groups[0].update(lr=0.1 / (t + 1), momentum=0.1 * (t + 1)))
        sides.step(t)
    assert len(sides.backend.graphs) == 1


def test_a_scheduler_of_torch() -> None:
    # It wraps step() in a function that torch does not trace: no full graph, also with torch's optimizers.
    sides = Sides(lambda params: fastlr.AdamW(params, lr=0.1), fullgraph=False)
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5) for optimizer in sides.optimizers]
    for t in range(5):
        sides.step(t)
        for scheduler in schedulers:
            scheduler.step()
    assert len(sides.backend.graphs) == len(sides.backend.calls()) == 1


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_whole_training_step(backend: str, set_to_none: bool) -> None:
    inputs = [torch.linspace(-2, 3, 35).reshape(7, 5), torch.linspace(2, 1, 7)]  # the gradients too: nothing to round

    def train(optimizer: Any, params: list[Tensor]) -> Tensor:
        loss = (params[0] * inputs[0]).sum() + (params[1] * inputs[1]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none)
        return loss.isfinite()

    params = [torch.nn.Parameter(torch.full_like(x, 0.5)) for x in inputs]
    sides = Sides(RULES["adamw"], params, backend=backend, fullgraph=False, anew=not set_to_none, call=train)
    for _ in range(2):
        sides.run()
    compiled = len(sides.backend.graphs)
    for _ in range(4):
        sides.run()
    assert (
        len(sides.backend.graphs) == compiled == (2 if set_to_none else 3)
    )  # forward twice: without and with gradients
    assert len(sides.backend.calls()) == 1


def test_closure() -> None:
    def call(optimizer: Any, params: list[Tensor]) -> Tensor:
        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = params[0].square().sum()
            loss.backward()
            return loss

        return optimizer.step(closure).detach()

    sides = Sides(
        RULES["adamw"], [torch.nn.Parameter(torch.linspace(-1, 1, 31))], fullgraph=False, anew=True, call=call
    )
    for _ in range(3):
        sides.run()
    assert len(sides.backend.calls()) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_that_the_graph_makes(backend: str) -> None:
    def call(optimizer: Any, params: list[Tensor]) -> None:
        params[0].grad = params[0].grad * -2
        optimizer.step()

    sides = Sides(RULES["adamw"], backend=backend, call=call)
    for t in range(3):
        sides.step(t)
    assert len(sides.backend.graphs) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_changes_of_the_tensors_around_a_step_keep_their_order(backend: str) -> None:
    def call(optimizer: Any, params: list[Tensor]) -> Tensor:
        before = params[0].clone()
        params[0].mul_(2)
        params[0].grad.neg_()
        optimizer.step()
        between = params[0].clone()
        params[0].sub_(1)
        optimizer.step()
        return before[0, 0] + between[1, 1] + params[0][2, 2]

    sides = Sides(RULES["adamw"], backend=backend, call=call)
    for t in range(3):
        sides.step(t)
    assert [len(sides.backend.graphs), len(sides.backend.calls())] == [1, 2]
