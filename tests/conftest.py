"""Every test sees the installed package, and hypothesis neither times examples nor draws them by chance."""

from pathlib import Path

import hypothesis
import pytest

import fastlr

SOURCE = Path(__file__).resolve().parents[1] / "fastlr"

if Path(fastlr.__file__).resolve().parent == SOURCE:
    raise pytest.UsageError(
        f"the tests would run against the source folder: {SOURCE}. Install the package (`pip install .`) and run "
        "`pytest`, which leaves the current folder off sys.path, not `python -m pytest`."
    )

hypothesis.settings.register_profile("fastlr", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("fastlr")
