"""Run as a program over a fastlr that has the rule of docs/new_rule.md: trains with it on the CPU.

Prints a JSON object: for each check its name and what was wrong, nothing where it held.
"""

import json
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from files import through_a_file
from numpy.typing import NDArray
from sgd_cases import NATIVE, same_bits
from torch import Tensor

from fastlr import schedules
from fastlr.optim import ScheduledOptimizer

RATE = schedules.Warmup(0.1, 4) >> schedules.Cosine(0.1, 0.01, 20)
PULL = schedules.Linear(0.0, 0.5, 10)
FLAGS = [{"ahead": ahead, "tethered": tethered} for ahead in (False, True) for tethered in (False, True)]


def sway(params: Any, **options: Any) -> ScheduledOptimizer:
    from fastlr.optim.sway import Sway  # type: ignore[import-not-found]

    made: ScheduledOptimizer = Sway(params, **{"lr": RATE, "pull": PULL, **options})
    return made


def native(params: Any, **options: Any) -> ScheduledOptimizer:
    """Without torch's operators, where the core updates at all."""
    made = sway(params, **options)
    if NATIVE:
        made._fallback = _refused  # type: ignore[method-assign]
    return made


def _refused(left: Any) -> None:
    raise AssertionError(f"left to torch's operators: {left}")


def rate(t: int) -> float:
    u = (t - 4) / 20
    return 0.025 * (t + 1) if t < 4 else 0.01 + 0.09 * (1 + np.cos(np.pi * min(u, 1.0))) / 2


def pull(t: int) -> float:
    return 0.05 * min(t, 10)


def oracle(
    start: NDArray[np.float64],
    grads: Sequence[NDArray[np.float64]],
    *,
    ahead: bool,
    tethered: bool,
    beta: float = 0.9,
    lr: Callable[[int], float] = rate,
    pull: Callable[[int], float] = pull,
    from_step: int = 0,
) -> NDArray[np.float64]:
    """Where a parameter ends: the average as a sum over all gradients, the tether as a distance from the start."""
    param = start
    for n in range(1, len(grads) + 1):
        weights = (1 - beta) * beta ** np.arange(n - 1, -1, -1.0)
        swing = np.tensordot(weights, np.stack(grads[:n]), 1)
        moving = beta * swing + (1 - beta) * grads[n - 1] if ahead else swing
        param = param - lr(from_step + n - 1) / (1 - beta**n) * moving
        if tethered:
            param = start + (1 - pull(from_step + n - 1)) * (param - start)
    return param


def gradients(size: int, count: int, seed: int = 7) -> list[NDArray[np.float64]]:
    return list(np.random.default_rng(seed).standard_normal((count, size)))


def values(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.linspace(-1, 1, size, dtype=torch.float64).to(dtype)


def train(optimizer: ScheduledOptimizer, grads: Sequence[NDArray[np.float64]]) -> None:
    for grad in grads:
        for group in optimizer.param_groups:
            for param in group["params"]:
                param.grad = torch.from_numpy(grad[: param.numel()].copy()).to(param.dtype)
        optimizer.step()


def ends(dtype: torch.dtype, updates: int, **options: Any) -> tuple[Tensor, NDArray[np.float64]]:
    """A parameter after its updates, and what the oracle makes of the same numbers."""
    param, grads = values(77, dtype), gradients(77, updates)
    exact = [torch.from_numpy(grad).to(dtype).double().numpy() for grad in grads]
    expected = oracle(param.double().numpy().copy(), exact, **options)
    train(native([param], **options), grads)
    return param, expected


def check_the_formula() -> None:
    for options in FLAGS:
        param, expected = ends(torch.float64, 30, **options)
        np.testing.assert_allclose(param.numpy(), expected, rtol=0, atol=1e-14, err_msg=str(options))
        param, expected = ends(torch.float32, 30, **options)
        np.testing.assert_allclose(param.numpy(), expected, rtol=0, atol=2e-6, err_msg=str(options))


def check_16_bits_are_rounded_once() -> None:
    for dtype in (torch.float16, torch.bfloat16) if NATIVE else ():
        for options in FLAGS:
            param, expected = ends(dtype, 1, **options)
            # Half a unit in the last place, and what float32 is off before that.
            bound = torch.finfo(dtype).eps / 2 * np.abs(expected) * 1.001 + 1e-6
            assert (np.abs(param.double().numpy() - expected) <= bound).all(), f"{dtype} {options}"


def check_the_fallback_has_the_same_bits() -> None:
    for options in FLAGS:
        params = [values(77, torch.float32) for _ in range(2)]
        train(native(params[:1], **options), gradients(77, 30))
        train(sway(params[1:], differentiable=True, **options), gradients(77, 30))
        assert same_bits(*params), str(options)


def check_complex_numbers_are_two_real_ones() -> None:
    real, param = values(20), torch.view_as_complex(values(20).reshape(10, 2).clone())
    sides = sway([real]), sway([param])
    for grad in gradients(20, 6):
        real.grad = torch.from_numpy(grad)
        param.grad = torch.view_as_complex(torch.from_numpy(grad).reshape(10, 2))
        for optimizer in sides:
            optimizer.step()
    torch.testing.assert_close(torch.view_as_real(param).flatten(), real, rtol=1e-14, atol=1e-14)


def check_groups_have_values_of_their_own() -> None:
    params, grads = [values(9) for _ in range(3)], gradients(9, 12)
    own = [{}, {"pull": 0.25, "tethered": True}, {"lr_scale": 0.5, "beta": 0.5, "ahead": True}]
    optimizer = sway([{"params": [p], **group} for p, group in zip(params, own, strict=True)], tethered=False)
    train(optimizer, grads)
    start = values(9).numpy()
    expected = [
        oracle(start, grads, ahead=False, tethered=False),
        oracle(start, grads, ahead=False, tethered=True, pull=lambda t: 0.25),
        oracle(start, grads, ahead=True, tethered=False, beta=0.5, lr=lambda t: 0.5 * rate(t)),
    ]
    for i, param in enumerate(params):
        np.testing.assert_allclose(param.numpy(), expected[i], rtol=0, atol=1e-14, err_msg=f"group {i}")
    assert [group["pull"] for group in optimizer.param_groups] == [PULL(12), 0.25, PULL(12)]
    assert [sorted(optimizer.state[p]) for p in params] == [
        ["step", "swing"],
        ["drift", "step", "swing"],
        ["step", "swing"],
    ]


def check_a_parameter_that_begins_later() -> None:
    """Its own count corrects its average; the schedules are the optimizer's."""
    early, late = values(5), values(5)
    optimizer, grads = sway([early, late]), gradients(5, 8)
    for n, grad in enumerate(grads):
        early.grad = torch.from_numpy(grad)
        late.grad = torch.from_numpy(grad) if n >= 3 else None
        optimizer.step()
    expected = oracle(values(5).numpy(), grads[3:], ahead=False, tethered=True, from_step=3)
    np.testing.assert_allclose(late.numpy(), expected, rtol=0, atol=1e-14)
    assert [float(optimizer.state[p]["step"]) for p in (early, late)] == [8.0, 5.0]


def check_a_checkpoint_in_the_middle_changes_nothing() -> None:
    whole, first = values(33), values(33)
    grads = gradients(33, 12)
    train(sway([whole]), grads)
    before = sway([first])
    train(before, grads[:5])
    state = through_a_file(before.state_dict())
    assert json.loads(state["param_groups"][0]["pull_schedule"])
    resumed = first.clone()
    after = sway([resumed], lr=0.5, pull=0.5)
    after.load_state_dict(state)
    assert after.step_count == 5
    train(after, grads[5:])
    assert same_bits(resumed, whole)


def check_distributed_tensors() -> None:
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        plain, spread = values(24), distribute_tensor(values(24), mesh, [Shard(0)])
        sides = native([plain]), native([spread])
        for grad in gradients(24, 4):
            plain.grad = torch.from_numpy(grad)
            spread.grad = distribute_tensor(plain.grad, mesh, [Shard(0)])
            for optimizer in sides:
                optimizer.step()
        assert isinstance(sides[1].state[spread]["drift"], DTensor)
        assert same_bits(spread.to_local(), plain)
    finally:
        dist.destroy_process_group()


def check_compiled_steps() -> None:
    params = [values(33, torch.float32) for _ in range(2)]
    train(native(params[:1]), gradients(33, 6))
    optimizer = native(params[1:])
    compiled = torch.compile(lambda: optimizer.step(), backend="aot_eager", fullgraph=True)
    for grad in gradients(33, 6):
        params[1].grad = torch.from_numpy(grad).float()
        compiled()
    assert same_bits(*params)
    assert optimizer.step_count == 6


def check_schedules_can_be_replaced() -> None:
    param, grads = values(6), gradients(6, 6)
    optimizer = sway([param], pull=0.0)
    train(optimizer, grads[:3])
    optimizer.set_schedule(pull=PULL)
    train(optimizer, grads[3:])
    expected = oracle(values(6).numpy(), grads, ahead=False, tethered=True, pull=lambda t: pull(t) if t >= 3 else 0.0)
    np.testing.assert_allclose(param.numpy(), expected, rtol=0, atol=1e-14)


def check_the_recipe_goes_around_it() -> None:
    grads = gradients(33, 8)
    norms = [float(np.sqrt((grad**2).sum())) for grad in grads]
    clipped = [np.clip(grad * min(1.0, 4.0 / (n + 1e-6)), -1.0, 1.0) for grad, n in zip(grads, norms, strict=True)]
    options: dict[str, Any] = {"max_grad_norm": 4.0, "max_grad_value": 1.0, "ema_decay": 0.5, "zero_grad_in_step": True}
    for param in (values(33), values(66)[::2].copy_(values(33))):  # the core does not take the second
        start = average = param.numpy().copy()
        optimizer = sway([param], tethered=True, **options)
        for n, grad in enumerate(grads):
            train(optimizer, [grad])
            expected = oracle(start, clipped[: n + 1], ahead=False, tethered=True)
            average = (average + expected) / 2
            np.testing.assert_allclose(param.numpy(), expected, rtol=0, atol=1e-13)
            np.testing.assert_allclose(optimizer.state[param]["ema"].numpy(), average, rtol=0, atol=1e-13)
            assert abs(optimizer.grad_norm - norms[n]) <= 1e-13 * norms[n]
            assert param.grad is not None
            assert not param.grad.any()


def check_masters_and_the_dtype_of_the_state() -> None:
    for dtype, more in ((torch.bfloat16, {}), (torch.float16, {"state_dtype": torch.bfloat16})):
        narrow = values(33, dtype)
        wide, grads = narrow.float(), gradients(33, 8)
        exact = [torch.from_numpy(grad).to(dtype).double().numpy() for grad in grads]
        ours, plain = sway([narrow], master_weights=True, **more), sway([wide], **more)
        train(ours, grads)
        train(plain, exact)
        assert same_bits(narrow, wide.to(dtype))
        for name, value in plain.state[wide].items():
            assert same_bits(ours.state[narrow][name], value), name


def check_refusals_change_nothing() -> None:
    for wrong in ({"pull": -0.5}, {"pull": schedules.Linear(0.5, -0.5, 9)}, {"beta": 1.0}, {"lr": float("nan")}):
        try:
            sway([values(3)], **wrong)
        except ValueError:
            continue
        raise AssertionError(f"taken: {wrong}")
    param = values(3)
    optimizer = sway([param])
    param.grad = torch.eye(3, dtype=torch.float64)[0].to_sparse()
    try:
        optimizer.step()
    except RuntimeError:
        assert same_bits(param, values(3))
        assert optimizer.step_count == 0
        return
    raise AssertionError("a sparse gradient was taken")


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]


def report(checks: Sequence[Callable[..., None]], *arguments: Any) -> None:
    """Print what was wrong, by check."""
    warnings.simplefilter("error")
    found = {}
    for check in checks:
        try:
            check(*arguments)
            found[check.__name__] = ""
        except Exception:
            found[check.__name__] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    report(CHECKS)
