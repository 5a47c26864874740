"""Results as texts for a database: floats by their bits, in pieces that fit into any text column."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

PIECE = 60_000  # characters; MySQL's TEXT holds 65,535


def packed(record: dict[str, Any]) -> list[str]:
    """The record in pieces of ASCII: letters, digits, ``+/=``.

    >>> unpacked(packed({"losses": np.array([[0.1, np.nan]]), "start": 0.3}))
    {'losses': array([[0.1, nan]]), 'start': 0.3}
    """
    text = json.dumps(record, default=_array)
    whole = base64.b64encode(zlib.compress(text.encode())).decode()
    return [whole[first : first + PIECE] for first in range(0, len(whole), PIECE)]


def unpacked(pieces: Sequence[str]) -> dict[str, Any]:
    """What `packed` was given; tuples have become lists. Raises ValueError for pieces of anything else."""
    try:
        text = zlib.decompress(base64.b64decode("".join(pieces), validate=True))
    except zlib.error as error:
        raise ValueError(f"not the pieces of a result ({error})") from error
    found: dict[str, Any] = json.loads(text, object_hook=_from_object)
    return found


def _array(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        floats = np.ascontiguousarray(value, dtype="<f8")
        return {"float64": base64.b64encode(floats.tobytes()).decode(), "shape": value.shape}
    return value.item()


def _from_object(found: dict[str, Any]) -> Any:
    if found.keys() == {"float64", "shape"}:
        return np.frombuffer(base64.b64decode(found["float64"]), dtype="<f8").reshape(found["shape"]).astype(float)
    return found
