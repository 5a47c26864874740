"""What fastlr runs on here: versions, the processor, and CUDA or the reason why it is not used."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fastlr import _core
from fastlr._machine import machine


def info() -> dict[str, Any]:
    """The facts of `fastlr._machine.machine`, and those of NumPy, of tensors and of CUDA.

    ``torch_cuda`` is the CUDA version that torch was built with, or None. ``cuda`` is what the native module found:
    ``available``, ``reason`` (why not), ``driver`` (12040 is CUDA 12.4, 0 unknown), ``architectures`` and ``devices``.
    ``why_no_cuda`` is empty where CUDA is used.
    """
    facts = {
        **machine(),
        "numpy": np.__version__,
        "tensor_access": _core.tensor_access(),
        "torch_cuda": torch.version.cuda,
        "cuda": _core.cuda_status(),
    }
    return {**facts, "why_no_cuda": why_no_cuda(facts)}


def why_no_cuda(facts: dict[str, Any]) -> str:
    """Why there are no CUDA tensors here, or only torch's operators for them; empty where nothing is wrong.

    >>> why_no_cuda({"torch": "2.9.0+cpu", "torch_cuda": None, "cuda": {"available": False, "reason": "no driver"}})
    'torch 2.9.0+cpu is built without CUDA; no driver'
    """
    reasons = [] if facts["torch_cuda"] else [f"torch {facts['torch']} is built without CUDA"]
    if not facts["cuda"]["available"]:
        reasons.append(facts["cuda"]["reason"])
    if not reasons and not torch.cuda.is_available():
        reasons.append("torch finds no CUDA device")
    return "; ".join(reasons)


def driver_version(number: int) -> str:
    """The CUDA version that a driver supports, from the driver's own number.

    >>> driver_version(12040), driver_version(0)
    ('12.4', 'unknown')
    """
    return f"{number // 1000}.{number % 1000 // 10}" if number else "unknown"


def device_text(device: dict[str, Any]) -> str:
    """One of ``cuda["devices"]`` in a line."""
    major, minor = device["capability"]
    return (
        f"{device['name']}, compute capability {major}.{minor}, {device['multiprocessors']} multiprocessors, "
        f"{device['memory'] / 2**30:.1f} GiB, image {device['image'] or 'none'}"
    )


def info_text(facts: dict[str, Any]) -> str:
    """The facts of `info` as a table of two columns."""
    cuda, reason = facts["cuda"], facts["why_no_cuda"]
    rows = [
        ("fastlr", facts["fastlr"]),
        ("torch", facts["torch"]),
        ("NumPy", facts["numpy"]),
        ("Python", facts["python"]),
        ("system", facts["system"]),
        ("processor", f"{facts['cpu']}, {facts['cores']} cores"),
        ("instructions", f"fastlr {facts['instructions_fastlr']}, torch {facts['instructions_torch']}"),
        ("threads", facts["threads"]),
        ("tensor access", facts["tensor_access"]),
        ("CUDA", f"not used: {reason}" if reason else "used"),
        ("CUDA of torch", facts["torch_cuda"] or "none"),
        ("CUDA of the driver", driver_version(cuda["driver"])),
        ("CUDA images", " ".join(cuda["architectures"]) or "none: built without CUDA"),
        *((f"GPU {index}", device_text(device)) for index, device in enumerate(cuda["devices"])),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
