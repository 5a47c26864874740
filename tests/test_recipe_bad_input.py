"""Options of the recipe that are refused: with what is wrong and what to do, and before anything has changed."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import few, give_all, params_of, refused, train
from recipe_cases import CLASSES, FALLING, RATES, RISING

from fastlr import schedules

NAN, INF = math.nan, math.inf
NUMBER, FLAG = "a number, or None", "Give True or False"
LIMIT = "a finite number > 0, or None for no limit"
DECAY = "a number from 0 to 1, a schedule of such, or None"
SEED = "Give an int"
STATE = "Give one of float32, bfloat16, float16, float64, or None"
Case = tuple[str, Any, type[Exception], str, str]
# The option, a value, the error, how the value is shown, what to do.
NUMBERS: list[Case] = [
    *[
        (name, value, ValueError, repr(value), LIMIT)
        for name in ("max_grad_norm", "max_grad_value")
        for value in (0.0, 0, -1.0, NAN, INF, 10**400)
    ],
    *[
        (name, value, TypeError, repr(value), NUMBER)
        for name in ("max_grad_norm", "max_grad_value")
        for value in ("1.0", [1.0], 1j, schedules.Constant(1.0))
    ],
    *[("ema_decay", value, ValueError, repr(value), DECAY) for value in (-0.1, -1, 1.1, NAN, INF)],
    *[("ema_decay", value, TypeError, repr(value), NUMBER) for value in ("0.9", [0.9])],
    *[("rounding_seed", value, ValueError, repr(value), SEED) for value in (-1, 2**53)],
    *[("rounding_seed", value, TypeError, repr(value), SEED) for value in (1.5, None, "3")],
]
OTHERS: list[Case] = [
    *[(name, True, TypeError, "True", NUMBER) for name in ("max_grad_norm", "max_grad_value", "ema_decay")],
    ("max_grad_norm", torch.tensor(1.0), TypeError, "tensor", NUMBER),
    ("ema_decay", torch.tensor(0.5), TypeError, "tensor", NUMBER),
    ("ema_decay", torch.tensor(0.5, requires_grad=True), TypeError, "tensor", NUMBER),
    ("ema_decay", schedules.Linear(0.5, 1.5, 4), ValueError, "goes from 0.5 to 1.5", DECAY),
    ("ema_decay", schedules.Linear(0.5, -0.5, 4), ValueError, "goes from -0.5 to 0.5", DECAY),
    ("ema_decay", schedules.ReduceOnPlateau(0.5), ValueError, "ReduceOnPlateau", "schedule of the learning rate"),
    ("rounding_seed", True, TypeError, "True", SEED),
    *[(name, value, TypeError, repr(value), FLAG)
      for name in ("norm_per_group", "error_if_nonfinite", "master_weights", "stochastic_rounding", "zero_grad_in_step")
      for value in (1, None, "no")],
    *[("state_dtype", value, ValueError, str(value).removeprefix("torch."), STATE)
      for value in (torch.int32, torch.complex64, "float", "half", "")],
    *[("state_dtype", value, TypeError, repr(value), "Give a torch.dtype or its name") for value in (float, 3, True)],
    ("state_dtype", torch.float64, ValueError, "float64 for a parameter of torch.bfloat16", "in a group of its own"),
]  # fmt: skip
every_rule = pytest.mark.parametrize("rule", CLASSES)
two_rules = pytest.mark.parametrize("rule", ["SGD", "AdamW"])


def shown(case: Case) -> str:
    return f"{case[0]}={str(case[1])[:40]}"


def pattern(case: Case) -> str:
    return f"(?s){re.escape(case[3])}.*{re.escape(case[4])}"


def trained(rule: str, **options: Any) -> Any:
    """Two groups and two updates, so that there is something to lose; gradients for another one."""
    params = few(torch.float32)[:2], few(torch.bfloat16)[2:]
    groups = [{"params": params[0], "ema_decay": 0.5}, {"params": params[1], "master_weights": True}]
    optimizer = CLASSES[rule](groups, **{**RATES[rule][0], "lr": FALLING, "max_grad_norm": 1.0, **options})
    train(optimizer, range(2), give_all)
    give_all(params_of(optimizer), 2)
    return optimizer


@pytest.mark.parametrize("case", NUMBERS + OTHERS, ids=shown)
@every_rule
def test_the_constructor_refuses(rule: str, case: Case) -> None:
    name, value, error, *_ = case
    param = torch.ones(2, dtype=torch.bfloat16)
    with pytest.raises(error, match=pattern(case)):
        CLASSES[rule]([param], **{name: value})
    with pytest.raises(error, match=pattern(case)):
        CLASSES[rule]([{"params": [param], name: value}])


@pytest.mark.parametrize("case", NUMBERS + OTHERS, ids=shown)
@two_rules
def test_a_further_group_and_a_loaded_one_are_refused(rule: str, case: Case) -> None:
    name, value, error, *_ = case
    optimizer = trained(rule)
    with refused(optimizer, error, match=pattern(case)):
        optimizer.add_param_group({"params": [torch.ones(2, dtype=torch.bfloat16)], name: value})
    state = optimizer.state_dict()
    state["param_groups"][1][name] = value
    with refused(optimizer, error, match=pattern(case)):
        optimizer.load_state_dict(state)
    assert len(optimizer.param_groups) == 2
    optimizer.step()
    assert optimizer.step_count == 3


@pytest.mark.parametrize("case", NUMBERS, ids=shown)
@two_rules
def test_a_written_number_is_refused_by_the_step(rule: str, case: Case) -> None:
    """In the last group; nothing of the first has been updated."""
    name, value, *_ = case
    optimizer = trained(rule)
    good = optimizer.param_groups[1][name]
    optimizer.param_groups[1][name] = value
    with refused(optimizer, TypeError, ValueError, match=rf"Invalid {name} in a parameter group: .+\. Write"):
        optimizer.step()
    optimizer.param_groups[1][name] = good
    optimizer.step()
    assert optimizer.step_count == 3


def both_roundings(optimizer: Any) -> None:
    optimizer.param_groups[1]["stochastic_rounding"] = True


def half(optimizer: Any) -> None:
    optimizer.param_groups[1].update(master_weights=False, stochastic_rounding=True)
    for param in optimizer.param_groups[1]["params"]:
        param.data = param.data.to(torch.float16)
        param.grad = torch.ones_like(param)


def no_state_dtype(optimizer: Any) -> None:
    optimizer.state.clear()
    optimizer.param_groups[1]["state_dtype"] = "int8"


def too_wide_a_state_dtype(optimizer: Any) -> None:
    optimizer.state.clear()
    optimizer.param_groups[1]["state_dtype"] = "float64"


WRITTEN: dict[Callable[[Any], None], str] = {
    both_roundings: "master_weights together with stochastic_rounding.*both True. Use one",
    half: "stochastic_rounding of a float16 parameter.*Make it bfloat16",
    no_state_dtype: "Invalid state_dtype: int8. Give one of",
    too_wide_a_state_dtype: "Invalid state_dtype: .*float64 for a parameter of .*float.*. Leave it at None",
}


@pytest.mark.parametrize("write", WRITTEN, ids=lambda f: f.__name__)
@every_rule
def test_written_options_that_do_not_fit_are_refused_by_the_step(rule: str, write: Callable[[Any], None]) -> None:
    optimizer = trained(rule)
    write(optimizer)
    with refused(optimizer, ValueError, match=WRITTEN[write]):
        optimizer.step()


@every_rule
def test_options_that_exclude_each_other(rule: str) -> None:
    with pytest.raises(ValueError, match=r"master_weights together with stochastic_rounding: both True\. Use one"):
        CLASSES[rule]([torch.ones(1)], master_weights=True, stochastic_rounding=True)
    with pytest.raises(ValueError, match=r"float16 parameter: shape \[3\]\. Make it bfloat16, or use master_weights"):
        CLASSES[rule]([torch.ones(3, dtype=torch.float16)], stochastic_rounding=True)
    with pytest.raises(ValueError, match=r"for a parameter of torch\.complex64"):
        CLASSES[rule]([torch.ones(3, dtype=torch.complex64)], state_dtype=torch.float32)
    with pytest.raises(ValueError, match=r"max_grad_value of a complex parameter: shape \[3\]\. Use max_grad_norm"):
        CLASSES[rule]([torch.ones(3, dtype=torch.complex64)], max_grad_value=1.0)
    with pytest.raises(TypeError, match=r"Unexpected keyword argument: 'ema'\. Use one of max_grad_norm, "):
        CLASSES[rule]([torch.ones(1)], ema=0.9)


@every_rule
def test_a_checkpoint_whose_options_do_not_fit_the_parameters(rule: str) -> None:
    first, second = (CLASSES[rule](few(dtype), lr=0.1) for dtype in (torch.bfloat16, torch.float16))
    first.param_groups[0]["stochastic_rounding"] = True
    train(second, range(2), give_all)
    with refused(second, ValueError, match="stochastic_rounding of a float16 parameter"):
        second.load_state_dict(first.state_dict())


@every_rule
def test_set_schedule_takes_a_decay_and_nothing_else_of_the_recipe(rule: str) -> None:
    optimizer = trained(rule)
    for name in ("max_grad_norm", "rounding_seed"):
        with refused(
            optimizer, TypeError, match=f"Not a scheduled hyper-parameter: '{name}'. Use one of lr, .*ema_decay"
        ):
            optimizer.set_schedule(**{name: 1.0})
    for bad in (1.5, NAN, schedules.Linear(0.5, 1.5, 3), "0.9"):
        with refused(optimizer, ValueError, TypeError, match="Invalid ema_decay"):
            optimizer.set_schedule(ema_decay=bad)
    optimizer.set_schedule(ema_decay=RISING)
    assert [group["ema_decay"] for group in optimizer.param_groups] == [RISING(2)] * 2
    train(optimizer, range(2, 4), give_all)
    assert [group["ema_decay"] for group in optimizer.param_groups] == [RISING(4)] * 2
    optimizer.set_schedule(ema_decay=None, group=0)
    assert [group["ema_decay"] for group in optimizer.param_groups] == [None, RISING(4)]
    assert optimizer.param_groups[0]["ema_decay_schedule"] is None
