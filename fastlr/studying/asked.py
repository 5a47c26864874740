"""The arguments of a search that is kept."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

LONGEST = 200


def bound(search: Callable[..., Any], *positional: Any, **named: Any) -> dict[str, Any]:
    """All arguments of a call by name, those that are left out by their defaults. Raises TypeError as the call does."""
    found = inspect.signature(search).bind(*positional, **named)
    found.apply_defaults()
    return found.arguments


def check_label(label: str | None) -> str | None:
    """Raise ValueError for what is no label."""
    if label is not None and not (isinstance(label, str) and 0 < len(label) <= LONGEST):
        raise ValueError(f"No label: {label!r}. Give a text of 1 to {LONGEST} characters, or None.")
    return label
