"""What `fastlr info` says, for machines with and without CUDA."""

import json
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch

from fastlr import _core
from fastlr._info import device_text, driver_version, info, info_text, why_no_cuda
from fastlr.cli import main

Patch: TypeAlias = pytest.MonkeyPatch
Capture: TypeAlias = pytest.CaptureFixture[str]

H100 = {
    "name": "NVIDIA H100 80GB HBM3",
    "capability": (9, 0),
    "multiprocessors": 132,
    "memory": 85_045_280_768,
    "image": "sm_90",
}
FUTURE = {"name": "GPU of 2040", "capability": (31, 7), "multiprocessors": 3, "memory": 2**40, "image": ""}
USED = {
    "available": True,
    "reason": "",
    "driver": 12040,
    "architectures": ["sm_70", "sm_90", "compute_80"],
    "devices": [H100, FUTURE],
}
NO_DRIVER = {"available": False, "reason": "no libcuda.so.1", "driver": 0, "architectures": ["sm_90"], "devices": []}
NOT_BUILT = {**NO_DRIVER, "reason": "built without CUDA", "architectures": []}


def found(monkeypatch: Patch, cuda: dict[str, Any], *, torch_cuda: str | None, devices: bool) -> None:
    """Have the native module and torch find this."""
    monkeypatch.setattr(_core, "cuda_status", lambda: cuda, raising=False)
    monkeypatch.setattr(torch.version, "cuda", torch_cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices)


REASONS = [
    (USED, "12.9", True, ""),
    (USED, "12.9", False, "torch finds no CUDA device"),
    (USED, None, False, f"torch {torch.__version__} is built without CUDA"),
    (NO_DRIVER, "12.9", False, "no libcuda.so.1"),
    (NO_DRIVER, "12.9", True, "no libcuda.so.1"),
    (NO_DRIVER, None, False, f"torch {torch.__version__} is built without CUDA; no libcuda.so.1"),
]


@pytest.mark.parametrize(("cuda", "torch_cuda", "devices", "reason"), REASONS)
def test_why_cuda_is_not_used(
    cuda: dict[str, Any],
    torch_cuda: str | None,
    devices: bool,
    reason: str,
    monkeypatch: Patch,
    capsys: Capture,
) -> None:
    found(monkeypatch, cuda, torch_cuda=torch_cuda, devices=devices)
    facts = info()
    assert facts["why_no_cuda"] == why_no_cuda(facts) == reason
    assert main(["info"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("CUDA  ")]
    assert line.split(None, 1)[1] == (f"not used: {reason}" if reason else "used")


def test_text_with_devices(monkeypatch: Patch, capsys: Capture) -> None:
    found(monkeypatch, USED, torch_cuda="12.9", devices=True)
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    values = dict(line.split("  ", 1) for line in printed.splitlines())
    values = {name: value.strip() for name, value in values.items()}
    assert values["torch"] == torch.__version__
    assert values["NumPy"] == np.__version__
    assert values["threads"] == str(torch.get_num_threads())
    assert values["tensor access"] == _core.tensor_access()
    assert values["instructions"].startswith(f"fastlr {_core.cpu_capability()}, ")
    assert values["CUDA of torch"] == "12.9"
    assert values["CUDA of the driver"] == "12.4"
    assert values["CUDA images"] == "sm_70 sm_90 compute_80"
    assert values["GPU 0"] == device_text(H100)
    assert values["GPU 1"].endswith("image none")


def test_columns_are_aligned(monkeypatch: Patch) -> None:
    found(monkeypatch, USED, torch_cuda="12.9", devices=True)
    lines = info_text(info()).splitlines()
    width = len("CUDA of the driver")
    assert all(line[width : width + 2] == "  " and line[width + 2] != " " for line in lines)


def test_text_without_cuda(monkeypatch: Patch) -> None:
    found(monkeypatch, NOT_BUILT, torch_cuda=None, devices=False)
    text = info_text(info())
    assert "CUDA images         none: built without CUDA" in text
    assert "CUDA of torch       none\n" in text
    assert "CUDA of the driver  unknown\n" in text
    assert "GPU" not in text


@pytest.mark.parametrize("cuda", [USED, NO_DRIVER])
def test_json_holds_what_was_found(cuda: dict[str, Any], monkeypatch: Patch, capsys: Capture) -> None:
    found(monkeypatch, cuda, torch_cuda="12.9", devices=True)
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["cuda"] == json.loads(json.dumps(cuda))
    assert facts["torch_cuda"] == "12.9"
    assert {"fastlr", "torch", "numpy", "python", "cpu", "cores", "threads", "tensor_access", "load"} <= facts.keys()


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "unknown"), (12000, "12.0"), (12010, "12.1"), (12090, "12.9"), (12100, "12.10"), (13000, "13.0")],
)
def test_driver_versions(number: int, text: str) -> None:
    assert driver_version(number) == text


def test_device_line() -> None:
    expected = "NVIDIA H100 80GB HBM3, compute capability 9.0, 132 multiprocessors, 79.2 GiB, image sm_90"
    assert device_text(H100) == expected
