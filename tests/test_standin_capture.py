"""The stand-in for CUDA's driver by itself: streams, capture and replay, work that is held back. Without fastlr."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from ctypes import byref, c_void_p
from threading import Thread

import pytest
from standin_calls import (
    CAPTURE_IMPLICIT,
    CAPTURE_INVALIDATED,
    CAPTURE_UNSUPPORTED,
    GLOBAL,
    RELAXED,
    Cuda,
    Prepare,
    ptx,
    words,
    writes,
)
from standin_driver import CaptureLost, Standin


def test_a_graph_is_captured_and_replayed(standin: Standin, cuda: Cuda) -> None:
    memory, function = cuda.allocate(8), cuda.function()
    arguments = writes(memory, 1)
    with standin.capture() as graph:
        assert cuda.is_capturing(graph.stream) == (0, 1)
        assert cuda.launch(function, arguments, stream=graph.stream) == 0
        assert words(memory, 1) != [1]
    assert standin.launches()[0]["captured"] == 1
    arguments.payload[0] = 2  # the graph has its own copy
    graph.replay(3)
    assert words(memory, 1) == [1]
    assert [event["kernel"] for event in standin.events("replay")] == ["fastlr_sgd_prepare"] * 3
    assert cuda("cuMemFree_v2", memory) == 0


def test_a_copy_of_pinned_memory_is_captured(standin: Standin, cuda: Cuda) -> None:
    memory, host, size = cuda.allocate(8), (ctypes.c_uint64 * 1)(1), ctypes.c_size_t(8)
    with standin.pinned(ctypes.addressof(host), 8):
        with standin.capture() as graph:
            assert cuda("cuMemcpyHtoDAsync_v2", memory, host, size, c_void_p(graph.stream)) == 0
        assert words(memory, 1) != [1]
        for value in (5, 6):
            host[0] = value
            graph.replay()
            assert words(memory, 1) == [value]
    assert cuda("cuMemFree_v2", memory) == 0


def calls_that_wait(cuda: Cuda, stream: int) -> dict[str, Callable[[], int]]:
    host = (ctypes.c_uint64 * 1)()
    memory, size = c_void_p(), ctypes.c_size_t(8)
    assert cuda("cuMemAlloc_v2", byref(memory), size) == 0
    return {
        "allocate": lambda: cuda("cuMemAlloc_v2", byref(c_void_p()), size),
        "free": lambda: cuda("cuMemFree_v2", memory),
        "load": lambda: cuda.module(ptx())[0],
        "other stream": lambda: cuda("cuStreamSynchronize", None),
        "copy elsewhere": lambda: cuda("cuMemcpyHtoDAsync_v2", memory, host, size, None),
        "synchronize": lambda: cuda("cuCtxSynchronize"),
        "stream": lambda: cuda("cuStreamSynchronize", c_void_p(stream)),
        "copy": lambda: cuda("cuMemcpyHtoDAsync_v2", memory, host, size, c_void_p(stream)),
    }


UNSAFE = ["allocate", "free", "load", "other stream", "copy elsewhere"]
FORBIDDEN = ["synchronize", "stream", "copy"]  # in every mode


@pytest.fixture
def relaxed(cuda: Cuda) -> Iterator[None]:
    """The calling thread has asked for unsafe calls during captures."""
    assert cuda.exchange_mode(RELAXED) == GLOBAL
    yield
    assert cuda.exchange_mode(GLOBAL) == RELAXED


def check_refused(standin: Standin, cuda: Cuda, call: str, mode: str) -> None:
    stream = standin.stream()
    function, run = cuda.function(), calls_that_wait(cuda, stream)[call]
    results = []
    with pytest.raises(CaptureLost), standin.capture(stream=stream, mode=mode):
        results += [run(), *cuda.is_capturing(stream), cuda.launch(function, Prepare(), stream=stream)]
    assert results == [CAPTURE_UNSUPPORTED, 0, 2, CAPTURE_INVALIDATED]


def check_allowed(standin: Standin, cuda: Cuda, call: str, mode: str) -> None:
    stream = standin.stream()
    run = calls_that_wait(cuda, stream)[call]
    with standin.capture(stream=stream, mode=mode):
        assert run() == 0


@pytest.mark.parametrize("mode", ["global", "thread_local"])
@pytest.mark.parametrize("call", UNSAFE)
def test_unsafe_calls_during_a_capture(standin: Standin, cuda: Cuda, call: str, mode: str) -> None:
    check_refused(standin, cuda, call, mode)
    check_allowed(standin, cuda, call, "relaxed")


@pytest.mark.parametrize("mode", ["global", "thread_local", "relaxed"])
@pytest.mark.parametrize("call", UNSAFE)
def test_unsafe_calls_of_a_relaxed_thread(standin: Standin, cuda: Cuda, relaxed: None, call: str, mode: str) -> None:
    check_allowed(standin, cuda, call, mode)


@pytest.mark.parametrize("mode", ["global", "thread_local", "relaxed"])
@pytest.mark.parametrize("call", FORBIDDEN)
def test_waiting_for_captured_work(standin: Standin, cuda: Cuda, relaxed: None, call: str, mode: str) -> None:
    check_refused(standin, cuda, call, mode)


@pytest.mark.parametrize(("mode", "refused"), [("global", True), ("thread_local", False), ("relaxed", False)])
def test_another_thread(standin: Standin, cuda: Cuda, mode: str, refused: bool) -> None:
    results: list[int] = []

    def allocate() -> None:
        assert cuda("cuCtxPushCurrent_v2", cuda.context()) == 0
        results.append(cuda("cuMemAlloc_v2", byref(c_void_p()), ctypes.c_size_t(8)))
        assert cuda("cuCtxPopCurrent_v2", None) == 0

    stream = standin.stream()
    with pytest.raises(CaptureLost) if refused else nullcontext(), standin.capture(stream=stream, mode=mode):
        thread = Thread(target=allocate)
        thread.start()
        thread.join()
    assert results == [CAPTURE_UNSUPPORTED if refused else 0]


def test_the_legacy_stream_during_a_capture(standin: Standin, cuda: Cuda) -> None:
    memory, function = cuda.allocate(8), cuda.function()
    with standin.capture():  # of a stream that does not wait for the legacy stream
        assert cuda.launch(function, writes(memory, 1)) == 0
        assert cuda.is_capturing(0) == (0, 0)
    blocking = standin.stream(blocking=True)
    with standin.capture(stream=blocking):
        assert cuda.is_capturing(0)[0] == CAPTURE_IMPLICIT
        assert cuda.is_capturing(blocking) == (0, 1)
    with pytest.raises(CaptureLost), standin.capture(stream=blocking):
        assert cuda.launch(function, writes(memory, 1)) == CAPTURE_IMPLICIT
    assert cuda("cuMemFree_v2", memory) == 0


def test_deferred_work(standin: Standin, cuda: Cuda) -> None:
    memory, function = cuda.allocate(8), cuda.function()
    host, stream, size = (ctypes.c_uint64 * 1)(), standin.stream(), ctypes.c_size_t(8)
    standin.configure(deferred=1)
    assert cuda.launch(function, writes(memory, 1), stream=stream) == 0
    assert words(memory, 1) != [1]
    assert cuda("cuMemcpyDtoHAsync_v2", host, memory, size, None) == 0  # another stream does not wait
    assert list(host) != [1]
    assert cuda("cuStreamSynchronize", c_void_p(stream)) == 0
    assert words(memory, 1) == [1]
    assert cuda("cuMemFree_v2", memory) == 0
