"""The PTX of csrc/cuda/kernels.cu: what the installed package brings, and what nvcc makes of the source."""

import functools
import tempfile
from pathlib import Path

import cuda_structs as cuda
import pytest
from ptx import Module
from ptx_cases import nvcc_ptx

from fastlr import _core

SOURCES = cuda.HEADER.parents[1]
SHORT = f"-DFASTLR_ARGUMENT_BYTES={cuda.CONSTANTS['kShortArguments']}"
ORIGINS = ("shipped", "nvcc")


@functools.cache
def kernel_text(origin: str) -> str:
    """`origin`: "shipped", "nvcc", or "nvcc old" for Turing, with 4096 bytes of arguments."""
    if origin != "shipped":
        options, architecture = [f"-I{SOURCES}"], "sm_80"
        if origin == "nvcc old":
            options, architecture = [*options, SHORT], "sm_75"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "kernels.ptx"
            return nvcc_ptx(SOURCES / "cuda" / "kernels.cu", out, *options, architecture=architecture)
    try:
        image = _core.cuda_image("compute_80")
    except ValueError as problem:
        pytest.skip(f"{problem} Build with FASTLR_CUDA=ON to run its PTX.")
    return image.rstrip(b"\0").decode()


@functools.cache
def kernels(origin: str) -> Module:
    """Each kernel is loaded once."""
    return Module(kernel_text(origin))
