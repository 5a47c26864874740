"""Where random numbers come from: the generators of Python, NumPy, torch and its devices, and a loader's own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

# Where a DataLoader and its parts keep theirs.
_PARTS = ("sampler", "batch_sampler", "dataset", "collate_fn")


class Randomness:
    """The state of every generator that a search may draw from, as it is now.

    Args:
        devices: Types of the devices in use, such as "cuda". CUDA's are looked at wherever it has been used.
        loader: A loader whose own generators count as well, with those of its samplers and its data set.
    """

    def __init__(self, devices: Iterable[str] = (), loader: Any = None) -> None:
        self._generators = list(_generators_of(loader))
        states = [_kept_state(generator) for generator in self._generators]
        python, torchs = random.getstate(), torch.get_rng_state()
        numpys = np.random.get_state()
        self._restores: list[Callable[[], Any]] = [
            lambda: random.setstate(python),
            lambda: np.random.set_state(numpys),
            lambda: torch.set_rng_state(torchs),
            *states,
        ]
        used = {*devices} - {"cpu", "meta"}
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            used.add("cuda")
        self._restores += [restore for device in sorted(used) for restore in _device_states(device)]

    def restore(self) -> None:
        """Go on from there, with every one of them."""
        for restore in self._restores:
            restore()

    def seed(self, seed: int) -> None:
        """Begin all of them anew, each from this number."""
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        for generator in self._generators:
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
            elif isinstance(generator, np.random.Generator):
                generator.bit_generator.state = type(generator.bit_generator)(seed).state
            else:
                generator.seed(seed % 2**32)


def _device_states(device: str) -> Iterator[Callable[[], Any]]:
    module: Any = getattr(torch, device, None)
    if hasattr(module, "get_rng_state_all"):
        states = module.get_rng_state_all()
        yield lambda: module.set_rng_state_all(states)
    elif hasattr(module, "get_rng_state"):
        state = module.get_rng_state()
        yield lambda: module.set_rng_state(state)


def _generators_of(loader: Any) -> Iterator[Any]:
    """A loader's own generators, each once."""
    seen: set[int] = set()
    waiting = [] if loader is None else [loader]
    while waiting:
        owner = waiting.pop()
        attributes = getattr(owner, "__dict__", {})
        for name, value in attributes.items():
            if id(value) in seen:
                continue
            if isinstance(value, (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)):
                seen.add(id(value))
                yield value
            elif name in _PARTS:
                seen.add(id(value))
                waiting.append(value)


def _kept_state(generator: Any) -> Callable[[], Any]:
    if isinstance(generator, torch.Generator):
        tensor = generator.get_state()
        return lambda: generator.set_state(tensor)
    if isinstance(generator, np.random.Generator):
        state = generator.bit_generator.state
        return lambda: setattr(generator.bit_generator, "state", state)
    if isinstance(generator, np.random.RandomState):
        legacy = generator.get_state()
        return lambda: generator.set_state(legacy)
    plain = generator.getstate()
    return lambda: generator.setstate(plain)
