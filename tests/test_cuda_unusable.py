"""Drivers and GPUs that cannot be used: torch's operators update the parameters, and one warning says why."""

import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cuda_processes import STEPS, run_forked
from standin_driver import Standin

FALLBACK = (
    STEPS
    + """
rate = schedules.Linear(0.1, 0.0, 9)

def left_to_torch(kind, reference, **options):
    both = sides(lambda params: kind(params, lr=rate, **options))
    both.give(0, dense)
    lines = said(both.gpu.step) + said(both.gpu.step)
    # torch's operators, on the CPU.
    other = reference(both.params, lr=0.1, foreach=False, fused=False, **options)
    for step in range(2):
        other.param_groups[0]["lr"] = rate(step)
        other.step()
    equal = all(torch.equal(both.place.back(a), b.detach()) for a, b in zip(both.copies, both.params))
    return lines, equal, both.gpu.param_groups[0]["step_count"]

lines, equal, count = left_to_torch(fastlr.SGD, torch.optim.SGD, momentum=0.9)
assert left_to_torch(fastlr.AdamW, torch.optim.AdamW, amsgrad=True) == (lines, equal, count)
state = _core.cuda_status()
print(json.dumps([lines, equal, count, state["available"], state["reason"]]))
"""
)


# What stands in the way: settings of the driver, what fails, and the reason.
USELESS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no device": (
        {"devices": 0},
        "",
        "the NVIDIA driver does not start: no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE)",
    ),
    "cuInit fails": (
        {},
        "standin.fail('cuInit', 999)",
        "the NVIDIA driver does not start: unknown error (CUDA_ERROR_UNKNOWN)",
    ),
    "no device may be used": (
        {},
        "standin.fail('cuDeviceGetCount', 100)",
        "the NVIDIA driver does not start: no CUDA-capable device is detected (CUDA_ERROR_NO_DEVICE)",
    ),
    "CUDA 11.8": (
        {"driver": 11080},
        "",
        "the NVIDIA driver is too old: it is for CUDA 11.8, and CUDA 12.0 is needed (driver 525 or newer)",
    ),
    "too old a device": (
        {"capability": 52, "name": "GeForce GTX 980"},
        "",
        "this build of fastlr has no device code for GeForce GTX 980 (compute capability 5.2)",
    ),
    "no context": (
        {"name": "GPU"},
        "standin.fail('cuDevicePrimaryCtxRetain', 2)",
        "no context on GPU: out of memory (CUDA_ERROR_OUT_OF_MEMORY)",
    ),
    "no image for it": (
        {"name": "GPU"},
        "standin.fail('cuModuleLoadData', 209)",
        "its device code does not load on GPU: no kernel image is available for execution on the device "
        "(CUDA_ERROR_NO_BINARY_FOR_GPU)",
    ),
    "an invalid image": (
        {"name": "GPU"},
        "standin.fail('cuModuleLoadData', 200)",
        "its device code does not load on GPU: device kernel image is invalid (CUDA_ERROR_INVALID_IMAGE)",
    ),
    "invalid PTX": (
        {"name": "GPU"},
        "standin.fail('cuModuleLoadData', 218)",
        "its device code does not load on GPU: a PTX JIT compilation failed (CUDA_ERROR_INVALID_PTX)",
    ),
    "a kernel is missing": (
        {"name": "GPU"},
        "standin.fail('cuModuleGetFunction', 500, after=3)",
        "its device code does not load on GPU: named symbol not found (CUDA_ERROR_NOT_FOUND)",
    ),
    "the context cannot be used": (
        {"name": "GPU"},
        "standin.fail('cuCtxPushCurrent_v2', 201)",
        "its device code does not load on GPU: invalid device context (CUDA_ERROR_INVALID_CONTEXT)",
    ),
}


@functools.lru_cache
def useless() -> dict[str, str]:
    return run_forked({name: (settings, before + FALLBACK) for name, (settings, before, _) in USELESS.items()})


@pytest.mark.parametrize("name", USELESS)
def test_the_update_is_torchs_and_one_warning_says_why(name: str, standin: Standin) -> None:
    lines, equal, count, available, status = json.loads(useless()[name])
    reason = USELESS[name][2]
    wanted = f"fastlr's CUDA core is not used: {reason}. torch's operators update the parameters on this GPU."
    assert lines == [wanted]
    assert equal
    assert count == 2
    assert (available, status) == (False, reason)


MIXED = (
    STEPS
    + """
make = lambda params: fastlr.SGD(params, lr=schedules.Linear(0.1, 0.0, 9))
both = Sides(StandinPlace(standin), [normal(5), normal(7)], make, {devices})
both.give(0, dense)
lines = said(both.gpu.step) + said(both.gpu.step)
both.cpu.step(), both.cpu.step()
both.check()
print(json.dumps([lines, len(standin.launches())]))
"""
)
USED = (
    STEPS
    + """
both = sides()
both.updates(range(4), dense)
print(json.dumps(_core.cuda_status()["devices"][0]["image"]))
"""
)
EVALUATE = (
    STEPS
    + """
place = StandinPlace(standin)
schedule = schedules.Linear(0.1, 0.0, 9)
t = place.put(torch.arange(12))
print(said(lambda: print(schedule(t).tolist() == schedule(torch.arange(12)).tolist())))
print(fastlr.evaluate([schedule], t).tolist() == fastlr.evaluate([schedule], range(12)).tolist())
print(fastlr.evaluate([schedule], range(12), out=place.put(torch.empty(1, 12))).shape)
"""
)
OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "a later one is too old": ({"capability.1": 52}, MIXED.format(devices=(0, 1))),
    "an earlier one is too old": ({"capability.0": 52}, MIXED.format(devices=(0, 1))),
    "of a later generation": ({"capability": 130, "driver": 13000}, USED),
    "of the same generation": ({"capability": 103}, USED),
    "an older driver": ({"capability": 89, "driver": 12000}, USED),
    "too new for an older driver": ({"capability": 100, "driver": 12000, "name": "GPU"}, FALLBACK),
    "evaluate": ({"capability": 52}, EVALUATE),
}


@functools.lru_cache
def others() -> dict[str, str]:
    return run_forked(OTHERS)


@pytest.mark.parametrize("name", ["a later one is too old", "an earlier one is too old"])
def test_a_device_beside_one_that_is_too_old(name: str, standin: Standin) -> None:
    """Each is used as it can be, and the first step says what is left."""
    lines, launches = json.loads(others()[name])
    assert len(lines) == 1
    assert "compute capability 5.2" in lines[0]
    assert launches == 3


@pytest.mark.parametrize(
    ("name", "image"),
    [("of a later generation", "compute_80 (PTX)"), ("of the same generation", "sm_100"), ("an older driver", "sm_86")],
)
def test_newer_devices_and_older_drivers_are_used(name: str, image: str, standin: Standin) -> None:
    assert json.loads(others()[name]) == image


def test_a_new_device_on_a_driver_that_takes_only_short_arguments(standin: Standin) -> None:
    """Neither machine code nor PTX is built in for it."""
    (line,), equal, *_ = json.loads(others()["too new for an older driver"])
    assert equal
    assert "this build of fastlr has no device code for GPU (compute capability 10.0)" in line


def test_evaluate_without_a_usable_device(standin: Standin) -> None:
    assert others()["evaluate"].splitlines() == ["True", "[]", "True", "torch.Size([1, 12])"]


def test_a_driver_that_lacks_entry_points(tmp_path: Path) -> None:
    """Another library under the name of the driver's."""
    source, library = tmp_path / "old.c", tmp_path / "libcuda.so.1"
    source.write_text("int cuDriverGetVersion(int* version) { *version = 12020; return 0; }\n")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        pytest.skip("needs a C compiler")
    flags = ["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.run([*compiler, *flags, str(source), "-o", str(library)], check=True)
    code = f"""
import ctypes
ctypes.CDLL({str(library)!r})
from fastlr import _core
print(_core.cuda_status()["reason"])
"""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    run = [sys.executable, "-c", code]
    reason = subprocess.check_output(run, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
    assert reason.startswith("the NVIDIA driver is too old: it is for CUDA 12.2, and CUDA 12.0 is needed")
    assert "it lacks cuInit, cuGetErrorName" in reason
    assert "cuThreadExchangeStreamCaptureMode" in reason
