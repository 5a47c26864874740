"""A model's parameters in the order of definition, and the layer that each one belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

# Names that wrappers put into the names of parameters: torch.compile's and activation checkpointing's.
WRAPPED = ("_orig_mod", "_checkpoint_wrapped_module")
FLATTENED = "_fsdp_wrapped_module"
LIST_NAME = re.compile(r"(?:(?:res)?blocks?|layers?|stages?)\d*|h")


@dataclass
class Entry:
    """One parameter: its names, the first one first, and for each of them the modules from the model to its owner."""

    param: torch.Tensor
    names: list[str] = field(default_factory=list)
    modules: list[tuple[nn.Module, ...]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.names[0]


def entries(model: nn.Module) -> list[Entry]:
    """Each parameter of the model once.

    Raises:
        ValueError: A parameter without a shape yet, or flattened by FullyShardedDataParallel.
    """
    found: dict[torch.Tensor, Entry] = {}
    for name, param, modules in _walk(_unwrapped(model), "", ()):
        if is_lazy(param):
            raise ValueError(f"Parameter not initialised: {name!r}. Run the model once before.")
        entry = found.setdefault(param, Entry(param))
        entry.names.append(name)
        entry.modules.append(modules)
    return list(found.values())


def by_structure(model: nn.Module, found: list[Entry]) -> dict[str, int]:
    """The layer of each parameter by its first name, as `fastlr.param_groups` says.

    Raises:
        ValueError: No list of blocks, or lists in different places.
    """
    lists, blocks = [], []
    for name, block in _blocks(_unwrapped(model), ""):
        lists.append(name)
        blocks.append(f"{block}.")
    if len({name.rpartition(".")[0] for name in lists}) > 1:
        raise ValueError(
            f"Lists of blocks in different places: {', '.join(dict.fromkeys(lists))}. Give layers=, a function of a "
            "parameter's name."
        )
    numbers: dict[str, int] = {}
    count = 0
    current: str | None = None
    after: list[str] = []
    for entry in found:
        holding = next((block for block in blocks if entry.name.startswith(block)), None)
        if holding is None:
            after.append(entry.name)
        elif holding != current:
            count, current, after = count + 1, holding, []
        numbers[entry.name] = count
    if count == 0:
        raise ValueError(
            f"No list of blocks such as 'blocks' or 'layers': {type(model).__name__}. Give layers=, a function of a "
            "parameter's name."
        )
    return {**numbers, **dict.fromkeys(after, count + 1)}


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _unwrapped(module: nn.Module) -> nn.Module:
    """What is inside of wrappers, whose names are in none of ours."""
    children = dict(module._modules.items())  # a scripted module's have no get()
    if FLATTENED in children:
        raise ValueError(
            f"Parameters flattened by FullyShardedDataParallel: {type(module).__name__}. Make the groups before the "
            "model is wrapped, or use fully_shard."
        )
    names = (*WRAPPED, "module") if isinstance(module, (DataParallel, DistributedDataParallel)) else WRAPPED
    inner = next((child for name in names if (child := children.get(name)) is not None), None)
    return module if inner is None else _unwrapped(inner)


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Also those that stand in several places."""
    for name, child in module._modules.items():
        if child is not None:
            yield name, _unwrapped(child)


def _walk(
    module: nn.Module, prefix: str, outer: tuple[nn.Module, ...]
) -> Iterator[tuple[str, torch.Tensor, tuple[nn.Module, ...]]]:
    """Every place of a parameter: its name, itself, and the modules from the outermost to its owner."""
    modules = (*outer, module)
    for name, param in module._parameters.items():
        if param is not None:
            yield _joined(prefix, name), param, modules
    for name, child in _children(module):
        yield from _walk(child, _joined(prefix, name), modules)


def _is_list(name: str, module: nn.Module) -> bool:
    return isinstance(module, (nn.ModuleList, nn.Sequential)) and LIST_NAME.fullmatch(name) is not None


def _blocks(module: nn.Module, prefix: str) -> Iterator[tuple[str, str]]:
    """The list and the name of each block, in the order of definition."""
    for name, child in _children(module):
        whole = _joined(prefix, name)
        if not _is_list(name, child):
            yield from _blocks(child, whole)
            continue
        inner = ("blocks", "layers") if name.startswith("stage") else ("blocks",)
        for index, entry in _children(child):
            lists = [(own, part) for own, part in _children(entry) if own in inner and _is_list(own, part)]
            block = _joined(whole, index)
            yield from ((whole, f"{block}.{own}.{at}") for own, part in lists for at, _ in _children(part))
            if not lists:
                yield whole, block
