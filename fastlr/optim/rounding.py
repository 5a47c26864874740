"""Stochastic rounding to bfloat16 with torch's integer operators: the bits of the core's, in any layout."""

from __future__ import annotations

import torch

_WORD = 0xFFFFFFFF
_LONG = 0xFFFFFFFFFFFFFFFF


def key(seed: int, count: int, place: int) -> int:
    """What one update rounds one parameter by.

    Args:
        seed: The group's ``rounding_seed``.
        count: The updates that the optimizer has done before.
        place: The parameter's place among all of the optimizer's.
    """
    return _mixed(_mixed(_mixed(seed + 0x9E3779B97F4A7C15) + count) + place)


def stochastic(values: torch.Tensor, key: int) -> torch.Tensor:
    """float32 values as bfloat16, away from 0 with the probability of the part of a step that is cut off.

    An element's chance depends on the key and on its logical index alone. Infinities and NaNs stay what they are.

    >>> stochastic(torch.tensor([1.0, 1.00390625, 1.00390625, 1.00390625]), key(0, 0, 0)).tolist()
    [1.0, 1.0078125, 1.0, 1.0078125]
    """
    bits = values.view(torch.int32).to(torch.int64) & _WORD
    elements = torch.arange(values.numel(), device=values.device).view(values.shape)
    cut = (bits + _random(elements, key)) >> 16
    rounded = torch.where(values.isnan(), bits >> 16 | 0x0040, cut)
    return (rounded - (rounded >> 15 << 16)).to(torch.int16).view(torch.bfloat16)


def _mixed(x: int) -> int:
    """The finaliser of splitmix64."""
    x &= _LONG
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _LONG
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _LONG
    return x ^ x >> 31


def _random(elements: torch.Tensor, key: int) -> torch.Tensor:
    """16 random bits of each element. Of products in 64 bits the lower half is kept, as in 32."""
    x = (elements & _WORD) * 0x9E3779B1 + (key & _WORD) & _WORD
    x = x ^ ((elements >> 32) * 0x85EBCA77 + (key >> 32) & _WORD)
    x = (x ^ x >> 16) * 0x7FEB352D & _WORD
    x = (x ^ x >> 15) * 0x846CA68B & _WORD
    return (x ^ x >> 16) >> 16
