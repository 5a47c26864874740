"""Every test sees the installed package, and hypothesis neither times examples nor draws them by chance."""

import importlib.util
from pathlib import Path

import hypothesis
import pytest

SOURCE = Path(__file__).resolve().parents[1] / "fastlr"
FOUND = importlib.util.find_spec("fastlr")

if FOUND is None or FOUND.origin is None or Path(FOUND.origin).resolve().parent == SOURCE:
    raise pytest.UsageError(
        f"the tests need the installed package, not the source folder: {SOURCE}. Run `pip install .`, then `pytest`, "
        "which leaves the current folder off sys.path as `python -m pytest` does not."
    )

hypothesis.settings.register_profile("fastlr", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("fastlr")
