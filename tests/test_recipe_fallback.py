"""The training recipe around torch's operators, for what the core does not take: near a naive oracle's results."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from adam_cases import needs_fma, params_of, states
from recipe_cases import ALONE, CLASSES, DTYPES, PAIRWISE, Grads, Options, describe, options_for, step_both
from recipe_reference import Entry, Oracle
from sgd_cases import assert_same_bits, cast, filled, gradient_like, torch_sgd
from torch import Tensor

# Room for a few roundings, of the parameter's own type and of the arithmetic: norms are added up in another order than
# the oracle's, torch's roots are not rounded right, and its operators do not always fuse multiplication and addition.
ROOM = {torch.float64: 1e-13, torch.float32: 4e-6, torch.bfloat16: 2**-6, torch.float16: 2**-9}


def strided(dtype: torch.dtype) -> Tensor:
    return filled("offset 1", dtype, 1).detach()[::2]


def gap_between_rows(dtype: torch.dtype) -> Tensor:
    return filled("matrix", dtype, 2).detach()[:, :7]


def permuted(dtype: torch.dtype) -> Tensor:
    """Dense, but its elements' order in memory is not one transposition of their own."""
    return filled("matrix", dtype, 3).detach().reshape(17, 31)[:16, :30].reshape(4, 4, 5, 6).permute(3, 1, 0, 2)


UNUSUAL: list[Callable[[torch.dtype], Tensor]] = [strided, gap_between_rows, permuted]
FEW: list[Options] = [
    {"max_grad_norm": 0.7},
    {"max_grad_value": 0.02, "ema_decay": 0.9},
    {"master_weights": True, "state_dtype": torch.bfloat16, "zero_grad_in_step": True},
    {"stochastic_rounding": True, "rounding_seed": 7, "ema_decay": 0.3},
]


def mixed(dtypes: list[torch.dtype]) -> list[Tensor]:
    """What the core takes among what it does not, of all dtypes."""
    left = [torch.nn.Parameter(make(dtype)) for make in UNUSUAL for dtype in dtypes]
    native = [filled(layout, dtype, 5) for layout in ("31", "0") for dtype in dtypes]
    return [param for pair in zip(left, native, strict=False) for param in pair] + left[len(native) :]


def give(params: list[Tensor], step: int) -> list[Tensor | None]:
    """Gradients, and copies; parameter 2 gets its first one late."""
    for index, param in enumerate(params):
        param.grad = None if index == 2 and step == 0 else gradient_like(param, 100 * index + step)
    return [None if param.grad is None else param.grad.clone() for param in params]


def assert_near(actual: Tensor, expected: Tensor, what: str) -> None:
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), what
    room = ROOM[expected.dtype]
    torch.testing.assert_close(actual.detach(), expected, rtol=room, atol=room / 50, msg=lambda text: f"{what}: {text}")


def compare(optimizer: Any, oracle: Oracle, where: str) -> None:
    """Parameters, every entry of the state, counts and norms."""
    entries: list[Entry] = [entry for group in oracle.entries for entry in group]
    for index, (param, own, entry) in enumerate(zip(params_of(optimizer), states(optimizer), entries, strict=True)):
        assert_near(param, entry.param, f"parameter {index} {where}")
        own = {name: value for name, value in own.items() if name != "step"}
        assert own.keys() == entry.state.keys(), f"{sorted(own)} of parameter {index} {where}"
        for name, value in own.items():
            assert_near(value, entry.state[name], f"{name} of parameter {index} {where}")
        assert float(states(optimizer)[index].get("step", entry.updates)) == entry.updates
    assert optimizer.step_count == oracle.count
    for index, (group, norm) in enumerate(zip(optimizer.param_groups, oracle.norms, strict=True)):
        if group["max_grad_norm"] is not None:
            found = optimizer.grad_norm
            assert (found[index] if isinstance(found, tuple) else found) == pytest.approx(norm, rel=1e-14 * 100)


def follow(rule: str, groups: list[Options], updates: int, scale: float | None = None) -> Any:
    """Updates beside the oracle, compared after each; gradients too, which are as they were or zero."""
    oracle = Oracle(rule, groups)
    optimizer = CLASSES[rule](groups, lr=1.0)
    lists = [group["params"] for group in optimizer.param_groups]
    for step in range(updates):
        grads: Grads = [give(params, step + 10 * index) for index, params in enumerate(lists)]
        step_both(optimizer, oracle, grads, scale)
        compare(optimizer, oracle, f"after update {step}")
    assert all(group["params"] is params for group, params in zip(optimizer.param_groups, lists, strict=True))
    return optimizer


def dtypes_for(row: Options) -> list[torch.dtype]:
    return DTYPES[:3] if row.get("stochastic_rounding") else DTYPES


def fitting(rule: str, row: Options, number: int) -> Options:
    """float64 state is for float64 alone, and 16 bits do not hold every rate's averages apart: see ROOM."""
    return options_for(rule, row, number, dtypes_for(row))


ACTIVE = [row for row in ALONE if not row.keys() & {"norm_per_group", "error_if_nonfinite", "rounding_seed", "lr"}]


@pytest.mark.parametrize("row", ACTIVE, ids=describe)
@pytest.mark.parametrize("rule", CLASSES)
def test_each_option_alone(rule: str, row: Options) -> None:
    follow(rule, [{**fitting(rule, row, 0), "params": mixed(dtypes_for(row))}], 3)


@pytest.mark.parametrize("number", range(len(PAIRWISE)), ids=[describe(row) for row in PAIRWISE])
@pytest.mark.parametrize("rule", CLASSES)
def test_pairs_of_options_beside_other_groups(rule: str, number: int) -> None:
    rows: list[Options] = [PAIRWISE[number], {}, PAIRWISE[(number + 7) % len(PAIRWISE)]]
    groups = [{**fitting(rule, row, i), "params": mixed(dtypes_for(row))} for i, row in enumerate(rows)]
    follow(rule, groups, 3, [None, 1024.0, 3.0][number % 3])


def twins(dtypes: list[torch.dtype]) -> tuple[list[Tensor], list[Tensor]]:
    """Parameters that the core takes, and the same ones with gaps between their rows."""
    native = [filled("matrix", dtype, 11 + i) for i, dtype in enumerate(dtypes)]
    wide = [torch.nn.Parameter(cast(torch.empty(17, 40), param.dtype)[:, :31]) for param in native]
    for own, other in zip(native, wide, strict=True):
        other.data.copy_(own.detach())
    return native, wide


@needs_fma
@pytest.mark.parametrize("number", range(len(ALONE) + len(PAIRWISE)), ids=map(describe, [*ALONE, *PAIRWISE]))
def test_the_bits_of_the_core(number: int) -> None:
    """SGD's, whose own operators round as the core does; a limit that limits nothing puts a recipe around each row.

    Without float64 where there is a norm, whose last bit depends on the order in which it is added up.
    """
    row = {**[*ALONE, *PAIRWISE][number]}
    row["max_grad_value"] = row.get("max_grad_value") or 1e300
    clips = row.get("max_grad_norm") is not None
    sides = []
    for params in twins([dtype for dtype in dtypes_for(row) if not (clips and dtype is torch.float64)]):
        optimizer = CLASSES["SGD"](params, **{**fitting("SGD", row, number), "foreach": False})
        for step in range(4):
            give(params, step)
            if number % 2:
                optimizer.grad_scale, optimizer.found_inf = torch.tensor(64.0), torch.tensor(0.0)
            optimizer.step()
        sides.append(optimizer)
    native, left = sides
    assert_same_bits(params_of(left), params_of(native), "parameter")
    for own, other in zip(states(left), states(native), strict=True):
        assert own.keys() == other.keys()
        assert_same_bits(own.values(), [other[name] for name in own], "state")
    assert_same_bits([param.grad for param in params_of(left)], [param.grad for param in params_of(native)], "gradient")
    if clips:
        assert left.grad_norm == pytest.approx(native.grad_norm, rel=1e-14)


@pytest.mark.parametrize("rule", ["SGD", "Adam", "AdamW"])
def test_complex_parameters(rule: str) -> None:
    """Beside real ones: each is two numbers in the norm, and scaled, averaged and zeroed whole."""
    weight = torch.nn.Parameter(torch.complex(torch.arange(13.0), -torch.ones(13)))
    other, plain = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(weight.detach().clone())
    average = weight.detach().clone()
    recipe: Options = {"max_grad_norm": 2.0, "ema_decay": 0.75, "zero_grad_in_step": True, "master_weights": True}
    optimizer = CLASSES[rule]([other, weight], lr=0.1, **recipe)
    theirs = getattr(torch.optim, rule)([plain], lr=0.1, foreach=False)
    for step in range(3):
        parts = gradient_like(torch.empty(13, 2), step + 2)
        grad = torch.view_as_complex(parts)
        weight.grad, other.grad = grad * 8, torch.full((3,), 8.0)
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)
        optimizer.step()
        norm = float(torch.cat([parts.flatten(), torch.ones(3)]).double().norm())
        assert optimizer.grad_norm == pytest.approx(norm, rel=1e-12)
        plain.grad = grad * min(1.0, 2.0 / (norm + 1e-6))
        theirs.step()
        average.lerp_(plain.detach(), 0.25)
        torch.testing.assert_close(weight, plain, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(optimizer.state[weight]["ema"], average, rtol=1e-5, atol=1e-6)
        assert not weight.grad.any()
    assert "master_param" not in optimizer.state[weight]


def test_clamping_complex_gradients_is_refused_as_by_torch() -> None:
    """Where it was asked for after construction."""
    optimizer = CLASSES["SGD"]([torch.ones(2), torch.ones(3, dtype=torch.complex64)], lr=0.1)
    optimizer.param_groups[0]["max_grad_value"] = 0.5
    for param in params_of(optimizer):
        param.grad = torch.ones_like(param)
    with pytest.raises(NotImplementedError, match="complex"):
        optimizer.step()
    assert optimizer.step_count == 0
    assert all(bool((param == 1).all()) for param in params_of(optimizer))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_sparse_gradients(dtype: torch.dtype) -> None:
    """What stands twice is added up before it is squared and clamped; zeroing leaves a gradient without entries."""
    weight, other = torch.zeros(5, 2, dtype=dtype), torch.zeros(2)
    recipe: Options = {"max_grad_norm": 10.0, "max_grad_value": 4.0, "ema_decay": 0.5, "zero_grad_in_step": True}
    optimizer = CLASSES["SGD"]([weight, other], lr=1.0, **recipe)
    rows = torch.tensor([[1, 3, 3]])
    for _ in range(2):
        entries = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]], dtype=dtype)
        weight.grad = torch.sparse_coo_tensor(rows, entries, (5, 2), check_invariants=True)
        other.grad = torch.tensor([3.0, 0.0])
        held = weight.grad
        optimizer.step()
        assert optimizer.grad_norm == pytest.approx(46.0**0.5, rel=1e-12)
        assert weight.grad is held
        assert weight.grad._nnz() == 0
        assert other.grad.tolist() == [0.0, 0.0]
    expected = torch.zeros(5, 2)
    expected[1, 0], expected[3, 0] = -2.0, -8.0
    assert weight.tolist() == expected.tolist()
    assert optimizer.state[weight]["ema"].tolist() == (expected * 0.625).tolist()
    assert other.tolist() == [-6.0, 0.0]


@pytest.mark.parametrize(
    ("dtype", "values"), [(torch.float16, (4e4, 4e4)), (torch.bfloat16, (256.0, 3.0))], ids=["float16", "bfloat16"]
)
def test_sparse_entries_of_16_bits_are_added_up_in_float32(dtype: torch.dtype, values: tuple[float, ...]) -> None:
    """Where their sum is no number of their own type: infinite, or one that would be rounded."""
    weight = torch.zeros(5, dtype=dtype)
    optimizer = CLASSES["SGD"]([weight], lr=1.0, max_grad_norm=1.0)
    entries = torch.tensor(values, dtype=dtype)
    weight.grad = torch.sparse_coo_tensor(torch.tensor([[3, 3]]), entries, (5,), check_invariants=True)
    optimizer.step()
    assert optimizer.grad_norm == sum(values)
    assert weight.tolist() == [0.0, 0.0, 0.0, -1.0, 0.0]


@pytest.mark.parametrize("make", UNUSUAL)
def test_state_keeps_its_memory(make: Callable[[torch.dtype], Tensor]) -> None:
    """As in the core's updates: whoever holds it sees it change."""
    optimizer = CLASSES["SGD"]([make(torch.bfloat16)], lr=0.1, momentum=0.9, state_dtype=torch.float16, ema_decay=0.5)
    give(params_of(optimizer), 0)
    optimizer.step()
    held = [value for state in states(optimizer) for value in state.values()]
    for step in (1, 2):
        give(params_of(optimizer), step)
        optimizer.step()
        assert all(a is b for a, b in zip(held, states(optimizer)[0].values(), strict=True))
    assert [value.dtype for value in held] == [torch.float16, torch.float32]


@pytest.mark.parametrize("skipped", [False, True])
def test_a_sparse_gradient_s_entries_are_gone_after_a_skipped_step_too(skipped: bool) -> None:
    weight = torch.zeros(5, 2)
    optimizer = CLASSES["SGD"]([weight], lr=1.0, zero_grad_in_step=True)
    weight.grad = torch.sparse_coo_tensor(torch.tensor([[1, 3]]), torch.ones(2, 2), (5, 2), check_invariants=True)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(1.0), torch.tensor(float(skipped))
    optimizer.step()
    assert weight.grad._nnz() == 0
    assert bool(weight.any()) != skipped


@pytest.mark.parametrize("recipe", [{"ema_decay": 0.5}, {"max_grad_value": 10.0}, {"state_dtype": "bfloat16"}], ids=str)
@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_a_parameter_listed_twice(recipe: Options) -> None:
    """Updated twice, and by its first update at both places, as torch does."""
    sides = []
    for make, own in ((CLASSES["SGD"], recipe), (torch_sgd, {})):
        param = torch.linspace(-1, 1, 5)
        optimizer = make([param, param], lr=0.125, momentum=0.5, **own)
        for step in range(3):
            param.grad = torch.full((5,), 0.5 + step)
            optimizer.step()
        sides.append((param, optimizer.state[param]["momentum_buffer"].float()))
    assert_same_bits(*sides)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("of_buffer", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_group_without_a_recipe_has_torch_s_own_bits_beside_one_with(
    dtype: torch.dtype, of_buffer: torch.dtype
) -> None:
    """Also with the caller's state of another type."""
    sides = []
    for make, own in ((CLASSES["SGD"], {"ema_decay": 0.5}), (torch_sgd, {})):
        plain, other = torch.nn.Parameter(gap_between_rows(dtype)), torch.nn.Parameter(strided(torch.float32))
        optimizer = make([{"params": [plain]}, {"params": [other], **own}], lr=0.1, momentum=0.9, weight_decay=0.1)
        for step in range(4):
            plain.grad, other.grad = gradient_like(plain, step), gradient_like(other, step)
            optimizer.step()
            if step == 0:
                optimizer.state[plain]["momentum_buffer"] = torch.ones(17, 7, dtype=of_buffer)
        sides.append([plain, optimizer.state[plain]["momentum_buffer"], other])
    assert_same_bits(*sides)
