"""Pictures of schedules: on matplotlib's axes, and in a terminal."""

from fastlr.pictures.axes import plot
from fastlr.pictures.terminal import chart

__all__ = ["chart", "plot"]
