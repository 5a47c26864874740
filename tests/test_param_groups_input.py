"""fastlr.param_groups of wrapped models, and what it refuses."""

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from group_models import Transformer, chain, stacks
from torch import nn

import fastlr
from fastlr.schedules import Constant, Linear

needs_distributed = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="needs a torch that was built with distributed"
)


@pytest.fixture
def process_group() -> Iterator[None]:
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group(
        "gloo", store=store, rank=0, world_size=1, timeout=datetime.timedelta(seconds=60)
    )
    yield
    torch.distributed.destroy_process_group()


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DistributedDataParallel": nn.parallel.DistributedDataParallel,
    "DataParallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "compiled and distributed": lambda model: nn.parallel.DistributedDataParallel(
        torch.compile(model, backend="eager")
    ),
}


@needs_distributed
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_change_nothing(wrapper: str, process_group: None) -> None:
    model = Transformer()
    wrapped = WRAPPERS[wrapper](model)
    assert next(iter(wrapped.named_parameters()))[0] != "position"
    options: dict[str, Any] = {"no_decay": "position", "layer_decay": 0.5, "named": True}
    assert fastlr.param_groups(wrapped, 0.1, **options) == fastlr.param_groups(model, 0.1, **options)


@needs_distributed
def test_wrapped_blocks() -> None:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    model = Transformer()
    expected = fastlr.param_groups(model, 0.1, layer_decay=0.5, named=True)
    model.h[0] = checkpoint_wrapper(model.h[0])
    model.h[1] = torch.compile(model.h[1], backend="eager")
    assert fastlr.param_groups(model, 0.1, layer_decay=0.5, named=True) == expected


@needs_distributed
def test_sharded_parameters_have_the_groups_of_whole_ones(process_group: None) -> None:
    from torch.distributed.fsdp import fully_shard

    def settings(model: nn.Module) -> list[tuple[list[str], float, float]]:
        groups = fastlr.param_groups(model, 0.1, layer_decay=0.5, named=True)
        return [([name for name, _ in group["params"]], group["weight_decay"], group["lr_scale"]) for group in groups]

    model = Transformer()
    expected = settings(model)
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    for module in (*model.h, model):
        fully_shard(module, mesh=mesh)
    assert settings(model) == expected


def test_a_module_of_the_users_called_module_keeps_its_name() -> None:
    model = nn.ModuleDict({"module": nn.Linear(2, 2)})
    assert [group["params"][0][0] for group in fastlr.param_groups(model, named=True)] == [
        "module.weight",
        "module.bias",
    ]


# What is refused.


def _flattened() -> nn.Module:
    return nn.ModuleDict({"_fsdp_wrapped_module": nn.Linear(2, 2)})


def _frozen() -> nn.Module:
    return nn.Linear(2, 2).requires_grad_(False)


def _line() -> nn.Module:
    return nn.Linear(2, 2)


BAD: dict[str, tuple[Callable[[], Any], dict[str, Any], type[Exception], str]] = {
    "no model": (lambda: [torch.ones(1)], {}, TypeError, "Not a torch.nn.Module: "),
    "parameters": (lambda: _line().parameters(), {}, TypeError, "Not a torch.nn.Module: "),
    "nothing to train": (_frozen, {}, ValueError, "No parameter to train: Linear"),
    "no parameters": (nn.ReLU, {}, ValueError, "No parameter to train: ReLU"),
    "lazy": (lambda: nn.LazyLinear(2), {}, ValueError, "Parameter not initialised: 'weight'"),
    "flattened": (_flattened, {}, ValueError, "flattened by FullyShardedDataParallel: ModuleDict"),
    "a negative weight_decay": (_line, {"weight_decay": -0.1}, ValueError, "Invalid weight_decay value: -0.1"),
    "a schedule below 0": (_line, {"weight_decay": Linear(0.1, -0.1, 9)}, ValueError, "Invalid weight_decay value"),
    "weight_decay, no number": (_line, {"weight_decay": "0.1"}, TypeError, "weight_decay is not a number: '0.1'"),
    "weight_decay, infinite": (_line, {"weight_decay": float("inf")}, ValueError, "weight_decay is not finite"),
    "a negative lr": (_line, {"lr": -0.1}, ValueError, "Invalid learning rate: -0.1"),
    "lr, no number": (_line, {"lr": True}, TypeError, "lr is not a number: True"),
    "lr as a schedule": (_line, {"lr": Constant(0.1)}, TypeError, "lr is a schedule: .* Give it to the optimizer"),
    "a name that fits nothing": (_line, {"no_decay": ["w"]}, ValueError, "fits no parameter: 'w'. .* such as 'weight'"),
    "an empty name": (_line, {"no_decay": ""}, ValueError, "fits no parameter: ''"),
    "a class that fits nothing": (_line, {"no_decay": nn.Embedding}, ValueError, "fits no parameter: 'Embedding'"),
    "a class of something else": (_line, {"no_decay": int}, TypeError, "Neither a name nor a module class .* 'int'"),
    "a number as a name": (_line, {"no_decay": [1]}, TypeError, "Neither a name nor a module class in no_decay: 1"),
    "no_decay, no collection": (_line, {"no_decay": 1}, TypeError, "Not what no_decay takes: 1"),
    "no_decay, None": (_line, {"no_decay": None}, TypeError, "Not what no_decay takes: None"),
    "a function without an answer": (_line, {"no_decay": lambda n, p: None}, TypeError, "is no bool: None"),
    "layer_decay 0": (_line, {"layer_decay": 0}, ValueError, "layer_decay is out of range: 0"),
    "layer_decay above 1": (_line, {"layer_decay": 1.5}, ValueError, "layer_decay is out of range: 1.5"),
    "layer_decay, no number": (_line, {"layer_decay": "0.5"}, TypeError, "layer_decay is not a number"),
    "no list of blocks": (_line, {"layer_decay": 0.5}, ValueError, "No list of blocks .*: Linear. Give layers="),
    "a list without parameters": (lambda: chain([nn.ReLU()]), {"layer_decay": 0.5}, ValueError, "No list of blocks"),
    "two stacks": (
        lambda: stacks("encoder", "decoder"),
        {"layer_decay": 0.5},
        ValueError,
        r"different places: encoder\.layers, decoder\.layers\. Give layers=",
    ),
    "layers alone": (_line, {"layers": len}, ValueError, "layers without layer_decay"),
    "layers, no function": (_line, {"layer_decay": 0.5, "layers": 3}, TypeError, "layers is no function: 3"),
    "a layer below 0": (_line, {"layer_decay": 0.5, "layers": lambda n: -1}, ValueError, r"layers\('weight'\) .*: -1"),
    "a layer that is no int": (_line, {"layer_decay": 0.5, "layers": lambda n: 0.5}, ValueError, "no layer: 0.5"),
    "a layer that is a bool": (_line, {"layer_decay": 0.5, "layers": lambda n: True}, ValueError, "no layer: True"),
    "no layer": (_line, {"layer_decay": 0.5, "layers": lambda n: None}, ValueError, "no layer: None"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(case: str) -> None:
    make, options, error, text = BAD[case]
    with pytest.raises(error, match=text):
        fastlr.param_groups(make(), **options)
