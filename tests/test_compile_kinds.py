"""Compiled steps with tensors, options and arguments of every kind: in the graph, or in the step outside of it."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from compile_cases import BACKENDS, RULES, SCHEDULE, Sides
from sgd_cases import LAYOUTS, filled, gradient_like, same_bits
from test_sgd_kinds import Named, Wrapper
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import fastlr

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def no_earlier_code() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", BACKENDS)
def test_layouts_and_dtypes(backend: str) -> None:
    params = [filled(layout, torch.float32, 0) for layout in LAYOUTS]
    params += [filled("31", dtype, 1) for dtype in (torch.float64, torch.float16, torch.bfloat16)]
    sides = Sides(RULES["adamw"], params, backend=backend)
    for t in range(3):
        sides.step(t)
    assert len(sides.backend.graphs) == len(sides.backend.calls()) == 1


def parts() -> list[Tensor]:
    flat = torch.linspace(-1, 1, 40)
    return [flat[:7], flat[7:25], flat[25:]]


def overlapping() -> list[Tensor]:
    flat = torch.linspace(-1, 1, 40)
    return [flat[:25], flat[15:]]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make", [parts, overlapping])
def test_views_of_one_buffer(make: Callable[[], list[Tensor]], backend: str) -> None:
    sides = Sides(RULES["momentum"], make(), backend=backend, fullgraph=False)
    assert len({param.untyped_storage().data_ptr() for param in sides.params[0]}) == 1
    for t in range(3):
        sides.step(t)
    assert not sides.backend.calls()


OUTSIDE: dict[str, tuple[Callable[[Any], Any], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "sparse": (lambda p: fastlr.SGD(p, lr=0.1), lambda x: x, lambda x: x.to_sparse()),
    "complex": (RULES["adamw"], lambda x: torch.complex(x, x.sin()), lambda x: torch.complex(x, x.cos())),
    "negated": (RULES["adamw"], lambda x: x, lambda x: torch._neg_view(x)),
    "differentiable": (lambda p: fastlr.SGD(p, lr=0.1, differentiable=True), lambda x: x, lambda x: x),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", OUTSIDE)
def test_what_no_operator_takes(kind: str, backend: str) -> None:
    make, as_param, as_grad = OUTSIDE[kind]
    sides = Sides(make, [as_param(torch.linspace(-1, 1, 12).reshape(3, 4))], backend=backend, fullgraph=False)
    for t in range(3):
        for (param,) in sides.params:
            param.grad = as_grad(gradient_like(torch.empty(3, 4), t))
        sides.run()
    assert sides.optimizers[0].step_count == 3
    assert not sides.backend.calls()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_parameter_that_stands_twice(backend: str) -> None:
    params = [torch.linspace(-1, 1, 31)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of it
        sides = Sides(lambda side: fastlr.SGD(side * 2, lr=SCHEDULE), params, backend=backend, fullgraph=False)
    for t in range(3):
        sides.step(t)
    assert not sides.backend.calls()


def test_what_needs_a_full_graph_and_has_none() -> None:
    optimizer = fastlr.SGD([torch.nn.Parameter(torch.ones(3))], lr=0.1, differentiable=True)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(lambda: optimizer.step(), fullgraph=True, backend="eager")()


def test_a_differentiable_step_is_differentiated() -> None:
    rate = torch.tensor(0.5, requires_grad=True)
    param = torch.ones(3, requires_grad=True).clone()
    param.grad = torch.full((3,), 2.0)
    optimizer = fastlr.SGD([param], lr=rate, differentiable=True)
    torch.compile(lambda: optimizer.step(), backend="eager")()
    param.sum().backward()
    assert float(rate.grad) == -6.0  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_subclass_of_parameters(backend: str) -> None:
    sides = Sides(RULES["adamw"], [Named(torch.linspace(-1, 1, 31))], backend=backend, fullgraph=False)
    for t in range(3):
        sides.step(t)
    assert not sides.backend.calls()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tensor_around_another(backend: str) -> None:
    wrapped, plain = Wrapper(torch.linspace(-1, 1, 31)), torch.linspace(-1, 1, 31)
    optimizers = [RULES["momentum"]([param]) for param in (wrapped, plain)]
    step = torch.compile(lambda: optimizers[0].step(), backend=backend)
    for t in range(3):
        plain.grad = gradient_like(plain, t)
        wrapped.grad = Wrapper(plain.grad.clone())
        step()
        optimizers[1].step()
        assert same_bits(wrapped.within, plain)


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs torch.distributed with gloo")
@pytest.mark.parametrize("backend", BACKENDS)
def test_distributed_tensors(mesh: DeviceMesh, backend: str) -> None:
    def sharded(values: Tensor) -> DTensor:
        return distribute_tensor(values, mesh, [Shard(0)])

    optimizers = [RULES["adamw"]([sharded(torch.linspace(-1, 1, 12).reshape(3, 4))]) for _ in range(2)]
    (first,), (second,) = (optimizer.param_groups[0]["params"] for optimizer in optimizers)
    step = torch.compile(lambda: optimizers[0].step(), backend=backend)
    for t in range(3):
        first.grad = sharded(gradient_like(torch.empty(3, 4), t))
        second.grad = sharded(gradient_like(torch.empty(3, 4), t))
        step()
        optimizers[1].step()
        assert same_bits(first.to_local(), second.to_local())
    assert optimizers[0].step_count == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_rate_that_is_a_tensor(backend: str) -> None:
    sides = Sides(lambda params: fastlr.SGD(params, lr=torch.tensor(0.1)), backend=backend)
    for t in range(3):
        sides.each(lambda optimizer, _, t=t: optimizer.param_groups[0]["lr"].fill_(0.1 * (t + 1)))
        sides.step(t)
    assert len(sides.backend.calls()) == 1


def test_the_bound_method_compiled() -> None:
    sides = Sides(RULES["adamw"])
    sides.compiled = torch.compile(sides.optimizers[0].step, fullgraph=True, backend=sides.backend)
    for t in range(3):
        sides.step(t)
    assert len(sides.backend.graphs) == len(sides.backend.calls()) == 1


def test_dynamic_shapes() -> None:
    sides = Sides(RULES["adamw"])
    step = lambda: sides.optimizers[0].step()  # noqa: E731
    sides.compiled = torch.compile(step, fullgraph=True, dynamic=True, backend=sides.backend)
    for t in range(3):
        sides.step(t)
    assert len(sides.backend.graphs) == len(sides.backend.calls()) == 1


def test_hooks_run() -> None:
    seen = [torch.zeros(()), torch.zeros(())]

    def add(count: Tensor) -> None:
        count += 1

    def make(params: Any) -> Any:
        optimizer = fastlr.SGD(params, lr=SCHEDULE)
        optimizer.register_step_pre_hook(lambda *_: add(seen[0]))
        optimizer.register_step_post_hook(lambda *_: add(seen[1]))
        return optimizer

    sides = Sides(make)
    for t in range(3):
        sides.step(t)
    assert [int(count) for count in seen] == [6, 6]
    assert len(sides.backend.graphs) == len(sides.backend.calls()) == 1


def test_under_a_profiler() -> None:
    with torch.profiler.profile() as profile:
        sides = Sides(RULES["sgd"])
        sides.step(0)
    names = [event.key for event in profile.key_averages()]
    assert "fastlr::step" in names


def test_grad_scaler_skips_a_step() -> None:
    def call(optimizer: Any, params: list[Tensor]) -> None:
        scaler = scalers[0 if params is sides.params[0] else 1]
        scaler.step(optimizer)
        scaler.update()

    scalers = [torch.amp.GradScaler("cpu", init_scale=4.0) for _ in range(2)]
    sides = Sides(RULES["adamw"], fullgraph=False, anew=True, call=call)
    for scaler in scalers:
        scaler.scale(torch.ones(()))
    for t in range(4):
        for params in sides.params:
            for index, param in enumerate(params):
                param.grad = gradient_like(param, 10 * index + t) if t != 2 else torch.full_like(param, torch.inf)
        sides.run()
    assert sides.optimizers[0].step_count == 3
