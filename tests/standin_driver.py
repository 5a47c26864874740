"""The stand-in for libcuda.so.1 in tests/standin: built once, loaded ahead of the real name, asked what it was told.

glibc's dlopen finds a library that is loaded already by its name: who opens libcuda.so.1 afterwards gets this one.
"""

import ctypes
import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from built_once import built_once

TESTS = Path(__file__).resolve().parent
SOURCES = TESTS / "standin"
CSRC = TESTS.parent / "csrc"
FLAGS = ["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-strict-aliasing"]
FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-Wno-unknown-pragmas", f"-I{CSRC}", f"-I{SOURCES}"]
LINK = ["-shared", "-pthread", "-Wl,-soname,libcuda.so.1", "-Wl,-Bsymbolic", "-ldl"]
CAPTURE_MODES = {"global": 0, "thread_local": 1, "relaxed": 2}

Event = dict[str, Any]


class Unavailable(Exception):
    """There can be no stand-in here; the text says why."""


class CaptureLost(Exception):
    """A capture ended without a graph, since something that cannot be captured came in between."""


def _compiler() -> list[str]:
    command = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(command[0]) is None:
        raise Unavailable(f"no C++ compiler: {command[0]}. Install one, or set CXX.")
    return command


def _build(compiler: list[str], folder: Path) -> None:
    def run(arguments: list[str]) -> None:
        result = subprocess.run(arguments, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"{shlex.join(arguments)}\n{result.stderr}")

    units = sorted(SOURCES.glob("*.cpp"))
    objects = [str(folder / f"{unit.stem}.o") for unit in units]
    commands = [[*compiler, *FLAGS, "-c", str(unit), "-o", out] for unit, out in zip(units, objects, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run, commands))
    run([*compiler, *objects, *LINK, "-o", str(folder / "libcuda.so.1")])


def build() -> Path:
    """The library's path. What its sources, the kernels' and the compiler were at the time is part of it."""
    compiler = _compiler()
    version = subprocess.run([*compiler, "--version"], capture_output=True).stdout
    files = sorted([*SOURCES.iterdir(), *CSRC.rglob("*.h"), *CSRC.rglob("*.cu")])
    inputs = [version, repr([compiler, FLAGS, LINK]).encode(), *(file.read_bytes() for file in files)]
    return built_once("libcuda.so.1", inputs, lambda folder: _build(compiler, folder))


class Graph:
    """What was captured from a stream; filled when the capture ends."""

    def __init__(self, standin: "Standin", stream: int) -> None:
        self._standin = standin
        self.stream = stream
        self.number = -1

    def replay(self, times: int = 1) -> None:
        self._standin.succeed("standin_replay", self.number, ctypes.c_void_p(self.stream), times)


class Standin:
    """The loaded stand-in. Settings other than the order of execution have to come before CUDA is initialised."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.dll = library
        self.expected: list[str] = []  # problems that a test brings about on purpose
        library.standin_events.restype = library.standin_damage.restype = ctypes.c_char_p
        library.standin_stream.restype = library.standin_table.restype = ctypes.c_void_p
        library.standin_fail.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int]

    def succeed(self, name: str, *arguments: Any) -> None:
        result = getattr(self.dll, name)(*arguments)
        if result != 0:
            raise RuntimeError(f"{name}{arguments} gave {result}")

    def reset(self) -> None:
        """Forgets events, failures to come and errors of devices, and what on_stream() and configure(order) set."""
        self.configure(blocks="random", threads="random", workers=1, seed=1, deferred=0)
        self.expected = []
        for device in range(4):
            self.use_stream(0, device)
        self.succeed("standin_reset")

    def configure(self, **settings: Any) -> None:
        """devices, driver, name, capability, multiprocessors, memory; blocks, threads, workers, seed, deferred.

        A setting of one device is written {"capability.1": 90}.
        """
        for key, value in settings.items():
            self.succeed("standin_configure", key.encode(), str(value).encode())

    def fail(self, call: str, result: int, *, after: int = 0, times: int = 1) -> None:
        """The entry point gives `result`, `times` times (-1: always), after it has worked `after` times."""
        self.succeed("standin_fail", call.encode(), after, times, result)

    def events(self, *calls: str) -> list[Event]:
        """What happened since the last reset, in order: all of it, or these calls."""
        found: list[Event] = json.loads(self.dll.standin_events())
        return [event for event in found if not calls or event["call"] in calls]

    def launches(self) -> list[Event]:
        return self.events("cuLaunchKernel")

    def damage(self) -> str:
        return str(self.dll.standin_damage().decode())

    def allocations(self) -> int:
        return int(self.dll.standin_allocations())

    def contexts(self) -> int:
        """How many contexts the calling thread has pushed and not popped."""
        return int(self.dll.standin_contexts())

    @contextmanager
    def pinned(self, address: int, size: int) -> Iterator[None]:
        """Host memory that is page-locked meanwhile: whatever lies there later is not."""
        self.succeed("standin_pin", ctypes.c_void_p(address), ctypes.c_size_t(size))
        try:
            yield
        finally:
            self.succeed("standin_unpin", ctypes.c_void_p(address))

    def finish(self) -> None:
        """Waits for all work, which matters where `deferred` holds it back."""
        self.succeed("standin_finish")

    def stream(self, device: int = 0, *, blocking: bool = False) -> int:
        return int(self.dll.standin_stream(device, int(blocking)))

    def use_stream(self, stream: int, device: int = 0) -> None:
        """What torch's current stream is from now on, on this device; 0 is the default stream."""
        self.succeed("standin_use_stream", device, ctypes.c_void_p(stream))

    @contextmanager
    def on_stream(self, stream: int, device: int = 0) -> Iterator[None]:
        self.use_stream(stream, device)
        try:
            yield
        finally:
            self.use_stream(0, device)

    @contextmanager
    def capture(self, device: int = 0, *, stream: int = 0, mode: str = "global") -> Iterator[Graph]:
        """As torch.cuda.graph(): the work inside goes into the graph that is yielded, from a stream of its own."""
        stream = stream or self.stream(device)
        graph = Graph(self, stream)
        self.succeed("standin_begin_capture", ctypes.c_void_p(stream), CAPTURE_MODES[mode])
        try:
            with self.on_stream(stream, device):
                yield graph
        finally:
            graph.number = self.dll.standin_end_capture(ctypes.c_void_p(stream))
        if graph.number < 0:
            raise CaptureLost(f"CUDA error {-graph.number} when the capture ended")


@functools.lru_cache(maxsize=1)
def load() -> Standin:
    """Loads it into this process, once. Raises Unavailable where that cannot be."""
    import torch

    if torch.cuda.is_available():
        raise Unavailable("torch uses the real libcuda.so.1 here")
    return Standin(ctypes.CDLL(str(build()), mode=ctypes.RTLD_GLOBAL))


def run_configured(code: str, **settings: Any) -> str:
    """Runs Python in a process of its own with the stand-in loaded as `standin`, and returns what it prints."""
    start = f"import standin_driver; standin = standin_driver.load(); standin.configure(**{settings!r})\n"
    path = [str(TESTS), *sys.path]
    result = subprocess.run(
        [sys.executable, "-c", start + code],
        capture_output=True,
        text=True,
        cwd=tempfile.gettempdir(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in path if entry)},
    )
    if result.returncode != 0:
        raise RuntimeError(f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout
