"""Ways to run all replicas through the model and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from fastlr.sweeping.engines.base import Engine, Unsupported
from fastlr.sweeping.engines.batched import Batched
from fastlr.sweeping.engines.sequential import Sequential
from fastlr.sweeping.engines.threaded import Threaded
from fastlr.sweeping.engines.vmapped import Vmapped
from fastlr.sweeping.replicas import Replicas
from fastlr.sweeping.subject import Subject

__all__ = ["Engine", "Sequential", "Threaded", "Unsupported", "makers"]


def makers(subject: Subject, replicas: Replicas) -> dict[str, Callable[[], Engine]]:
    """Each way by name; making it raises Unsupported where it is none for this model. The last one always works."""
    return {
        "threaded": partial(Threaded, subject, replicas),
        "batched": partial(Batched, subject, replicas),
        "vmapped": partial(Vmapped, subject, replicas),
        "grad_and_value": partial(Vmapped, subject, replicas, functional=True),
        "sequential": partial(Sequential, subject, replicas),
    }
