"""The stand-in for CUDA's driver by itself: what it refuses, what it records, what it runs. Without fastlr."""

import ctypes
from ctypes import byref, c_uint64, c_void_p
from typing import Any

import pytest
import torch
from cuda_tensors import on_device
from standin_calls import (
    ILLEGAL_ADDRESS,
    INVALID_CONTEXT,
    INVALID_HANDLE,
    INVALID_IMAGE,
    INVALID_VALUE,
    NO_BINARY,
    NO_MEMORY,
    NOT_FOUND,
    POISON,
    THREADS,
    UNSUPPORTED_PTX,
    Cuda,
    Prepare,
    cubin,
    ptx,
    words,
    writes,
)
from standin_driver import Standin, Unavailable, build, run_configured
from test_cuda_tensors import view_of


def test_a_kernel_runs_and_is_recorded(standin: Standin, cuda: Cuda) -> None:
    memory, function = cuda.allocate(80), cuda.function()
    assert words(memory, 10) == [int.from_bytes([POISON] * 8, "little")] * 10
    assert cuda.launch(function, writes(memory, 3, 1, 4, 1, 5)) == 0
    assert words(memory, 5) == [3, 1, 4, 1, 5]
    (launch,) = standin.launches()
    assert launch["kernel"] == "fastlr_sgd_prepare"
    assert launch["grid"] == [1, 1, 1]
    assert launch["block"] == [THREADS, 1, 1]
    assert (launch["stream"], launch["device"], launch["result"]) == (0, 0, 0)
    assert launch["bytes"] == ctypes.sizeof(Prepare) == 4048
    cuda.launch(function, writes(memory, 3, 1, 4, 1, 6))
    assert standin.launches()[1]["digest"] != launch["digest"]
    assert cuda("cuMemFree_v2", memory) == 0


def test_arguments_in_a_buffer(standin: Standin, cuda: Cuda) -> None:
    memory, function = cuda.allocate(16), cuda.function()
    arguments = writes(memory, 9, 8)
    standin.expected.append("fastlr_sgd_prepare: no arguments, or not of the kernel's size")
    for short, expected in ((8, INVALID_VALUE), (0, 0)):
        size = ctypes.c_size_t(ctypes.sizeof(arguments) - short)
        extra = (c_void_p * 5)(1, ctypes.addressof(arguments), 2, ctypes.addressof(size), 0)
        assert cuda("cuLaunchKernel", function, 1, 1, 1, THREADS, 1, 1, 0, None, None, extra) == expected
    assert words(memory, 2) == [9, 8]
    assert cuda("cuMemFree_v2", memory) == 0


BAD_LAUNCHES = [
    ({"grid": (0, 1, 1)}, "fastlr_sgd_prepare: a grid of 0 x 1 x 1"),
    ({"grid": (1, 65536, 1)}, "fastlr_sgd_prepare: a grid of 1 x 65536 x 1"),
    ({"block": (128, 1, 1)}, "fastlr_sgd_prepare: a block of 128 threads instead of 256"),
    ({"shared": 4}, "fastlr_sgd_prepare: shared memory that the kernel does not declare"),
]


@pytest.mark.parametrize(("changes", "problem"), BAD_LAUNCHES)
def test_launches_that_are_refused(standin: Standin, cuda: Cuda, changes: dict[str, Any], problem: str) -> None:
    memory, function = cuda.allocate(8), cuda.function()
    standin.expected.append(problem)
    assert cuda.launch(function, writes(memory, 1), **changes) == INVALID_VALUE
    assert standin.events("problem")[0]["text"] == problem
    assert words(memory, 1) != [1]
    assert cuda("cuMemFree_v2", memory) == 0


def test_handles_of_another_device(standin: Standin, cuda: Cuda) -> None:
    memory, function, stream = cuda.allocate(8), cuda.function(), standin.stream(device=1)
    assert cuda.launch(function, writes(memory, 1), stream=stream) == INVALID_HANDLE
    assert cuda("cuStreamSynchronize", c_void_p(stream)) == INVALID_HANDLE
    assert cuda("cuCtxPushCurrent_v2", cuda.context(1)) == 0
    assert cuda.launch(function, writes(memory, 1)) == INVALID_HANDLE
    assert cuda.launch(c_void_p(1), writes(memory, 1)) == INVALID_HANDLE
    problem = "fastlr_sgd_prepare on device 1: memory of device 0"
    standin.expected.append(problem)
    assert cuda.launch(cuda.function(), writes(memory, 1)) == ILLEGAL_ADDRESS
    assert cuda("cuCtxPopCurrent_v2", None) == 0
    assert cuda("cuMemFree_v2", memory) == 0


def test_a_tensor_of_another_device(standin: Standin, cuda: Cuda) -> None:
    tensor = on_device(torch.zeros(4, dtype=torch.int64), 1)
    view_of(tensor)
    standin.expected.append("fastlr_sgd_prepare on device 0: memory of device 1")
    assert cuda.launch(cuda.function(), writes(c_void_p(tensor.data_ptr()), 1)) == ILLEGAL_ADDRESS


def test_memory_that_was_freed(standin: Standin, cuda: Cuda) -> None:
    memory, function = cuda.allocate(8), cuda.function()
    assert cuda("cuMemFree_v2", memory) == 0
    standin.expected += ["cuMemFree: freed twice", "fastlr_sgd_prepare on device 0: memory that was freed"]
    assert cuda("cuMemFree_v2", memory) == INVALID_VALUE
    assert cuda.launch(function, writes(memory, 1)) == ILLEGAL_ADDRESS
    # The error stays.
    assert cuda("cuCtxSynchronize") == ILLEGAL_ADDRESS


def test_foreign_and_damaged_memory(standin: Standin, cuda: Cuda) -> None:
    foreign = ctypes.create_string_buffer(8)
    standin.expected += ["cuMemFree: not allocated here", "cuMemFree: written to outside of its bounds"]
    assert cuda("cuMemFree_v2", c_void_p(ctypes.addressof(foreign))) == INVALID_VALUE
    memory = cuda.allocate(8)
    assert standin.damage() == ""
    ctypes.memset((memory.value or 0) + 8, 0, 1)
    assert standin.damage() == "an allocation of 8 bytes was written to outside of its bounds"
    assert cuda("cuMemFree_v2", memory) == INVALID_VALUE


def test_memory_ends(cuda: Cuda) -> None:
    memory = c_void_p()
    before = cuda.dll.standin_allocations()
    assert cuda("cuMemAlloc_v2", byref(memory), ctypes.c_size_t(9 << 30)) == NO_MEMORY
    assert cuda("cuMemAlloc_v2", byref(memory), ctypes.c_size_t(0)) == INVALID_VALUE
    assert cuda("cuMemFree_v2", None) == 0
    assert cuda.dll.standin_allocations() == before


def test_copies(standin: Standin, cuda: Cuda) -> None:
    memory, host = cuda.allocate(16), (c_uint64 * 2)(5, 6)
    size = ctypes.c_size_t(16)
    assert cuda("cuMemcpyHtoDAsync_v2", memory, host, size, None) == 0
    assert words(memory, 2) == [5, 6]
    host[0] = 0
    with standin.pinned(ctypes.addressof(host), 16):
        assert cuda("cuMemcpyDtoHAsync_v2", host, memory, size, None) == 0
        assert list(host) == [5, 6]
        assert cuda("cuMemcpyDtoHAsync_v2", host, memory, ctypes.c_size_t(17), None) == INVALID_VALUE
    assert cuda("cuMemcpyDtoHAsync_v2", host, memory, size, None) == 0
    copies = standin.events("cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2")
    assert [(copy["bytes"], copy["pinned"]) for copy in (*copies[:2], copies[-1])] == [(16, 0), (16, 1), (16, 0)]
    assert cuda("cuMemFree_v2", memory) == 0


def test_contexts_are_counted(standin: Standin, cuda: Cuda) -> None:
    assert standin.contexts() == 1
    assert cuda("cuCtxPopCurrent_v2", None) == 0
    assert cuda("cuCtxPopCurrent_v2", None) == INVALID_CONTEXT
    assert cuda("cuCtxSynchronize") == INVALID_CONTEXT
    assert cuda("cuMemAlloc_v2", byref(c_void_p()), ctypes.c_size_t(8)) == INVALID_CONTEXT
    assert cuda("cuCtxPushCurrent_v2", c_void_p(123)) == INVALID_CONTEXT
    assert cuda("cuCtxPushCurrent_v2", cuda.context()) == 0
    assert standin.contexts() == 1


IMAGES = [
    (cubin(86), 0),
    (cubin(80), 0),
    (cubin(86, new_abi=True), 0),
    (cubin(89), NO_BINARY),
    (cubin(75), NO_BINARY),
    (cubin(90), NO_BINARY),
    (cubin(86, machine=62), INVALID_IMAGE),
    (b"\0" * 64, INVALID_IMAGE),
    (b"\x7fELF" + b"\0" * 60, INVALID_IMAGE),
    (ptx(80), 0),
    (ptx(50), 0),
    (ptx(90), NO_BINARY),
    (ptx(80, "8.4"), 0),
    (ptx(80, "8.5"), UNSUPPORTED_PTX),  # the driver is that of CUDA 12.4
    (cubin(86, size=5000), 0),
]


@pytest.mark.parametrize(("image", "expected"), IMAGES)
def test_images(cuda: Cuda, image: bytes, expected: int) -> None:
    assert cuda.module(image)[0] == expected


def test_functions_of_an_image(standin: Standin, cuda: Cuda) -> None:
    function = c_void_p()
    _, module = cuda.module(cubin(86, size=5000))
    standin.expected.append("fastlr_sgd_prepare: no kernel takes 5000 bytes as the image does")
    assert cuda("cuModuleGetFunction", byref(function), module, b"fastlr_sgd_prepare") == NOT_FOUND
    _, module = cuda.module(cubin(86))
    assert cuda("cuModuleGetFunction", byref(function), module, b"fastlr_sgd_float32") == NOT_FOUND
    assert cuda("cuModuleGetFunction", byref(function), c_void_p(7), b"fastlr_sgd_prepare") == INVALID_HANDLE
    assert cuda("cuModuleGetFunction", byref(function), module, b"fastlr_sgd_prepare") == 0


def test_failures_that_were_asked_for(standin: Standin, cuda: Cuda) -> None:
    standin.fail("cuStreamIsCapturing", NO_MEMORY, after=1, times=2)
    assert [cuda.is_capturing(0)[0] for _ in range(4)] == [0, NO_MEMORY, NO_MEMORY, 0]
    standin.fail("cuStreamIsCapturing", ILLEGAL_ADDRESS)
    assert cuda.is_capturing(0)[0] == cuda.is_capturing(0)[0] == cuda("cuCtxSynchronize") == ILLEGAL_ADDRESS
    standin.reset()
    assert cuda("cuCtxSynchronize") == 0


ERRORS = {
    0: ("CUDA_SUCCESS", "no error"),
    2: ("CUDA_ERROR_OUT_OF_MEMORY", "out of memory"),
    209: ("CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"),
    700: ("CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"),
    803: ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "system has unsupported display driver / cuda driver combination"),
}


@pytest.mark.parametrize("result", ERRORS)
def test_texts_of_errors(cuda: Cuda, result: int) -> None:
    found = []
    for call in ("cuGetErrorName", "cuGetErrorString"):
        text = ctypes.c_char_p()
        assert cuda(call, result, byref(text)) == 0
        found.append((text.value or b"").decode())
        assert cuda(call, 12345, byref(text)) == INVALID_VALUE
    assert tuple(found) == ERRORS[result]


SETTINGS = """
import ctypes
from standin_calls import Cuda
cuda = Cuda(standin)
number, name = ctypes.c_int(), ctypes.create_string_buffer(20)
print(cuda("cuDriverGetVersion", ctypes.byref(number)), number.value)
print(cuda("cuDeviceGetCount", ctypes.byref(number)), number.value)
for attribute in (16, 75, 76):
    print(cuda("cuDeviceGetAttribute", ctypes.byref(number), attribute, 1), number.value)
print(cuda("cuDeviceGetName", name, 5, 0), name.value.decode())
print(cuda("cuDeviceTotalMem_v2", ctypes.byref(size := ctypes.c_size_t()), 2), size.value)
print(cuda("cuDeviceGet", ctypes.byref(number), 3))
print(standin.dll.standin_configure(b"driver", b"12000"))
"""


def test_settings() -> None:
    printed = run_configured(
        SETTINGS, devices=3, driver=13000, multiprocessors=132, name="H100 of some kind", **{"capability.1": 90}
    )
    expected = [0, 13000, 0, 3, 0, 132, 0, 9, 0, 0, 0, "H100", 0, 8 << 30, 101, -1]
    assert printed.split() == [str(each) for each in expected]


@pytest.mark.parametrize(("settings", "expected"), [({"devices": 0}, [100, 3]), ({}, [0, 0])])
def test_before_initialisation(settings: dict[str, Any], expected: list[int]) -> None:
    code = """
import ctypes
number = ctypes.c_int()
print(standin.dll.cuDeviceGetCount(ctypes.byref(number)), standin.dll.cuInit(1))
print(standin.dll.cuInit(0), standin.dll.cuDeviceGetCount(ctypes.byref(number)))
"""
    assert [int(word) for word in run_configured(code, **settings).split()] == [3, 1, *expected]


@pytest.mark.parametrize(("key", "value"), [("devices", 5), ("blocks", "sideways"), ("workers", 0), ("colour", 1)])
def test_settings_that_do_not_exist(standin: Standin, key: str, value: Any) -> None:
    with pytest.raises(RuntimeError, match="gave -1"):
        standin.configure(**{key: value})


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(Unavailable, match="no C\\+\\+ compiler: no-such-compiler"):
        build()
