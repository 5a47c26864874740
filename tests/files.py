"""What checkpoints go through."""

import io
from typing import Any

import torch


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """A state as `torch.load(weights_only=True)` reads it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded
