"""What the recipe keeps for a parameter: entries, dtypes and layouts, also after loading; and no memory beside it."""

import copy
from typing import Any

import pytest
import torch
from adam_cases import few, give_all, needs_fma, params_of, states, train
from files import through_a_file
from recipe_cases import CLASSES, DTYPES, ODD, RATES, Options, give, tensors
from sgd_cases import assert_same_bits
from test_sgd_checkpoint import copy_parameters
from torch.profiler import ProfilerActivity, profile

every_rule = pytest.mark.parametrize("rule", CLASSES)
OF_RULE: dict[str, list[str]] = {
    "SGD": ["momentum_buffer"],
    "Adam": ["exp_avg", "exp_avg_sq"],
    "AdamW": ["exp_avg", "exp_avg_sq"],
    "Lion": ["exp_avg"],
}
# Options, and for the dtypes of DTYPES in turn: the dtype of the rule's state, and of a master.
F32, F64, BF16, F16 = DTYPES
KEPT: list[tuple[Options, list[torch.dtype], list[torch.dtype | None]]] = [
    ({}, [F32, F64, BF16, F16], [None] * 4),
    ({"ema_decay": 0.9}, [F32, F64, BF16, F16], [None] * 4),
    ({"master_weights": True, "ema_decay": 0.9}, [F32, F64, F32, F32], [None, None, F32, F32]),
    ({"state_dtype": F32, "ema_decay": 0.9}, [F32] * 4, [None] * 4),
    ({"state_dtype": "bfloat16", "ema_decay": 0.9}, [BF16] * 4, [None] * 4),
    ({"state_dtype": F16, "master_weights": True}, [F16] * 4, [None, None, F32, F32]),
]


def make(rule: str, params: list[torch.Tensor], options: Options, number: int = 0) -> Any:
    return CLASSES[rule](params, **{**RATES[rule][number], **options})


@pytest.mark.parametrize("number", range(len(KEPT)), ids=[str(row[0]) for row in KEPT])
@every_rule
def test_entries_dtypes_and_layouts(rule: str, number: int) -> None:
    options, of_rule, of_master = KEPT[number]
    optimizer = make(rule, tensors(DTYPES, ODD), options)
    for step in range(2):
        give(optimizer, step)
        optimizer.step()
    for index, (param, state) in enumerate(zip(params_of(optimizer), states(optimizer), strict=True)):
        dtype, master = of_rule[index % 4], of_master[index % 4]
        expected: dict[str, torch.dtype] = dict.fromkeys(OF_RULE[rule], dtype)
        expected |= {} if rule in ("SGD", "Lion") else {"step": F32}
        expected |= {} if master is None else {"master_param": master}
        expected |= {"ema": torch.promote_types(param.dtype, F32)} if "ema_decay" in options else {}
        assert {name: value.dtype for name, value in state.items()} == ({} if index == 4 else expected), index
        for name, value in state.items():
            assert name == "step" or (value.shape, value.stride()) == (param.shape, param.stride())
            assert not value.requires_grad


# A count that no 16-bit number holds.
AT = 1025
LOADED: list[Options] = [
    {"master_weights": True, "ema_decay": 0.9},
    {"master_weights": True, "ema_decay": 0.9, "state_dtype": torch.bfloat16},
    {"stochastic_rounding": True, "ema_decay": 0.9, "state_dtype": torch.float32},
    {"ema_decay": 0.9, "state_dtype": torch.float16},
    {},
]


def ahead(optimizer: Any) -> None:
    """As if it had done many updates."""
    optimizer.step_count = AT
    for state in states(optimizer):
        if "step" in state:
            state["step"].fill_(AT)


@pytest.mark.parametrize("options", LOADED, ids=str)
@every_rule
def test_loading_keeps_dtypes_and_bits(rule: str, options: Options) -> None:
    """torch makes all of it bfloat16."""
    first, second = (make(rule, few(torch.bfloat16), options) for _ in range(2))
    train(first, range(3), give_all)
    ahead(first)
    copy_parameters(first, second)
    second.load_state_dict(through_a_file(first.state_dict()))
    for saved, loaded in zip(states(first), states(second), strict=True):
        assert list(saved) == list(loaded)
        assert_same_bits(loaded.values(), saved.values())
    assert second.step_count == AT
    for optimizer in (first, second):
        train(optimizer, range(3, 6), give_all)
    assert_same_bits(params_of(first), params_of(second))
    assert [state["step"].item() for state in states(second) if "step" in state] == [AT + 3.0] * (
        0 if rule in ("SGD", "Lion") else 4
    )


# The dtype of the saved parameters and of the ones that load; of a state, saved as the parameter's, when it is loaded.
ACROSS = [(F32, BF16, F32), (F32, F64, F64), (F64, F32, F32), (F64, BF16, F32), (BF16, F32, F32), (F16, BF16, F32)]


@pytest.mark.parametrize(("old", "new", "state"), ACROSS, ids=str)
@every_rule
def test_into_a_model_of_another_dtype(rule: str, old: torch.dtype, new: torch.dtype, state: torch.dtype) -> None:
    """What was wider than new state stays as wide; averages have the parameter's, at least float32."""
    first, second = (make(rule, few(dtype), {"ema_decay": 0.9}) for dtype in (old, new))
    train(first, range(3), give_all)
    ahead(first)
    second.load_state_dict(through_a_file(first.state_dict()))
    for saved, loaded in zip(states(first), states(second), strict=True):
        dtypes = {**dict.fromkeys(OF_RULE[rule], state), "ema": torch.promote_types(new, F32), "step": F32}
        assert_same_bits(loaded.values(), [saved[name].to(dtypes[name]) for name in loaded])
    train(second, range(3, 5), give_all)
    assert second.step_count == AT + 2


@pytest.mark.parametrize("asked", [torch.float32, torch.bfloat16], ids=str)
@every_rule
def test_a_state_dtype_in_the_checkpoint_or_asked_for_here_holds(rule: str, asked: torch.dtype) -> None:
    """The checkpoint's group says it; one from before the option leaves this optimizer's."""
    first = make(rule, few(torch.float32), {})
    train(first, range(3), give_all)
    state = through_a_file(first.state_dict())
    for group in state["param_groups"]:
        group["state_dtype"] = str(asked)[6:]
    other = make(rule, few(torch.float32), {})
    other.load_state_dict(copy.deepcopy(state))
    for group in state["param_groups"]:
        del group["state_dtype"]
    asking = make(rule, few(torch.float32), {"state_dtype": asked})
    asking.load_state_dict(state)
    for optimizer in (other, asking):
        assert all(s[name].dtype is asked for s in states(optimizer) for name in OF_RULE[rule])
        train(optimizer, range(3, 5), give_all)
        assert all(s[name].dtype is asked for s in states(optimizer) for name in OF_RULE[rule])


def test_what_the_callers_hook_leaves_is_loaded() -> None:
    first, second = (make("AdamW", few(torch.bfloat16), {"master_weights": True}) for _ in range(2))
    train(first, range(3), give_all)

    def replaced(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        entries = state["state"].items()
        moved = {number: {**entry, "master_param": entry["master_param"] + 1} for number, entry in entries}
        return {**state, "state": moved}

    second.register_load_state_dict_pre_hook(replaced)
    second.load_state_dict(first.state_dict())
    for saved, loaded in zip(states(first), states(second), strict=True):
        assert_same_bits([loaded["master_param"]], [saved["master_param"] + 1])


def without_gradients(params: Any, step: int) -> None:
    for param in params:
        param.grad = torch.zeros_like(param)


@pytest.mark.parametrize("options", [row for row in LOADED if row], ids=str)
@every_rule
def test_state_made_ahead_begins_at_the_weights_of_the_first_update(rule: str, options: Options) -> None:
    """As torch.distributed.checkpoint makes it; weights that are loaded in between are not lost."""
    made, plain = (make(rule, few(torch.bfloat16), options) for _ in range(2))
    made.param_groups[0]["lr"] = 0.0
    train(made, range(1), without_gradients)
    made.param_groups[0]["lr"] = plain.param_groups[0]["lr"]
    for param, state in zip(params_of(made), states(made), strict=True):
        weights = [state[name] for name in ("master_param", "ema") if name in state]
        assert_same_bits(weights, [param.float()] * len(weights))
    sides = [made, plain, copy.deepcopy(made)]
    for side in sides:
        for param in params_of(side):
            param.data.mul_(-3.0)
        train(side, range(4), give_all)
    for side in (made, sides[2]):
        assert_same_bits(params_of(side), params_of(plain))
        for ours, expected in zip(states(side), states(plain), strict=True):
            assert ours.keys() == expected.keys()
            assert_same_bits([ours[name] for name in expected], expected.values())


def allocated(optimizer: Any) -> int:
    """Bytes that torch allocates during a step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        optimizer.step()
    assert found.profiler is not None
    events = found.profiler.kineto_results.events()  # type: ignore[union-attr]
    return sum(max(event.nbytes(), 0) for event in events if event.name() == "[memory]")


MEMORY: list[Options] = [
    {"max_grad_norm": 1.0, "max_grad_value": 0.1, "ema_decay": 0.9, "zero_grad_in_step": True},
    {"max_grad_norm": 1.0, "ema_decay": 0.9, "master_weights": True, "zero_grad_in_step": True},
    {"max_grad_norm": 1.0, "ema_decay": 0.9, "stochastic_rounding": True, "state_dtype": torch.float32},
]


@needs_fma
@pytest.mark.parametrize("options", MEMORY, ids=str)
@every_rule
def test_a_step_allocates_its_state_once_and_nothing_else(rule: str, options: Options) -> None:
    params = tensors(DTYPES[:3], ["257", "transposed", "offset 1", "0", "scalar"])
    optimizer = make(rule, params, options)
    give_all(params, 0)
    first = allocated(optimizer)
    kept = [value for state in states(optimizer) for value in state.values() if value.numel() > 0]
    assert first >= sum(value.nbytes for value in kept)
    assert first <= sum(-(-value.nbytes // 64) * 64 for value in kept) + 64 * len(kept)
    for step in range(1, 3):
        give_all(params, step)
        assert allocated(optimizer) == 0


def test_allocations_are_seen() -> None:
    """What torch's operators update needs temporaries."""
    param = torch.nn.Parameter(torch.ones(1000, dtype=torch.complex64))
    optimizer = make("AdamW", [param], MEMORY[2] | {"state_dtype": None})
    give_all([param], 0)
    optimizer.step()
    give_all([param], 1)
    assert allocated(optimizer) > param.nbytes
