"""Calls of the stand-in's entry points as C has them, and images small enough to write down."""

import ctypes
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_int, c_uint64, c_void_p
from typing import Any

from standin_driver import CSRC, Standin

INVALID_VALUE, NO_MEMORY, NOT_INITIALIZED, NO_DEVICE = 1, 2, 3, 100
INVALID_IMAGE, INVALID_CONTEXT, NO_BINARY, UNSUPPORTED_PTX = 200, 201, 209, 222
INVALID_HANDLE, NOT_FOUND, ILLEGAL_ADDRESS = 400, 500, 700
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, CAPTURE_IMPLICIT = 900, 901, 906
GLOBAL, RELAXED = 0, 2
POISON, THREADS = 0xDB, 256


def constant(name: str) -> int:
    """A number of csrc/cuda/state.h."""
    found = re.search(rf"constexpr int32_t {name} = (\d+);", (CSRC / "cuda/state.h").read_text())
    assert found is not None
    return int(found[1])


class Write(ctypes.Structure):
    _fields_ = (("to", c_void_p), ("begin", ctypes.c_int32), ("words", ctypes.c_int32))


class Prepare(ctypes.Structure):
    """The arguments of fastlr_sgd_prepare, which copies words of its payload to device memory."""

    _fields_ = (
        ("state", c_void_p),
        ("writes", ctypes.c_int32),
        ("refresh", ctypes.c_int32),
        ("write", Write * constant("kWrites")),
        ("payload", c_uint64 * constant("kWords")),
    )


def ptx(architecture: int = 80, version: str = "8.0", size: int = ctypes.sizeof(Prepare)) -> bytes:
    entry = (
        f".visible .entry fastlr_sgd_prepare(\n\t.param .align 8 .b8 fastlr_sgd_prepare_param_0[{size}]\n) {{ ret; }}"
    )
    return f".version {version}\n.target sm_{architecture}\n.address_size 64\n{entry}\n\0".encode()


def cubin(architecture: int, *, size: int = ctypes.sizeof(Prepare), machine: int = 190, new_abi: bool = False) -> bytes:
    """An ELF file with no more in it than the size of one kernel's arguments."""
    names = b"\0.shstrtab\0.nv.info.fastlr_sgd_prepare\0"
    info = struct.pack("<BBHIHHI", 4, 0x45, 12, 0, 0, 0, size)
    flags = architecture << 8 | 4 if new_abi else architecture << 16 | 0x500 | architecture
    identity = b"\x7fELF\x02\x01\x01" + (b"\x41\x08" if new_abi else b"\x33\x07") + bytes(7)
    start = 64 + len(names) + len(info)
    header = struct.pack("<16sHHIQQQIHHHHHH", identity, 2, machine, 1, 0, 0, start, flags, 64, 0, 0, 64, 3, 1)
    sections = [(0, 0, 0), (1, 64, len(names)), (11, 64 + len(names), len(info))]
    table = b"".join(struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, at, size, 0, 0, 1, 0) for name, at, size in sections)
    return header + names + info + table


class Cuda:
    """The entry points, with a context of device 0 current."""

    def __init__(self, standin: Standin) -> None:
        self.dll = standin.dll
        assert self("cuInit", 0) == 0

    def __call__(self, name: str, *arguments: Any) -> int:
        return int(getattr(self.dll, name)(*arguments))

    def context(self, device: int = 0) -> c_void_p:
        context = c_void_p()
        assert self("cuDevicePrimaryCtxRetain", byref(context), device) == 0
        return context

    def allocate(self, size: int) -> c_void_p:
        address = c_void_p()
        assert self("cuMemAlloc_v2", byref(address), ctypes.c_size_t(size)) == 0
        return address

    def module(self, image: bytes) -> tuple[int, c_void_p]:
        module = c_void_p()
        return self("cuModuleLoadData", byref(module), image), module

    def function(self, image: bytes = ptx(), name: str = "fastlr_sgd_prepare") -> c_void_p:
        result, module = self.module(image)
        assert result == 0
        function = c_void_p()
        assert self("cuModuleGetFunction", byref(function), module, name.encode()) == 0
        return function

    def launch(
        self,
        function: c_void_p,
        arguments: ctypes.Structure,
        stream: int = 0,
        grid: tuple[int, int, int] = (1, 1, 1),
        block: tuple[int, int, int] = (THREADS, 1, 1),
        shared: int = 0,
    ) -> int:
        params = (c_void_p * 1)(ctypes.addressof(arguments))
        return self("cuLaunchKernel", function, *grid, *block, shared, c_void_p(stream), params, None)

    def is_capturing(self, stream: int) -> tuple[int, int]:
        status = c_int(-1)
        return self("cuStreamIsCapturing", c_void_p(stream), byref(status)), status.value

    def exchange_mode(self, mode: int) -> int:
        old = c_int(mode)
        assert self("cuThreadExchangeStreamCaptureMode", byref(old)) == 0
        return old.value


@contextmanager
def context(standin: Standin, device: int = 0) -> Iterator[Cuda]:
    """The entry points, with the device's context current. Errors of the device are forgotten at the end."""
    cuda = Cuda(standin)
    assert cuda("cuCtxPushCurrent_v2", cuda.context(device)) == 0
    yield cuda
    standin.reset()
    assert cuda("cuCtxPopCurrent_v2", None) == 0


def writes(to: c_void_p, *values: int) -> Prepare:
    arguments = Prepare(writes=1)
    arguments.write[0] = Write(to, 0, len(values))
    arguments.payload[: len(values)] = values
    return arguments


def words(address: c_void_p, count: int) -> list[int]:
    return list((c_uint64 * count).from_address(address.value or 0))
