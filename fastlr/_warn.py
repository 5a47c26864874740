"""Warnings that point at the caller's line."""

import sys
import warnings


def warn(text: str) -> None:
    """Warn at the first frame that is neither fastlr's nor torch's: the latter's wrappers differ between versions."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("fastlr", "torch"):
        frame = frame.f_back
        level += 1
    warnings.warn(text, UserWarning, stacklevel=level + 1)
