"""Public names that are imported at their first use, so that `import fastlr` stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def attach(package: str, homes: dict[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__``: `homes` has the names of each submodule, separated by blanks; none is the module."""
    home = {name: module for module, names in homes.items() for name in (names or module).split()}

    def find(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{home[name]}")
        value = module if name == home[name] else getattr(module, name)
        setattr(importlib.import_module(package), name, value)  # the next use finds it without this function
        return value

    return find
