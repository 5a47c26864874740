"""Handwritten and compiled kernels for the tests of the PTX interpreter."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ptx import Memory, Module

Array = np.ndarray[Any, np.dtype[Any]]
HEADER = ".version 8.8\n.target sm_80\n.address_size 64\n"
REGISTERS = "".join(
    f".reg .{kind} %{letter}<20>;\n"
    for kind, letter in (("pred", "p"), ("b16", "h"), ("b32", "r"), ("b64", "d"), ("f32", "f"), ("f64", "g"))
)
_LETTERS = {"b": "u", "u": "u", "s": "i"}
# The NumPy type in which a PTX type is stored.
STORED = {f"{kind}{bits}": f"{_LETTERS[kind]}{bits // 8}" for kind in _LETTERS for bits in (8, 16, 32, 64)}
STORED |= {"pred": "u4", "f16": "f2", "bf16": "u2", "f32": "f4", "f64": "f8"}

SHARED = ".shared .align 16 .b8 box[1024];\n"
# %d10 the thread's element of %d1, %r10 and %r11 its word of shared memory and its neighbour's.
ELEMENT = "mad.lo.s64 %d10, %d0, 4, %d1;\n"
WORDS = """mov.u32 %r10, box; mov.u32 %r3, %tid.x; mad.lo.s32 %r10, %r3, 4, %r10;
xor.b32 %r11, %r3, 1; mov.u32 %r12, box; mad.lo.s32 %r11, %r11, 4, %r12;
"""


def aligned(words: int) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Zeros from a 16-byte boundary on."""
    room = np.zeros(words + 4, "u4")
    begin = -room.ctypes.data % 16 // 4
    return room[begin : begin + words]


def kernel_text(body: str, parameters: int = 1, before: str = "") -> str:
    """A kernel named `test` of pointers, which stand in %d1 on, with the thread's number in %r0 and %d0."""
    declared = ", ".join(f".param .u64 p{i}" for i in range(parameters))
    loads = "".join(f"ld.param.u64 %d{i + 1}, [p{i}];\n" for i in range(parameters))
    start = "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.s32 %r0, %r1, %r2, %r3;\n"
    start += "cvt.u64.u32 %d0, %r0;\n"
    return f"{HEADER}{before}.visible .entry test({declared})\n{{\n{REGISTERS}{loads}{start}{body}\nret;\n}}"


def launch(body: str, *arrays: Any, threads: int = 1, blocks: int = 1, **how: Any) -> Memory:
    """Run `body` with the arrays as parameters. An array given as (array, options) is registered with them."""
    memory = Memory()
    pairs = [each if isinstance(each, tuple) else (each, {}) for each in arrays]
    addresses = [np.uint64(memory.add(array, **options)) for array, options in pairs]
    text = kernel_text(body, len(arrays), how.pop("before", ""))
    Module(text).kernel("test").launch(memory, addresses, grid=blocks, block=threads, **how)
    return memory


def register(kind: str, number: int) -> str:
    by_size = {1: "h", 2: "h", 4: "r", 8: "d"}
    letter = {"pred": "p", "f32": "f", "f64": "g"}.get(kind) or by_size[np.dtype(STORED[kind]).itemsize]
    return f"%{letter}{number}"


def load(kind: str, number: int, pointer: int) -> str:
    """The thread's element of an array into register `number`."""
    size = np.dtype(STORED[kind]).itemsize
    at = f"mad.lo.s64 %d19, %d0, {size}, %d{pointer};\n"
    if kind == "pred":
        return f"{at}ld.global.u32 %r19, [%d19]; setp.ne.s32 %p{number}, %r19, 0;\n"
    return f"{at}ld.global.{raw(kind)} {register(kind, number)}, [%d19];\n"


def store(kind: str, number: int, pointer: int) -> str:
    size = np.dtype(STORED[kind]).itemsize
    at = f"mad.lo.s64 %d19, %d0, {size}, %d{pointer};\n"
    if kind == "pred":
        return f"{at}selp.u32 %r19, 1, 0, %p{number};\nst.global.u32 [%d19], %r19;\n"
    return f"{at}st.global.{raw(kind)} [%d19], {register(kind, number)};\n"


def raw(kind: str) -> str:
    return "b16" if kind in ("f16", "bf16") else kind


def need_nvcc() -> None:
    """Skips the test where there is none."""
    if shutil.which("nvcc") is None:
        if os.environ.get("REQUIRE_NVCC") == "1":
            pytest.fail("nvcc is not on PATH")
        pytest.skip("nvcc is not on PATH: install CUDA's compiler to run its PTX")


def nvcc_ptx(source: Path, out: Path, *options: str, architecture: str = "sm_80") -> str:
    """The PTX that nvcc makes of a file."""
    need_nvcc()
    fixed = ["-std=c++17", f"-arch={architecture}", "-fmad=false", "--ptx"]
    command = ["nvcc", *fixed, *options, str(source), "-o", str(out)]
    subprocess.run(command, check=True, timeout=300)
    return out.read_text()
