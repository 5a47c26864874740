"""Whose claims are alive: processes by machine, number and start, and a heart that beats while one trains."""

from __future__ import annotations

import functools
import os
import socket
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

INTERVAL = 30  # seconds between two beats
GRACE = 120  # seconds without one after which a claim is given up for dead

Owner = dict[str, Any]  # as it is stored: machine, pid, started, claim
_mine: set[str] = set()  # claims of this process that are being worked on


def new_owner() -> Owner:
    """Of a claim that this process makes and works on until `release`."""
    claim = uuid.uuid4().hex
    _mine.add(claim)
    return {"machine": machine(), "pid": os.getpid(), "started": _started(os.getpid()), "claim": claim}


def release(owner: Owner) -> None:
    """Of a claim that is over, whatever became of it."""
    _mine.discard(owner["claim"])


def is_gone(owner: Owner) -> bool:
    """Whether its process is known not to work on the claim any more. One of another machine is not known of here."""
    if owner.get("machine") != machine() or not isinstance(owner.get("pid"), int):
        return False
    if owner["pid"] == os.getpid() and owner["started"] == _started(os.getpid()):
        return owner["claim"] not in _mine
    return Path("/proc/self/stat").exists() and _started(owner["pid"]) != owner["started"]


@functools.cache
def machine() -> str:
    """This host since it was booted, and the container whose process numbers these are."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    since = boot.read_text(encoding="ascii").strip() if boot.exists() else ""
    space = Path("/proc/self/ns/pid")
    return " ".join([socket.gethostname(), since, os.readlink(space) if space.is_symlink() else ""])


def _started(pid: int) -> int | None:
    """When a process began, in ticks since the boot, as its number is used again; None where it runs no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])  # a zombie has ended


class Heart:
    """Calls `beat` now and then, from entering to leaving. What it raises, as of a locked database, waits for the next.

    Args:
        beat: Called once before the block begins, there with its exceptions.
        still: Called in the heart's own thread at the end, to close what that has opened.
    """

    def __init__(self, beat: Callable[[], None], still: Callable[[], None]) -> None:
        self._beat, self._still = beat, still
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fastlr-heart", daemon=True)

    def __enter__(self) -> None:
        self._beat()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            try:
                self._beat()
            except Exception:  # the next one may come through, and if none does others take over
                continue
        self._still()
