"""The training recipe around naive updates in NumPy, used as the oracle. It shares no code with the library.

Elements stand in their logical order, one after another, in the type of the arithmetic; each operation is rounded once.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import adam_reference
import numpy as np
import sgd_reference
import torch
from sgd_reference import Array, fma
from torch import Tensor

WORD = 2**32 - 1
LONG = 2**64 - 1
CHUNK, LANES = 16384, 1024
NAMES = {
    "SGD": ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize"),
    "Adam": ("lr", "betas", "eps", "weight_decay", "amsgrad", "maximize", "decoupled_weight_decay"),
    "Lion": ("lr", "betas", "weight_decay", "maximize"),
}
NAMES["AdamW"] = NAMES["Adam"]


@dataclass
class Entry:
    """A parameter, one in its layout, what is kept beside it, and its own number of updates."""

    param: Tensor
    like: Tensor
    state: dict[str, Tensor] = field(default_factory=dict)
    updates: int = 0


class Oracle:
    """Parameters beside an optimizer's, whose groups hold the options: rates, recipe, and lists of parameters."""

    def __init__(self, rule: str, groups: list[dict[str, Any]]) -> None:
        self.rule, self.count, self.norms = rule, 0, list[float]()
        self.groups = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        self.entries = [[Entry(p.detach().clone(), p.detach()) for p in group["params"]] for group in groups]

    def step(self, grads: list[list[Tensor | None]], scale: float = 1.0) -> bool:
        """One update by the gradients, which are scaled. False: it is skipped, as a norm is not finite."""
        factors = self._factors(grads, 1.0 / scale)
        if factors is None:
            return False
        place = 0
        for group, entries, factor, row in zip(self.groups, self.entries, factors, grads, strict=True):
            for entry, grad in zip(entries, row, strict=True):
                if grad is not None:
                    self._update(group, entry, grad, factor, place)
                place += 1
        self.count += 1
        return True

    def _factors(self, grads: list[list[Tensor | None]], inverse: float) -> list[float] | None:
        clipped = [group.get("max_grad_norm") is not None for group in self.groups]
        alone = [clips and bool(group.get("norm_per_group")) for clips, group in zip(clipped, self.groups, strict=True)]
        of_group = [
            [s for entry, grad in zip(entries, row, strict=True) if grad is not None for s in squares(entry.like, grad)]
            for entries, row in zip(self.entries, grads, strict=True)
        ]
        together = [clips and not own for clips, own in zip(clipped, alone, strict=True)]
        shared = [s for sums, used in zip(of_group, together, strict=True) for s in sums if used]
        self.norms = [math.nan] * len(grads)
        factors = [inverse] * len(grads)
        for index, group in enumerate(self.groups):
            if not clipped[index]:
                continue
            norm = math.sqrt(in_lanes(np.array(of_group[index] if alone[index] else shared))) * inverse
            self.norms[index] = norm
            factors[index] = inverse * min(1.0, group["max_grad_norm"] / (norm + 1e-6))
        used = [norm for norm, clips in zip(self.norms, clipped, strict=True) if clips]
        return factors if all(math.isfinite(norm) for norm in used) else None

    @np.errstate(all="ignore")
    def _update(self, group: dict[str, Any], entry: Entry, grad: Tensor, factor: float, place: int) -> None:
        param, state = entry.param, entry.state
        narrow = param.element_size() == 2
        compute = torch.float64 if param.dtype is torch.float64 else torch.float32
        masters = narrow and group.get("master_weights", False)
        if masters and "master_param" not in state:
            state["master_param"] = param.to(torch.float32)
        weights = state["master_param"] if masters else param
        decay = at(group.get("ema_decay"), self.count)
        if decay is not None and "ema" not in state:
            state["ema"] = weights.to(compute)
        w, x = flat(weights, compute), flat(grad, compute)
        x = x * x.dtype.type(factor)
        if group.get("max_grad_value") is not None:
            x = np.clip(x, -group["max_grad_value"], group["max_grad_value"]).astype(x.dtype)
        own = {name: flat(value, compute) for name, value in state.items() if name not in ("master_param", "ema")}
        entry.updates += 1
        w, own = self._rule(group, w, x, own, entry.updates)
        dtype = group.get("state_dtype") or (torch.float32 if masters else param.dtype)
        state |= {name: torch.from_numpy(value).to(dtype).view(param.shape) for name, value in own.items()}
        if masters:
            state["master_param"] = torch.from_numpy(w).view(param.shape)
        if narrow and not masters and group.get("stochastic_rounding"):
            key = rounding_key(group.get("rounding_seed", 0), self.count, place)
            entry.param = stochastic(w, key).view(param.shape)
        else:
            entry.param = torch.from_numpy(w).to(param.dtype).view(param.shape)
        if decay is not None:
            kept = w if masters else flat(entry.param, compute)
            state["ema"] = torch.from_numpy(lerp(flat(state["ema"], compute), kept, 1.0 - decay)).view(param.shape)

    def _rule(
        self, group: dict[str, Any], w: Array, x: Array, state: dict[str, Array], updates: int
    ) -> tuple[Array, dict[str, Array]]:
        given = {name: group[name] for name in NAMES[self.rule] if name in group}
        given["lr"] = at(given["lr"], self.count)
        if self.rule == "Lion":
            return adam_reference.lion(adam_reference.Hyper(**given), w, x, state, updates)
        if self.rule != "SGD":
            given = {"decoupled_weight_decay": self.rule == "AdamW", **given}
            return adam_reference.adam(adam_reference.Hyper(**given), w, x, state, updates)
        if group.get("decoupled_weight_decay") and given.get("weight_decay"):
            w = w * w.dtype.type(1.0 - given["lr"] * given.pop("weight_decay"))
        w, buffer = sgd_reference.update(sgd_reference.Hyper(**given), w, x, state.get("momentum_buffer"))
        return w, {} if buffer is None else {"momentum_buffer": buffer}


def at(value: Any, count: int) -> Any:
    """A rate, or what its schedule says before update `count`."""
    return value(count) if callable(value) else value


def flat(tensor: Tensor, dtype: torch.dtype) -> Array:
    """Elements in their logical order, as an array of their own."""
    return tensor.detach().to(dtype).reshape(-1).clone().numpy()


def lerp(start: Array, end: Array, weight: float) -> Array:
    """As torch.lerp, from the nearer end."""
    w = start.dtype.type(weight)
    return fma(end - start, w, start) if w < 0.5 else fma(end - start, w - start.dtype.type(1), end)


def squares(like: Tensor, grad: Tensor | None) -> list[float]:
    """The sum of the squares of each chunk of the gradient's elements, in the order of the other tensor's memory."""
    if grad is None:
        return []
    in_memory = torch.empty_like(like).copy_(grad).as_strided((grad.numel(),), (1,)).to(torch.float64).numpy()
    exact = grad.dtype is not torch.float64  # then the squares are
    return [in_lanes(in_memory[i : i + CHUNK], square=True, exact=exact) for i in range(0, grad.numel(), CHUNK)]


@np.errstate(all="ignore")
def in_lanes(terms: Array, *, square: bool = False, exact: bool = False) -> float:
    """The sum of the terms or of their squares: element i goes to lane i % 1024, and the lanes are added by halves."""
    lanes = np.zeros(LANES)
    for begin in range(0, len(terms), LANES):
        row = terms[begin : begin + LANES]
        now = lanes[: len(row)]
        if square and not exact and bool((np.abs(row) < 1e150).all()):
            now[:] = fma(row, row, now)
        else:
            now += row * row if square else row
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return float(lanes[0])


def mix(x: int) -> int:
    x &= LONG
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & LONG
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & LONG
    return x ^ (x >> 31)


def rounding_key(seed: int, count: int, place: int) -> int:
    return mix(mix(mix(seed + 0x9E3779B97F4A7C15) + count) + place)


def random_bits(key: int, size: int) -> Array:
    """16 bits of each of the first 2^32 elements."""
    x = (np.arange(size, dtype=np.uint64) * 0x9E3779B1 + (key & WORD)).astype(np.uint32)
    x ^= np.uint32(key >> 32)
    x ^= x >> 16
    x *= np.uint32(0x7FEB352D)
    x ^= x >> 15
    x *= np.uint32(0x846CA68B)
    x ^= x >> 16
    return x >> 16


def stochastic(values: Array, key: int) -> Tensor:
    """float32 as bfloat16, the sum of its bits and random ones cut off."""
    bits = values.view(np.uint32).astype(np.uint64)
    cut = ((bits + random_bits(key, len(values))) >> 16).astype(np.uint16)
    cut = np.where(np.isnan(values), (bits >> 16).astype(np.uint16) | 0x40, cut).astype(np.uint16)
    return torch.from_numpy(cut.view(np.int16)).view(torch.bfloat16)
