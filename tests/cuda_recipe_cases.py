"""Cases and comparisons shared by the tests of the training recipe on GPUs: the same groups on the CPU beside them."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from cuda_places import Place, Sides, states
from recipe_cases import CLASSES, ODD, Options, give, options_for, tensors
from sgd_cases import assert_same_bits, gradient_like
from torch import Tensor

# The two weights beside a parameter begin as copies of it; where an update that makes them is skipped, only there.
COPIES = ("master_param", "ema")


def group_sides(
    place: Place,
    rule: str,
    rows: Sequence[Options],
    dtypes: Sequence[Sequence[torch.dtype]],
    devices: Sequence[int | None] = (0,),
) -> Sides:
    """A group for each row with parameters of all layouts, of its dtypes in turn."""
    params = [param for i, own in enumerate(dtypes) for param in tensors(own, ODD, seed=100 * i)]
    options = [options_for(rule, row, i, own) for i, (row, own) in enumerate(zip(rows, dtypes, strict=True))]

    def make(params: list[Tensor]) -> Any:
        size = len(ODD)
        groups = [{**own, "params": params[i * size : (i + 1) * size]} for i, own in enumerate(options)]
        return CLASSES[rule](groups, lr=1.0)

    return Sides(place, params, make, devices)


def scaled(both: Sides, scale: float | None, found: float = 0.0) -> None:
    """What torch.amp.GradScaler hands over; None takes it away."""
    for side in (both.cpu, both.gpu):
        side.__dict__.pop("grad_scale", None)
        side.__dict__.pop("found_inf", None)
    if scale is not None:
        both.cpu.grad_scale, both.cpu.found_inf = torch.tensor(scale), torch.tensor(found)
        both.gpu.grad_scale, both.gpu.found_inf = (both.place.put(torch.tensor(value)) for value in (scale, found))


def give_turned(both: Sides, step: int) -> None:
    """Gradients as give() has them, every third of a matrix in the order of its transpose."""
    give(both.cpu, step)
    for param in both.params[::3]:
        if param.grad is not None and param.dim() == 2:
            param.grad = param.grad.t().contiguous().t()
    both.copy_gradients()


def grads_of(params: Iterable[Tensor]) -> list[Tensor]:
    return [param.grad for param in params if param.grad is not None]


def check_all(both: Sides, where: str = "") -> None:
    """Parameters, state, groups, gradients and norms, bit for bit."""
    both.check(where)
    assert_same_bits(map(both.place.back, grads_of(both.copies)), grads_of(both.params), f"gradient {where}")
    assert repr(both.gpu.grad_norm) == repr(both.cpu.grad_norm), where


def follow(both: Sides, steps: range, scale: float | None = None) -> None:
    for step in steps:
        give_turned(both, step)
        scaled(both, scale)
        both.step()
        check_all(both, f"after update {step}")


def check_synced(both: Sides, where: str = "") -> None:
    """As check_all(), where updates may have been skipped on the GPU: it has allocated what they did not write."""
    both.gpu.sync()
    theirs = states(both.cpu)
    for state, param, expected in zip(states(both.gpu), both.params, theirs, strict=True):
        assert state.keys() >= expected.keys(), where
        for name in state.keys() - expected.keys():
            begun = param.detach().to(state[name].dtype) if name in COPIES else torch.zeros_like(state[name])
            assert_same_bits([both.place.back(state[name])], [begun.cpu()], f"{name} {where}")
        for name in expected:
            assert_same_bits([both.place.back(state[name])], [expected[name]], f"{name} {where}")
    assert_same_bits(map(both.place.back, both.copies), both.params, f"parameter {where}")
    assert_same_bits(map(both.place.back, grads_of(both.copies)), grads_of(both.params), f"gradient {where}")
    both.check_groups(where)
    assert both.gpu.step_count == both.cpu.step_count
    assert repr(both.gpu.grad_norm) == repr(both.cpu.grad_norm), where


def spoil(both: Sides, place: int, value: float = math.inf) -> None:
    """A value that is not finite in a gradient of both, in the memory where it is."""
    both.place.finish()
    for params in (both.params, both.copies):
        grad = params[place].grad
        assert grad is not None
        with torch.no_grad():
            grad.flatten()[-1:].copy_(torch.tensor(value)) if grad.is_contiguous() else grad.fill_(value)


def refill(both: Sides, step: int) -> None:
    """New gradients of every parameter in the memory of the old ones."""
    both.place.finish()
    for i, (param, copy) in enumerate(zip(both.params, both.copies, strict=True)):
        values = gradient_like(param, 1000 * i + step)
        if param.grad is None:
            param.grad = values
            copy.grad = both.place.put(values)
        else:
            with torch.no_grad():
                param.grad.copy_(values)
                copy.grad.copy_(values)
