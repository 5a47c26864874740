"""Parameter groups from a model: what weight decay leaves out, and rates that fall from layer to layer."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection
from typing import Any, TypeAlias

import torch
from torch import nn

from fastlr import _model_layers
from fastlr._model_layers import Entry
from fastlr.optim import groups
from fastlr.schedules import Schedule, checks

Pattern: TypeAlias = "str | type[nn.Module]"
NoDecay: TypeAlias = "Pattern | Collection[Pattern] | Callable[[str, torch.Tensor], bool]"

# The norms whose weights may have more than one dimension; those of all others are found by their single one.
NORMS = (nn.LayerNorm, nn.RMSNorm)


def param_groups(
    model: nn.Module,
    weight_decay: float | Schedule | None = None,
    *,
    no_decay: NoDecay = (),
    layer_decay: float | None = None,
    layers: Callable[[str], int] | None = None,
    lr: float | None = None,
    named: bool = False,
) -> list[dict[str, Any]]:
    """Split a model's parameters into groups for any optimizer: with and without weight decay, and by layer.

    Not decayed are biases and norms: parameters of at most one dimension, those called ``bias``, and those of
    ``torch.nn.LayerNorm`` and ``RMSNorm``. Embeddings are, unless ``no_decay`` names them. Frozen parameters
    (``requires_grad=False``) are left out, tied ones come once, and parameters of equal settings share a group; groups
    stand in the order of their first parameter.

    With ``layer_decay`` the rate of a group is multiplied by ``layer_decay ** (last - layer)``. Layer 0 is all that the
    model defines before its first block (embeddings, stem), each block is the next one, and all that is defined after
    the last block (norm, head) is the last layer; what stands between blocks counts with the block before. Blocks are
    the entries with parameters of a ``ModuleList`` or ``Sequential`` called ``blocks``, ``resblocks``, ``layers``,
    ``stages`` (also in the singular, and with a number: ``layer1``) or ``h``. Where such an entry has a list called
    ``blocks``, or an entry of stages one called ``layers``, the entries of that list are the blocks.

    The factor stands in ``group["lr_scale"]``. It multiplies a schedule that an optimizer of fastlr follows, and timm's
    schedulers heed it; a constant rate and torch's schedulers do not. For those give ``lr``: the groups then have
    ``lr`` times the factor as their own rate, and no ``lr_scale``.

    Args:
        model: Its parameters are named without what DistributedDataParallel, torch.compile and activation
            checkpointing put in front. Wrap it in FullyShardedDataParallel (the first version) or DeepSpeed afterwards:
            they flatten parameters.
        weight_decay: Of the parameters that are decayed, a float >= 0 or a schedule; None leaves the optimizer's own.
        no_decay: What else is not decayed: names with the wildcards of fnmatch (``"*.gamma"``, ``"*embed*"``) that
            match a whole name, module classes, one of them or several. Or a function of name and parameter that decides
            alone, biases and norms included.
        layer_decay: Above 0, at most 1.
        layers: A function of a parameter's name that gives its layer, an int from 0, for models built otherwise.
        lr: The rate of the last layer, a float >= 0.
        named: Pairs of name and parameter in place of parameters; optimizers keep the names.

    Returns:
        Groups with the keys ``params``, ``weight_decay``, ``lr`` and ``lr_scale``, each where it has a value.

    Raises:
        TypeError: Not a module, pattern, number or function.
        ValueError: A number out of range, an entry of ``no_decay`` that fits no parameter, no list of blocks or several
            in different places of the model, nothing to train, parameters that are not initialised or are flattened.

    Source: timm's param_groups_weight_decay and param_groups_layer_decay; embeddings as in nanoGPT and transformers.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    >>> [(group["weight_decay"], len(group["params"])) for group in param_groups(model, 0.1)]
    [(0.1, 1), (0.0, 3)]
    >>> model = nn.ModuleDict({"stem": nn.Linear(1, 1), "blocks": nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])})
    >>> for group in param_groups(model, 0.1, layer_decay=0.5, named=True):
    ...     print(group["lr_scale"], group["weight_decay"], [name for name, _ in group["params"]])
    0.25 0.1 ['stem.weight']
    0.25 0.0 ['stem.bias']
    0.5 0.1 ['blocks.0.weight']
    0.5 0.0 ['blocks.0.bias']
    1.0 0.1 ['blocks.1.weight']
    1.0 0.0 ['blocks.1.bias']
    >>> [group["lr"] for group in param_groups(model, no_decay=lambda name, _: False, layer_decay=0.5, lr=0.1)]
    [0.025, 0.05, 0.1]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"Not a torch.nn.Module: {model!r}. Give the model itself.")
    weight_decay, lr = _weight_decay(weight_decay), _rate(lr)
    layer_decay = _layer_decay(layer_decay, layers)
    entries = _model_layers.entries(model)
    exempt = _exempt(entries, no_decay)
    scales: dict[str, float] = {}
    if layer_decay is not None:
        numbers = _model_layers.by_structure(model, entries) if layers is None else _called(layers, entries)
        last = max(numbers.values(), default=0)
        scales = {name: layer_decay ** (last - layer) for name, layer in numbers.items()}

    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in entries:
        if entry.param.requires_grad:
            settings = _settings(weight_decay, lr, scales.get(entry.name), decayed=entry.name not in exempt)
            group = found.setdefault(tuple(settings.items()), {"params": [], **settings})
            group["params"].append((entry.name, entry.param) if named else entry.param)
    if not found:
        raise ValueError(f"No parameter to train: {type(model).__name__}. Set requires_grad on some.")
    return list(found.values())


def _settings(
    weight_decay: float | Schedule | None, lr: float | None, scale: float | None, *, decayed: bool
) -> dict[str, Any]:
    """The entries of a group beside its parameters."""
    entries: dict[str, Any] = {}
    if not decayed or weight_decay is not None:
        entries["weight_decay"] = weight_decay if decayed else 0.0
    if lr is not None:
        entries["lr"] = lr if scale is None else lr * scale
    elif scale is not None:
        entries["lr_scale"] = scale
    return entries


def _exempt(entries: list[Entry], no_decay: NoDecay) -> set[str]:
    """The names of the parameters that are not decayed."""
    if callable(no_decay) and not isinstance(no_decay, type):
        return {entry.name for entry in entries if _decided(no_decay, entry)}
    if isinstance(no_decay, (str, type)):
        no_decay = (no_decay,)
    elif not isinstance(no_decay, Collection):
        raise TypeError(f"Not what no_decay takes: {no_decay!r}. Give names, module classes or a function.")
    exempt = {entry.name for entry in entries if _is_bias_or_norm(entry)}
    for pattern in no_decay:
        fitting = {entry.name for entry in entries if _fits(entry, pattern)}
        if not fitting:
            shown = pattern if isinstance(pattern, str) else pattern.__name__
            some = entries[0].name if entries else ""
            raise ValueError(
                f"no_decay fits no parameter: {shown!r}. Names are whole, such as {some!r}; '*' stands for any part."
            )
        exempt |= fitting
    return exempt


def _is_bias_or_norm(entry: Entry) -> bool:
    """Every name of a tied parameter counts."""
    in_norm = any(isinstance(modules[-1], NORMS) for modules in entry.modules)
    return entry.param.dim() <= 1 or in_norm or any(name.split(".")[-1] == "bias" for name in entry.names)


def _fits(entry: Entry, pattern: Pattern) -> bool:
    if isinstance(pattern, str):
        return any(fnmatch.fnmatchcase(name, pattern) for name in entry.names)
    if isinstance(pattern, type) and issubclass(pattern, nn.Module):
        return any(isinstance(module, pattern) for modules in entry.modules for module in modules)
    raise TypeError(f"Neither a name nor a module class in no_decay: {pattern!r}. Give str or subclasses of nn.Module.")


def _decided(no_decay: Callable[[str, torch.Tensor], bool], entry: Entry) -> bool:
    answer = no_decay(entry.name, entry.param)
    if not isinstance(answer, bool):
        raise TypeError(f"no_decay({entry.name!r}, ...) is no bool: {answer!r}. Return True or False.")
    return answer


def _called(layers: Callable[[str], int], entries: list[Entry]) -> dict[str, int]:
    """The layer of each parameter as the caller's function has it."""
    numbers = {}
    for entry in entries:
        layer = layers(entry.name)
        if isinstance(layer, bool) or not isinstance(layer, int) or layer < 0:
            raise ValueError(f"layers({entry.name!r}) is no layer: {layer!r}. Return an int from 0.")
        numbers[entry.name] = layer
    return numbers


def _weight_decay(value: float | Schedule | None) -> float | Schedule | None:
    if value is None:
        return None
    number = value if isinstance(value, Schedule) else checks.real("weight_decay", value)
    groups.check_number("weight_decay", number, "weight_decay value")
    return number


def _rate(value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, Schedule):
        raise TypeError(f"lr is a schedule: {value!r}. Give it to the optimizer, which multiplies it by lr_scale.")
    number = checks.real("lr", value)
    groups.check_number("lr", number, "learning rate")
    return number


def _layer_decay(value: float | None, layers: Callable[[str], int] | None) -> float | None:
    if value is None:
        if layers is not None:
            raise ValueError(f"layers without layer_decay: {layers!r}. Give layer_decay as well.")
        return None
    number = checks.real("layer_decay", value)
    if not 0.0 < number <= 1.0:
        raise ValueError(f"layer_decay is out of range: {value!r}. Use more than 0, at most 1.")
    if layers is not None and not callable(layers):
        raise TypeError(f"layers is no function: {layers!r}. Give a function of a parameter's name.")
    return number
