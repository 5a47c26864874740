"""What a run was asked for, as plain data, and the keys by which the same question is known again."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from fastlr.finder import driving
from fastlr.finder.run import Training
from fastlr.finder.smoothing import Array
from fastlr.schedules import Schedule
from fastlr.sweeping.settings import Entry, Settings

LONGEST = 1000  # characters of a value that people read


@dataclass(frozen=True)
class Question:
    """What is asked, but for the rates: whose runs have to have one start.

    Attributes:
        kind: "sweep" or "find_lr".
        asked: Everything that decides on the result, as plain data.
        key: Of it.
    """

    kind: str
    asked: dict[str, Any]

    @functools.cached_property
    def key(self) -> str:
        return key_of([self.kind, self.asked])

    def group_key(self, entries: Sequence[Entry]) -> str:
        """Of rates that are trained together."""
        return key_of([self.key, [plain(entry.given) for entry in entries]])


def sweep_question(
    model: torch.nn.Module, loss: Any, asked: Settings, shape: Schedule | None, seed: int | None, label: str | None
) -> Question:
    """Of a sweep with checked settings; `loss` is what it is computed by."""
    return Question(
        "sweep",
        {
            **_common(model, loss, seed, label),
            "optimizer": asked.rule.__name__,
            "options": plain(asked.options),
            "steps": asked.steps,
            "shape": plain(shape),
            "validate_every": None if asked.validation is None else asked.validate_every,
            "freeze_above": asked.freeze_above,
            "halving": asked.halving,
            "engine": asked.engine,
        },
    )


def find_question(
    training: Training, rates: Array, numbers: dict[str, Any], seed: int | None, label: str | None
) -> Question:
    """Of a range test; `numbers` are its smoothing, stop and repeats."""
    optimizer = training.optimizer
    groups = [_options(optimizer, group) for group in optimizer.param_groups]
    return Question(
        "find_lr",
        {
            **_common(training.model, training.forward or training.loss_fn, seed, label),
            "optimizer": type(optimizer).__name__,
            "options": groups[0] if len(groups) == 1 else groups,
            "group_ratios": driving.ratios(optimizer),
            "low": float(rates[0]),
            "high": float(rates[-1]),
            "steps": rates.size,
            "accumulate": training.accumulate,
            "autocast": plain(training.autocast),
            "scaler": training.scaler is not None,
            **numbers,
        },
    )


def _options(optimizer: Optimizer, group: dict[str, Any]) -> dict[str, Any]:
    """A group's hyper-parameters that are not the class's defaults; the rates are those of the test."""
    known = inspect.signature(type(optimizer)).parameters
    given = {name: group[name] for name in known if name in group and name not in ("params", "lr")}
    return {name: plain(value) for name, value in given.items() if plain(value) != plain(known[name].default)}


def _common(model: torch.nn.Module, loss: Any, seed: int | None, label: str | None) -> dict[str, Any]:
    return {
        "label": label,
        "model": type(model).__name__,
        "layout": layout_of(model),
        "loss": plain(loss),
        "seed": seed,
    }


def layout_of(model: torch.nn.Module) -> str:
    """A key of the names, forms and types of parameters and buffers."""
    return key_of([[name, list(one.shape), str(one.dtype)] for name, one in model.state_dict(keep_vars=True).items()
                   if isinstance(one, torch.Tensor)])  # fmt: skip


def plain(value: Any) -> Any:
    """A value as plain data: functions and objects by the names of what they are."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return float(value) if isinstance(value, float) else value
    if isinstance(value, Schedule):
        return value.to_dict()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        return digest([value])
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, torch.autocast):
        return [value.device, str(value.fast_dtype), value._enabled]
    if isinstance(value, functools.partial):
        return [plain(value.func), plain(value.args), plain(value.keywords)]
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    return getattr(value, "__qualname__", type(value).__qualname__)


def key_of(data: Any) -> str:
    """Sixteen hexadecimal digits; whole numbers are those that floats are."""
    text = json.dumps(_floats(data), sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _floats(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _floats(one) for name, one in data.items()}
    if isinstance(data, list):
        return [_floats(one) for one in data]
    return float(data) if type(data) is int and abs(data) < 2**53 else data


def digest(tensors: Iterable[torch.Tensor]) -> str:
    """Of the tensors' types, forms and bytes."""
    found = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        dense = tensor.detach().cpu()
        if dense.layout != torch.strided:
            dense = dense.to_dense()
        found.update(f"{dense.dtype}{tuple(dense.shape)}".encode())
        found.update(dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def about(question: Question, seed: int) -> dict[str, Any]:
    """What a trial says for people to read, each value short enough for any database."""
    return {
        "fastlr_kind": question.kind,
        "fastlr_label": question.asked["label"],
        "fastlr_question": question.key,
        "fastlr_asked": {name: short(value) for name, value in question.asked.items()},
        "fastlr_seed": seed,
        "fastlr_versions": {"fastlr": version("torch-fastlr"), "torch": torch.__version__},
    }


def short(value: Any) -> Any:
    """A value, or where it is long the beginning of its text."""
    if isinstance(value, dict) and "kind" in value:
        value = repr(Schedule.from_dict(value))
    text = json.dumps(value)
    return value if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
