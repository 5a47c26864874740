"""`fastlr bench --device cuda` on a fake device: what is timed, refused, skipped and recorded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

import pytest
import torch
from fake_device import SHORT, SMALL, FakeDevice

import fastlr
from fastlr import _core
from fastlr.benchmarks import cuda, peers
from fastlr.benchmarks.cuda import CUDA_CASES, CUDA_PEERS
from fastlr.benchmarks.cuda.device import Action
from fastlr.benchmarks.cuda.sides import labels
from fastlr.benchmarks.cuda.steps import COPY, held
from fastlr.benchmarks.rules import RULES
from fastlr.benchmarks.shapes import LARGE_SHAPE_LISTS
from fastlr.cli import main
from fastlr.schedules import Cosine

Patch: TypeAlias = pytest.MonkeyPatch
Capture: TypeAlias = pytest.CaptureFixture[str]

# Published numbers of parameters and of parameter tensors.
SIZES = {
    "flat-25m": (1, 25_000_000),
    "flat-100m": (1, 100_000_000),
    "flat-250m": (1, 250_000_000),
    "flat-1000m": (1, 1_000_000_000),
    "resnet50": (161, 25_557_032),
    "vit-base": (152, 86_567_656),
    "gpt2": (148, 124_439_808),
    "llama-1b": (146, 1_235_814_400),
}
OURS = ["fastlr.SGD", "fastlr.SGD, CUDA graph"]
STATUS = {
    "available": True,
    "reason": "",
    "driver": 12040,
    "architectures": ["sm_90"],
    "devices": [{"name": "Fake", "capability": (9, 0), "multiprocessors": 1, "memory": 2**30, "image": "sm_90"}],
}


@pytest.fixture
def fake(monkeypatch: Patch) -> Callable[[FakeDevice], None]:
    """Have `fastlr bench --device cuda` time two rounds of a few small tensors on the device given."""

    def install(device: FakeDevice) -> None:
        monkeypatch.setattr(_core, "cuda_status", lambda: STATUS, raising=False)
        monkeypatch.setattr(torch.version, "cuda", "12.9")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(cuda, "CudaDevice", lambda _: device)
        monkeypatch.setitem(LARGE_SHAPE_LISTS, "gpt2", SMALL)
        monkeypatch.setattr("fastlr.cli.CUDA_QUICK", SHORT)

    return install


def bench(*options: str) -> int:
    return main(["bench", "--device", "cuda", "--quick", "--cases", "gpt2", *options])


@pytest.mark.parametrize("name", CUDA_CASES)
def test_shape_lists_have_the_published_sizes(name: str) -> None:
    case = LARGE_SHAPE_LISTS[name]
    assert (len(case.shapes), case.elements) == SIZES[name]
    assert SIZES.keys() == LARGE_SHAPE_LISTS.keys()


@pytest.mark.parametrize(("optimizer", "moved"), [("sgd", 20), ("adam", 28), ("adamw", 28)])
def test_all_sides_are_checked_timed_and_recorded(
    optimizer: str, moved: int, fake: Callable[[FakeDevice], None], tmp_path: Path, capsys: Capture
) -> None:
    device = FakeDevice()
    fake(device)
    file = tmp_path / "figures.json"
    assert bench("--optimizer", optimizer, "--dtypes", "float32", "--json", str(file)) == 0
    rule = RULES[optimizer]
    record = json.loads(file.read_text())
    assert record["machine"]["cuda"]["driver"] == 12040
    (case,) = record["cases"]
    rows = {row["label"]: row for row in case["rows"]}
    assert list(rows) == [*labels(rule).values(), COPY]
    assert (case["optimizer"], case["correct"], case["untimed"]) == (rule.name, True, {})
    assert case["step_bytes"] == moved * SMALL.elements
    for label, row in rows.items():
        assert row["device"]["count"] == row["host"]["count"] == row["bandwidth"]["count"] == 2
        assert (row["device_ratio"] is None) == (row["host_ratio"] is None) == (label == rule.label)
        assert (row["check"] == "") == (label == COPY)
    assert rows[COPY]["of_copy"]["median"] == 1.0
    printed = capsys.readouterr().out
    assert f"gpt2, {rule.name}, float32: some small ones (5 tensors, 1047 elements)" in printed
    assert "GPU 0" in printed
    assert all(f"| {label} " in printed for label in rows)
    # Each of the three graphs once to check and once to time.
    assert len(device.captured) == 6


def test_bfloat16_moves_half_the_bytes_and_is_checked(fake: Callable[[FakeDevice], None], tmp_path: Path) -> None:
    fake(FakeDevice())
    file = tmp_path / "figures.json"
    assert bench("--peers", "foreach", "--json", str(file)) == 0
    single, half = json.loads(file.read_text())["cases"]
    assert (single["dtype"], half["dtype"]) == ("float32", "bfloat16")
    assert single["step_bytes"] == 2 * half["step_bytes"]
    labels = [row["label"] for row in half["rows"]]
    assert labels == [*OURS, "torch foreach (default)", COPY]


def test_all_optimizers_are_run_in_turn(fake: Callable[[FakeDevice], None], tmp_path: Path) -> None:
    fake(FakeDevice())
    file = tmp_path / "figures.json"
    assert bench("--optimizer", "all", "--peers", "foreach", "--json", str(file)) == 0
    cases = [(case["optimizer"], case["dtype"]) for case in json.loads(file.read_text())["cases"]]
    assert cases == [(rule.name, dtype) for rule in RULES.values() for dtype in cuda.DTYPES]


def wrong_schedule(rate: float, updates: int) -> fastlr.schedules.Schedule:
    return Cosine(rate * 1.001, 0.0, updates)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_wrong_fastlr_is_not_timed_and_fails(
    optimizer: str, fake: Callable[[FakeDevice], None], monkeypatch: Patch, capsys: Capture
) -> None:
    fake(FakeDevice())
    monkeypatch.setattr(peers, "schedule", wrong_schedule)
    assert bench("--optimizer", optimizer, "--dtypes", "float32") == 1
    printed = capsys.readouterr().out
    ours, graph, *_ = labels(RULES[optimizer]).values()
    for label in (ours, graph):
        assert f"\n{label}: not timed: WRONG by " in printed
        assert f"| {label} " not in printed
    assert "| torch fused " in printed


def test_nothing_to_time_is_a_failure_without_a_table(
    fake: Callable[[FakeDevice], None], monkeypatch: Patch, capsys: Capture
) -> None:
    fake(FakeDevice(replay=lambda step: None))
    monkeypatch.setattr(peers, "schedule", wrong_schedule)
    assert bench("--dtypes", "float32", "--peers", "graph") == 1
    printed = capsys.readouterr().out
    assert printed.count("not timed: WRONG by") == 3
    assert "| side" not in printed


def refuse_captures(*, ours: bool) -> FakeDevice:
    """Of fastlr's steps, or of torch's."""

    class Refusing(FakeDevice):
        def capture(self, step: Action, warm_up: Action) -> Action:
            if isinstance(getattr(step, "__self__", None), fastlr.SGD) == ours:
                raise RuntimeError("operation not permitted when stream is capturing\nlong trace")
            return super().capture(step, warm_up)

    return Refusing()


@pytest.mark.parametrize("ours", [False, True])
def test_a_side_that_cannot_run_is_named_and_fails_only_if_it_is_ours(
    ours: bool, fake: Callable[[FakeDevice], None], capsys: Capture
) -> None:
    fake(refuse_captures(ours=ours))
    assert bench("--dtypes", "float32") == int(ours)
    lines = capsys.readouterr().out.splitlines()
    refused = [line.partition(": not timed: ") for line in lines if ": not timed: " in line]
    expected = OURS[1:] if ours else ["torch fused, CUDA graph", "torch fused, CUDA graph, fill_"]
    assert [label for label, _, _ in refused] == expected
    assert {reason for _, _, reason in refused} == {
        "did not run: operation not permitted when stream is capturing",
    }


def test_other_failures_are_not_hidden(fake: Callable[[FakeDevice], None], monkeypatch: Patch) -> None:
    def broken(self: fastlr.SGD) -> NoReturn:
        raise ZeroDivisionError

    fake(FakeDevice())
    monkeypatch.setattr(fastlr.SGD, "step", broken)
    with pytest.raises(ZeroDivisionError):
        bench()


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
@pytest.mark.parametrize("missing", [0, 1])
def test_a_case_that_needs_more_than_is_free_is_skipped(
    dtype: str, size: int, missing: int, fake: Callable[[FakeDevice], None], tmp_path: Path, capsys: Capture
) -> None:
    """Needed: three tensors, two copies and a temporary an element, and two of 512 MiB to copy between."""
    device = FakeDevice(free=6 * size * SMALL.elements + 2**30 - missing)
    fake(device)
    file = tmp_path / "figures.json"
    assert bench("--dtypes", dtype, "--peers", "foreach", "--json", str(file)) == missing
    (case,) = json.loads(file.read_text())["cases"]
    assert bool(case["rows"]) == (not missing)
    skipped = "needs 1.1 GB of memory, 1.1 GB are free"
    assert case["skipped"] == (skipped if missing else "")
    assert (f"\nskipped: {skipped}\n" in capsys.readouterr().out) == bool(missing)
    assert case["correct"] is True


@pytest.mark.parametrize(("optimizer", "values"), [("sgd", 6), ("adam", 9), ("adamw", 9)])
def test_values_held_for_each_element(optimizer: str, values: int) -> None:
    """Parameter, gradient, state; the copies of all but the gradient; temporaries: 1 of SGD's, 2 of Adam's."""
    assert held(RULES[optimizer]) == values


def test_running_out_of_memory_skips_the_case(
    fake: Callable[[FakeDevice], None], monkeypatch: Patch, capsys: Capture
) -> None:
    def exhausted(self: fastlr.SGD) -> NoReturn:
        raise torch.OutOfMemoryError("CUDA out of memory")

    fake(FakeDevice(free=2**33))
    monkeypatch.setattr(fastlr.SGD, "step", exhausted)
    assert bench("--dtypes", "float32") == 1
    assert "skipped: ran out of memory: 8.6 GB were free" in capsys.readouterr().out


def test_without_a_device_nothing_is_done(monkeypatch: Patch, tmp_path: Path, capsys: Capture) -> None:
    monkeypatch.setattr(_core, "cuda_status", lambda: {**STATUS, "available": False, "reason": "no GPU"}, raising=False)
    monkeypatch.setattr(torch.version, "cuda", "12.9")
    file = tmp_path / "figures.json"
    assert bench("--json", str(file)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    message = "no CUDA device can be used: no GPU. Leave out --device cuda, or see `fastlr info`"
    assert captured.err == f"fastlr bench: {message}\n"
    assert not file.exists()


def test_names() -> None:
    assert set(labels(RULES["sgd"])) == {"fastlr", "fastlr-graph", *CUDA_PEERS}
    assert list(cuda.DTYPES) == ["float32", "bfloat16"]
