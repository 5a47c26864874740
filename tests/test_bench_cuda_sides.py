"""The sides of the bench on CUDA and how they are compared, on a fake device; the figures made of their times."""

from collections.abc import Callable
from itertools import chain
from typing import Any, TypeAlias

import pytest
import torch
from cuda_places import StandinPlace
from cuda_tensors import on_device
from fake_device import SHORT, SMALL, FakeDevice
from standin_driver import Standin
from torch.utils._python_dispatch import TorchDispatchMode

from fastlr.benchmarks import peers
from fastlr.benchmarks.cuda import sides, steps
from fastlr.benchmarks.cuda.check import CHECKED_UPDATES, TOLERANCES, Checks
from fastlr.benchmarks.cuda.device import WARM_UPS, Action, Times
from fastlr.benchmarks.cuda.sides import Tensors, labels, make_cuda_side
from fastlr.benchmarks.cuda.steps import COPY, time_case
from fastlr.benchmarks.rules import RULES, Rule
from fastlr.schedules import Constant

Patch: TypeAlias = pytest.MonkeyPatch

SGD, ADAMW = RULES["sgd"], RULES["adamw"]
each_rule = pytest.mark.parametrize("rule", [SGD, ADAMW], ids=["sgd", "adamw"])


def test_figures_are_computed_within_each_round(monkeypatch: Patch) -> None:
    measured = {
        "fastlr": [Times(2e-6, 4e-6), Times(4e-6, 4e-6)],
        "fused": [Times(4e-6, 12e-6), Times(12e-6, 20e-6)],
        COPY: [Times(1e-6, 1e-6), Times(3e-6, 1e-6)],
    }
    monkeypatch.setattr(steps, "alternate", lambda actions, effort: measured)
    case = time_case(SGD, SMALL, torch.float32, ["fused"], SHORT, FakeDevice())
    ours, fused, copy = case.rows
    assert (fused.device.median, fused.host.median) == (8.0, 16.0)
    assert fused.device_ratio is not None
    assert fused.host_ratio is not None
    assert (fused.device_ratio.median, fused.host_ratio.median) == (2.5, 4.0)
    moved = 20 * SMALL.elements / 1e9
    assert ours.bandwidth.median == pytest.approx((moved / 2e-6 + moved / 4e-6) / 2)
    assert (ours.of_copy.median, fused.of_copy.median, copy.of_copy.median) == (0.625, 0.25, 1.0)
    assert fused.cells()[1:5] == ["8 (6-10)", "16 (14-18)", "3.49", "25.0%"]


def keep_rate(monkeypatch: Patch) -> FakeDevice:
    """The rate never changes after the capture."""
    monkeypatch.setattr(peers, "schedule", lambda rate, updates: Constant(rate))
    made = sides._graphed

    def stuck(*arguments: Any) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
        return made(*arguments)[0], lambda: None

    monkeypatch.setattr(sides, "_graphed", stuck)
    return FakeDevice()


def be_late(monkeypatch: Patch) -> FakeDevice:
    """The warm-up is counted as one update more than it did."""
    monkeypatch.setattr(sides, "WARM_UPS", WARM_UPS + 1)
    return FakeDevice()


def do_nothing(monkeypatch: Patch) -> FakeDevice:
    return FakeDevice(replay=lambda step: None)


@pytest.mark.parametrize("make", [keep_rate, be_late, do_nothing])
@pytest.mark.parametrize("dtype", TOLERANCES)
@each_rule
def test_a_wrong_graph_is_found(
    rule: Rule, make: Callable[[Patch], FakeDevice], dtype: torch.dtype, monkeypatch: Patch
) -> None:
    device = make(monkeypatch)
    tensors = Tensors(rule, SMALL.shapes, dtype, device.device)
    checks = Checks(rule, tensors, device)
    # On the processor torch's fused step is wrong in 16 bits by itself.
    for name in ("fastlr-graph", "graph", "graph-fill") if dtype == torch.float32 else ("fastlr-graph",):
        verdict = checks.verdict(name)
        assert verdict.text.startswith("WRONG by "), (name, verdict)
        assert verdict.failed
    assert checks.verdict("foreach").right


class StandinDevice(FakeDevice):
    """Graphs hold the launches of fastlr's kernels, which the driver's stand-in runs."""

    def __init__(self, place: StandinPlace) -> None:
        super().__init__()
        self.place = place

    def capture(self, step: Action, warm_up: Action) -> Action:
        for _ in range(WARM_UPS):
            warm_up()
        with self.place.capture() as graph:
            step()
        return graph.replay


@pytest.mark.skipif(not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"), reason="needs torch 2.10's exchange table")
@pytest.mark.parametrize("dtype", TOLERANCES)
@each_rule
def test_fastlrs_kernels_in_and_out_of_a_graph_are_right(rule: Rule, dtype: torch.dtype, standin: Standin) -> None:
    device = StandinDevice(StandinPlace(standin))
    tensors = Tensors(rule, SMALL.shapes, dtype, device.device)
    tensors.parameters = [on_device(parameter) for parameter in tensors.parameters]  # type: ignore[misc]
    tensors.states = {name: [on_device(tensor) for tensor in kind] for name, kind in tensors.states.items()}
    checks = Checks(rule, tensors, device)
    assert checks.verdict("fastlr").right
    eager = launches(rule, standin)
    assert checks.verdict("fastlr-graph").right
    # The driver is not told of the launches of a replay.
    assert (eager, launches(rule, standin) - eager) == (CHECKED_UPDATES, WARM_UPS + 1)


def launches(rule: Rule, standin: Standin) -> int:
    """Of the rule's steps; what they are prepared by is launched once more."""
    kernel = f"fastlr_{rule.ours.rule}_"  # type: ignore[attr-defined]
    events = map(str, standin.launches())
    return sum(kernel in event and f"{kernel}prepare" not in event for event in events)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RuntimeError(), "RuntimeError()"), (RuntimeError("\n first\nsecond"), "first"), (RuntimeError("one"), "one")],
)
def test_why_a_side_did_not_run_is_one_line(error: RuntimeError, reason: str) -> None:
    def fail(step: Action) -> None:
        raise error

    device = FakeDevice(replay=fail)
    checks = Checks(SGD, Tensors(SGD, SMALL.shapes, torch.float32, device.device), device)
    assert checks.verdict("graph").text == f"did not run: {reason}"


def test_nan_is_wrong() -> None:
    device = FakeDevice()
    tensors = Tensors(SGD, SMALL.shapes, torch.float32, device.device)
    checks = Checks(SGD, tensors, device)
    gradient = tensors.parameters[2].grad
    assert gradient is not None
    gradient[7] = float("nan")
    verdict = checks.verdict("fastlr")
    assert (verdict.text, verdict.right, verdict.failed) == ("WRONG by nan", False, True)


class Copies(TorchDispatchMode):
    """Bytes read and written by copy_."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.copy_.default:
            self.moved.append(args[0].nbytes + args[1].nbytes)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("moved", "copies"), [(2000, 1), (2048, 1), (2050, 2), (10_240, 5), (10_250, 6)])
def test_the_copy_moves_as_many_bytes(moved: int, copies: int, monkeypatch: Patch) -> None:
    monkeypatch.setattr(steps, "COPIED_BYTES", 1024)
    copy = steps._copy(moved, torch.device("cpu"))
    with Copies() as counted:
        copy()
    assert len(counted.moved) == copies
    assert 0 <= moved - sum(counted.moved) < 2 * copies
    assert max(counted.moved) <= 2048


@pytest.mark.parametrize("name", ["loop", *labels(SGD)])
@each_rule
def test_sides_share_the_tensors_and_follow_the_schedule(rule: Rule, name: str) -> None:
    """As many updates as one of torch's schedulers gives rates, whatever was done while the side was made."""
    device = FakeDevice()
    tensors = Tensors(rule, SMALL.shapes, torch.float32, device.device)
    tensors.reset()
    pointers = [[tensor.data_ptr() for tensor in kind] for kind in tensors.updated()]
    start = [parameter.detach().clone() for parameter in tensors.parameters]
    side = make_cuda_side(rule, name, tensors, CHECKED_UPDATES, device)
    assert side.done in (0, 3)
    for _ in range(5 - side.done):
        side.update()
    for state, expected_pointers in zip(rule.states, pointers[1:], strict=True):
        used = [side.optimizer.state[parameter][state] for parameter in tensors.parameters]
        assert [tensor.data_ptr() for tensor in used] == expected_pointers
    assert [parameter.data_ptr() for parameter in tensors.parameters] == pointers[0]
    for parameter, first in zip(tensors.parameters, start, strict=True):
        expected = torch.nn.Parameter(first)
        expected.grad = parameter.grad
        optimizer = rule.theirs([expected], lr=0.1, **rule.options)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, CHECKED_UPDATES)
        for _ in range(5):
            optimizer.step()
            scheduler.step()
        torch.testing.assert_close(parameter.detach(), expected.detach(), rtol=1e-5, atol=1e-6)


def test_reset_gives_the_same_start() -> None:
    tensors = Tensors(ADAMW, SMALL.shapes, torch.bfloat16, torch.device("cpu"))
    tensors.reset()
    first = [parameter.detach().clone() for parameter in tensors.parameters]
    for tensor in chain.from_iterable(tensors.updated()):
        tensor.detach().fill_(3.0)
    tensors.reset()
    assert all(torch.equal(a, b) for a, b in zip(tensors.parameters, first, strict=True))
    assert not any(tensor.any() for tensor in chain.from_iterable(tensors.states.values()))
