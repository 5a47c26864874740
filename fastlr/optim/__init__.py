"""Optimizers: torch.optim.Optimizer subclasses whose step follows schedules natively."""

from fastlr.optim.scheduled import ScheduledOptimizer
from fastlr.optim.sgd import SGD

__all__ = ["SGD", "ScheduledOptimizer"]
