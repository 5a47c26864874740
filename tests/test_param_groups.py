"""fastlr.param_groups: what is decayed, and the layer of each parameter."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from group_models import Block, Transformer, chain, conv_net, residual, stacks, stages
from hypothesis import given
from hypothesis import strategies as st
from sgd_cases import assert_same_bits
from torch import nn

import fastlr
from fastlr.schedules import Constant, Linear

BLOCK_DECAYED = ["attention.in_proj_weight", "attention.out_proj.weight", "layers.0.weight", "layers.2.weight"]
BLOCK_NOT = [
    "ln.weight",
    "ln.bias",
    "attention.in_proj_bias",
    "attention.out_proj.bias",
    "layers.0.bias",
    "layers.2.bias",
]
H_DECAYED = [f"h.{i}.{name}" for i in (0, 1) for name in BLOCK_DECAYED]
H_NOT = [f"h.{i}.{name}" for i in (0, 1) for name in BLOCK_NOT]


def names_by(groups: list[dict[str, Any]], key: str) -> dict[Any, list[str]]:
    """Sorted names of the parameters with each value of the setting."""
    found: dict[Any, list[str]] = {}
    for group in groups:
        found.setdefault(group.get(key), []).extend(name for name, _ in group["params"])
    return {value: sorted(names) for value, names in found.items()}


def decayed(model: nn.Module, **options: Any) -> list[str]:
    return names_by(fastlr.param_groups(model, 0.1, named=True, **options), "weight_decay").get(0.1, [])


def layers(model: nn.Module, **options: Any) -> dict[str, int]:
    """The layer of each parameter, counted from the last one: 0, -1 and so on."""
    exponent = {0.5**n: -n for n in range(20)}
    groups = fastlr.param_groups(model, layer_decay=0.5, named=True, **options)
    return {name: exponent[group["lr_scale"]] for group in groups for name, _ in group["params"]}


# Weight decay.


class Wide(nn.Module):
    """Norms over two dimensions, a bias of two, and a parameter of none."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LayerNorm((2, 3))
        self.rms = nn.RMSNorm((2, 3))
        self.group = nn.GroupNorm(1, 2)
        self.bias = nn.Parameter(torch.zeros(2, 3))
        self.temperature = nn.Parameter(torch.zeros(()))
        self.bias_table = nn.Parameter(torch.zeros(2, 3))


DECAYED: dict[str, tuple[Callable[[], nn.Module], Any, list[str]]] = {
    "a transformer": (Transformer, (), ["head.weight", "position", "wte.weight", *H_DECAYED]),
    "a convolutional net": (
        conv_net,
        (),
        ["conv1.weight", "fc.weight", "layer1.0.conv.weight", "layer1.1.conv.weight", "layer2.0.conv.weight"],
    ),
    "norms of two dimensions": (Wide, (), ["bias_table"]),
    "one name": (Transformer, "position", ["head.weight", "wte.weight", *H_DECAYED]),
    "names of a set": (Transformer, {"position", "wte.weight"}, ["head.weight", *H_DECAYED]),
    "a wildcard": (Transformer, ["h.*"], ["head.weight", "position", "wte.weight"]),
    "one class": (Transformer, nn.Embedding, ["head.weight", "position", *H_DECAYED]),
    "a class, and all inside of it": (Transformer, [Block], ["head.weight", "position", "wte.weight"]),
    "a class and a name": (Transformer, [nn.Embedding, "position"], ["head.weight", *H_DECAYED]),
    "tied, by the class of its first place": (lambda: Transformer(tied=True), nn.Embedding, ["position", *H_DECAYED]),
    "tied, by its second name": (lambda: Transformer(tied=True), "head.*", ["position", *H_DECAYED]),
    "a function that decides alone": (
        lambda: nn.Linear(2, 2),
        lambda name, param: name == "weight" and param.dim() == 2,
        ["bias"],
    ),
}


@pytest.mark.parametrize("case", DECAYED)
def test_what_is_decayed(case: str) -> None:
    make, no_decay, expected = DECAYED[case]
    model = make()
    assert decayed(model, no_decay=no_decay) == sorted(expected)
    groups = fastlr.param_groups(model, 0.1, no_decay=no_decay, named=True)
    assert len(groups) == 2
    rest = {name for name, _ in model.named_parameters()} - set(expected)
    assert names_by(groups, "weight_decay")[0.0] == sorted(rest)


def test_without_a_weight_decay_the_optimizers_own_is_left_to_the_decayed_group() -> None:
    groups = fastlr.param_groups(nn.Linear(2, 2))
    assert [{key: value for key, value in group.items() if key != "params"} for group in groups] == [
        {},
        {"weight_decay": 0.0},
    ]
    schedule = Linear(0.1, 0.0, 10)
    optimizer = fastlr.SGD(groups, lr=0.1, weight_decay=schedule)
    assert [group["weight_decay_schedule"] for group in optimizer.param_groups] == [schedule, None]


def test_weight_decay_as_a_schedule() -> None:
    schedule = Linear(0.1, 0.0, 10)
    optimizer = fastlr.SGD(fastlr.param_groups(nn.Linear(2, 2), schedule), lr=0.1)
    assert [group["weight_decay_schedule"] for group in optimizer.param_groups] == [schedule, None]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]


def test_equal_settings_share_a_group() -> None:
    groups = fastlr.param_groups(Transformer(), 0.0, layer_decay=1.0)
    assert [len(group["params"]) for group in groups] == [len(list(Transformer().parameters()))]


def test_frozen_parameters_are_left_out_and_tied_ones_come_once() -> None:
    model = Transformer(tied=True)
    model.h[0].requires_grad_(False)
    groups = fastlr.param_groups(model, 0.1, no_decay="h.0.*")  # a name that fits frozen ones only is no mistake
    params = [param for group in groups for param in group["params"]]
    expected = [param for param in model.parameters() if param.requires_grad]
    assert sorted(map(id, params)) == sorted(map(id, expected))


def test_names_are_kept_by_the_optimizer() -> None:
    optimizer = fastlr.SGD(fastlr.param_groups(nn.Linear(2, 2), 0.1, named=True), lr=0.1)
    assert [group["param_names"] for group in optimizer.param_groups] == [["weight"], ["bias"]]


# Layers.

LAYERS: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {
    "a transformer": (
        Transformer,
        {"position": -3, "wte": -3, "h.0": -2, "h.1": -1, "norm": 0, "head": 0},
    ),
    "tied, as its first name": (
        lambda: Transformer(tied=True),
        {"position": -3, "wte": -3, "h.0": -2, "h.1": -1, "norm": 0},
    ),
    "lists side by side": (
        conv_net,
        {"conv1": -4, "bn1": -4, "layer1.0": -3, "layer1.1": -2, "layer2.0": -1, "fc": 0},
    ),
    "blocks of stages": (
        lambda: stages("stages", "blocks"),
        {
            "stem": -4,
            "stages.0.down": -4,
            "stages.0.blocks.0": -3,
            "stages.1.down": -3,
            "stages.1.blocks.0": -2,
            "stages.1.blocks.1": -1,
            "head": 0,
        },
    ),
    "layers of stages": (
        lambda: stages("stages", "layers"),
        {
            "stem": -4,
            "stages.0.down": -4,
            "stages.0.layers.0": -3,
            "stages.1.down": -3,
            "stages.1.layers.0": -2,
            "stages.1.layers.1": -1,
            "head": 0,
        },
    ),
    "residual blocks": (
        lambda: stages("resblocks", "lines"),
        {"stem": -3, "resblocks.0": -2, "resblocks.1": -1, "head": 0},
    ),
    "layers of blocks are none": (
        lambda: stages("blocks", "layers"),
        {"stem": -3, "blocks.0": -2, "blocks.1": -1, "head": 0},
    ),
    "entries without parameters": (
        lambda: chain([nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)]),
        {"blocks.0": -1, "blocks.2": 0},
    ),
    "the same block twice": (
        lambda: chain([block := residual(1), block, residual(1)]),
        {"blocks.0": -1, "blocks.2": 0},
    ),
    "below another module": (
        lambda: nn.ModuleDict({"model": Transformer(), "scale": nn.Linear(1, 1)}),
        {
            "model.position": -3,
            "model.wte": -3,
            "model.h.0": -2,
            "model.h.1": -1,
            "model.norm": 0,
            "model.head": 0,
            "scale": 0,
        },
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layers_by_structure(case: str) -> None:
    make, expected = LAYERS[case]
    model = make()
    found = layers(model)
    assert found.keys() == {name for name, _ in model.named_parameters()}
    for name, layer in found.items():
        holding = [prefix for prefix in expected if f"{name}.".startswith(f"{prefix}.")]
        assert holding, name
        assert [expected[prefix] for prefix in holding] == [layer], name


def test_frozen_layers_count() -> None:
    model = Transformer()
    full = layers(model)
    model.h[1].requires_grad_(False)
    assert layers(model) == {name: layer for name, layer in full.items() if not name.startswith("h.1.")}


def test_layers_by_a_function() -> None:
    model = stacks("encoder", "decoder")
    found = layers(model, layers=lambda name: 3 if name.startswith("decoder") else 1)
    assert found == {
        "encoder.layers.0.weight": -2,
        "encoder.layers.0.bias": -2,
        "decoder.layers.0.weight": 0,
        "decoder.layers.0.bias": 0,
    }


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.booleans()), min_size=1, max_size=12))
def test_each_parameter_to_train_is_in_one_group_of_its_settings(rows: list[tuple[int, int, bool]]) -> None:
    params = [nn.Parameter(torch.zeros((1,) * dim), requires_grad=train) for _, dim, train in rows]
    model = nn.ParameterList([*params, nn.Parameter(torch.zeros(1, 1))])
    numbers = {str(i): layer for i, (layer, _, _) in enumerate(rows)} | {str(len(rows)): 2}
    groups = fastlr.param_groups(model, 0.1, layer_decay=0.9, layers=numbers.__getitem__, named=True)
    settings = {name: (group["lr_scale"], group["weight_decay"]) for group in groups for name, _ in group["params"]}
    last = max(numbers.values())
    assert settings == {
        name: (0.9 ** (last - numbers[name]), 0.1 if param.dim() > 1 else 0.0)
        for name, param in model.named_parameters()
        if param.requires_grad
    }
    assert len(groups) == len(set(settings.values()))
    assert sum(len(group["params"]) for group in groups) == len(settings)


# What the factor does.


def train(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[torch.Tensor]:
    tokens = torch.arange(5)[None]
    for _ in range(4):
        optimizer.zero_grad()
        model(tokens).square().sum().backward()
        optimizer.step()
    return [param.detach() for param in model.parameters()]


def test_a_schedule_times_the_factor_is_torchs_rate_of_each_group() -> None:
    torch.manual_seed(0)
    model = Transformer()
    theirs = copy.deepcopy(model)
    groups = fastlr.param_groups(model, 0.1, layer_decay=0.7)
    ours = train(fastlr.SGD(groups, lr=Constant(0.01), momentum=0.9), model)
    groups = fastlr.param_groups(theirs, 0.1, layer_decay=0.7, lr=0.01)
    assert all("lr_scale" not in group for group in groups)
    expected = train(torch.optim.SGD(groups, lr=1.0, momentum=0.9, foreach=False, fused=False), theirs)
    assert_same_bits(ours, expected)


def test_a_rate_without_layers_is_every_groups() -> None:
    assert [group["lr"] for group in fastlr.param_groups(nn.Linear(2, 2), lr=1)] == [1.0, 1.0]
