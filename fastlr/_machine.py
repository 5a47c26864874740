"""What a measured figure depends on, recorded beside every figure."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from fastlr import _core


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> dict[str, str | int | float]:
    """Processor, threads (fastlr uses as many as torch is set to), instruction sets, versions and current load."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "instructions_torch": torch.backends.cpu.get_cpu_capability(),
        "instructions_fastlr": _core.cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fastlr": version("torch-fastlr"),
        "load": round(os.getloadavg()[0], 2),
    }


def machine_line() -> str:
    """The same in one line."""
    facts = machine()
    return (
        f"{facts['cpu']} ({facts['instructions_fastlr']}), {facts['cores']} cores, threads: {facts['threads']}, "
        f"{facts['system']}, Python {facts['python']}, torch {facts['torch']}, fastlr {facts['fastlr']}, "
        f"load {facts['load']}"
    )
