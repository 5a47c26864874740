"""How many replicas go through the model at once: as many as the memory allows."""

from __future__ import annotations

from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
USED = 0.6  # of what is available: the estimates are rough
TRANSIENT = 2.0  # what a pass needs beyond what it keeps for the backward pass, as a factor


def available(device: torch.device) -> int | None:
    """Bytes free on the device; None where nothing tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    if device.type == "cpu" and MEMINFO.exists():
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text(encoding="utf-8").splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else None
    return None


def require(needed: int, free: int | None, count: int) -> None:
    """Raise ValueError where the replicas' parameters, gradients and state do not fit."""
    if free is not None and needed > free:
        raise ValueError(
            f"{count} replicas do not fit: they need {needed / 1e9:.1f} GB for parameters, gradients and state, and "
            f"{free / 1e9:.1f} GB are free. Sweep fewer rates at a time."
        )


def replicas_at_once(kept: int, free: int | None, count: int) -> int:
    """How many replicas, of `count`, run together where one keeps so many bytes for its backward pass."""
    if free is None or kept == 0:
        return count
    return max(1, min(count, int(USED * free / (TRANSIENT * kept))))
