"""Results as JSON: arrays as lists, what is no number as null."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The value as JSON has it: arrays and tuples are lists, NaN and infinities null.

    >>> plain({"losses": np.array([1.5, np.nan]), "steps": np.int64(2)})
    {'losses': [1.5, None], 'steps': 2}
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(record: dict[str, Any], path: str | Path | None = None) -> str:
    """The record as JSON text, written to a file as well where one is named."""
    text = json.dumps(plain(record), indent=1, allow_nan=False)
    if path is not None:
        Path(path).write_text(text + "\n", encoding="utf-8")
    return text
