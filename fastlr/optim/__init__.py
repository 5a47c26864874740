"""Optimizers: torch.optim.Optimizer subclasses whose step follows schedules natively."""

from fastlr import _core
from fastlr.optim.adam import Adam, AdamW
from fastlr.optim.lion import Lion
from fastlr.optim.scheduled import ScheduledOptimizer
from fastlr.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Lion", "ScheduledOptimizer"]

_core.tensor_access()  # tries the shortest way to tensors now, outside of any mode that would give other tensors
