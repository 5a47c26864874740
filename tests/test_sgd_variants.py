"""The same bits from every instruction set and every way of reading tensors, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def run(code: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *code],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def used(**environment: str) -> dict[str, str]:
    done = run([str(HERE / "sgd_variant.py")], **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, str] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("capability", ["base", "avx2", "avx512"])
def test_instruction_set(capability: str) -> None:
    widest = {"DEFAULT": ["base"], "AVX2": ["base", "avx2"]}.get(torch.backends.cpu.get_cpu_capability())
    if widest is not None and capability not in widest:
        pytest.skip(f"needs a CPU with {capability}")
    assert used(FASTLR_CPU_CAPABILITY=capability)["capability"] == capability


@pytest.mark.parametrize("access", ["dlpack", "attributes"])
def test_slower_ways_of_reading_tensors(access: str) -> None:
    assert used(FASTLR_TENSOR_ACCESS=access)["access"] in (access, "attributes")


@pytest.mark.parametrize("capability", ["avx2", "avx512"])
def test_torch_s_own_instruction_set_makes_no_difference(capability: str) -> None:
    """torch's AVX2 and AVX-512 kernels have the same bits, and so has fastlr beside either."""
    assert used(ATEN_CPU_CAPABILITY=capability)["capability"] in ("base", "avx2", "avx512")


def test_an_unknown_instruction_set_is_refused_by_name() -> None:
    done = run(["-c", "import fastlr; from fastlr import _core; _core.cpu_capability()"], FASTLR_CPU_CAPABILITY="mmx")
    assert done.returncode != 0
    assert "ValueError: FASTLR_CPU_CAPABILITY" in done.stderr
    assert "mmx" in done.stderr
    assert "base" in done.stderr
