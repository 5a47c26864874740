"""Learning-rate schedules as exact values, and optimizers whose step follows them natively."""

from typing import TYPE_CHECKING

from fastlr import _lazy, schedules
from fastlr._conflict import warn_if_both_installed
from fastlr._loader import steps_per_epoch
from fastlr.lr_scheduler import LRScheduler
from fastlr.optim import SGD, Adam, AdamW, Lion
from fastlr.schedules import evaluate

if TYPE_CHECKING:
    from fastlr import compat
    from fastlr._param_groups import param_groups
    from fastlr.convert import from_torch
    from fastlr.finder import find_lr
    from fastlr.integrations import lightning
    from fastlr.pictures import plot
    from fastlr.schedules import ReduceOnPlateau, warmup_cosine
    from fastlr.studying import StudyError, study
    from fastlr.sweeping import sweep

__version__ = "0.1.0"

__getattr__ = _lazy.attach(
    __name__,
    {
        "_param_groups": "param_groups",
        "compat": "",
        "convert": "from_torch",
        "finder": "find_lr",
        "integrations": "lightning",
        "pictures": "plot",
        "schedules": "ReduceOnPlateau warmup_cosine",
        "studying": "StudyError study",
        "sweeping": "sweep",
    },
)

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "LRScheduler",
    "Lion",
    "ReduceOnPlateau",
    "StudyError",
    "__version__",
    "compat",
    "evaluate",
    "find_lr",
    "from_torch",
    "lightning",
    "param_groups",
    "plot",
    "schedules",
    "steps_per_epoch",
    "study",
    "sweep",
    "warmup_cosine",
]

warn_if_both_installed(__path__[0])
