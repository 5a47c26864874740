"""The PTX of csrc/cuda/kernels.cu: what the installed package brings, and what nvcc makes of the source."""

import functools
import subprocess

import cuda_structs as cuda
import pytest
from built_once import built_once
from ptx import Module
from ptx_cases import need_nvcc, nvcc_ptx

from fastlr import _core

SOURCES = cuda.HEADER.parents[1]
SHORT = f"-DFASTLR_ARGUMENT_BYTES={cuda.CONSTANTS['kShortArguments']}"
ORIGINS = ("shipped", "nvcc")


@functools.cache
def kernel_text(origin: str) -> str:
    """`origin`: "shipped", "nvcc", or "nvcc old" for Turing, with 4096 bytes of arguments."""
    if origin != "shipped":
        return nvcc_text([SHORT], "sm_75") if origin == "nvcc old" else nvcc_text([], "sm_80")
    try:
        image = _core.cuda_image("compute_80")
    except ValueError as problem:
        pytest.skip(f"{problem} Build with FASTLR_CUDA=ON to run its PTX.")
    return image.rstrip(b"\0").decode()


def nvcc_text(options: list[str], architecture: str) -> str:
    need_nvcc()
    version = subprocess.run(["nvcc", "--version"], check=True, capture_output=True).stdout
    files = sorted([*SOURCES.rglob("*.h"), *SOURCES.rglob("*.cu")])
    inputs = [version, repr((options, architecture)).encode(), *(file.read_bytes() for file in files)]
    source, name = SOURCES / "cuda" / "kernels.cu", "kernels.ptx"
    options = [f"-I{SOURCES}", *options]
    made = built_once(name, inputs, lambda to: nvcc_ptx(source, to / name, *options, architecture=architecture))
    return made.read_text()


@functools.cache
def kernels(origin: str) -> Module:
    """Each kernel is loaded once."""
    return Module(kernel_text(origin))
