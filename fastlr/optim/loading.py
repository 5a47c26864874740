"""Loaded state in the dtype that it was saved with: torch's own loading casts it to its parameter's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from fastlr.optim import recipe

StateDict = dict[str, Any]


@contextmanager
def seen(optimizer: Optimizer) -> Iterator[list[StateDict]]:
    """The state dict that torch loads within the block, as the callers' hooks have left it."""
    found: list[StateDict] = []
    handle = optimizer.register_load_state_dict_pre_hook(lambda _, state: found.append(state))
    try:
        yield found
    finally:
        handle.remove()


def keep_dtypes(loaded: StateDict, saved: StateDict) -> None:
    """Replace what torch has cast, in groups and state as they are loaded, by what was saved."""
    for group, saved_group in zip(loaded["param_groups"], saved["param_groups"], strict=True):
        for param, number in zip(group["params"], saved_group["params"], strict=True):
            entries = loaded["state"].get(param, {})
            for name, value in saved["state"].get(number, {}).items():
                if isinstance(value, torch.Tensor) and name != "step":
                    entries[name] = recipe.adopt_dtype(param, value, name, group)
