"""Learning-rate schedules as exact values, and optimizers whose step follows them natively."""

from fastlr import schedules
from fastlr._conflict import warn_if_both_installed
from fastlr.lr_scheduler import LRScheduler
from fastlr.optim import SGD
from fastlr.schedules import evaluate, warmup_cosine

__version__ = "0.1.0"

__all__ = ["SGD", "LRScheduler", "__version__", "evaluate", "schedules", "warmup_cosine"]

warn_if_both_installed(__path__[0])
