"""Single updates that clip by the norm of what lies on several ranks: what the tests run, in each of the processes."""

import math
from typing import Any

import torch
import torch.distributed as dist
from distributed_runs import WORLD, full, shard
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor

import fastlr

ROWS, COLUMNS, WHOLE, PARTS = Shard(0), Shard(1), Replicate(), Partial()


def values(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def placed(mesh: DeviceMesh, placements: list[Placement], shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """A tensor in that layout; without one, the same plain tensor on every rank."""
    if not placements:
        return values(*shape, seed=seed)
    if PARTS in placements:
        place = sum(mesh.get_local_rank(dim) for dim, own in enumerate(placements) if own == PARTS)
        part = values(*shape, seed=seed + place)
        without = [WHOLE if own == PARTS else own for own in placements]
        local = distribute_tensor(part, mesh, without, src_data_rank=None).to_local()
        return DTensor.from_local(local, mesh, placements, shape=part.shape, stride=part.stride())
    return distribute_tensor(values(*shape, seed=seed), mesh, placements)


# Layouts of a parameter and of its gradient, and the parameter's shape; of several in one optimizer.
Layout = tuple[list[Placement], list[Placement], tuple[int, ...]]
MIXES: dict[str, list[Layout]] = {
    "shards": [([ROWS], [ROWS], (5, 3)), ([COLUMNS], [COLUMNS], (4, 5))],
    "a rank with nothing": [([ROWS], [ROWS], (1, 3)), ([ROWS], [ROWS], (0, 3))],
    "replicated": [([WHOLE], [WHOLE], (5, 3))],
    "gradients in other layouts": [([ROWS], [WHOLE], (5, 3)), ([ROWS], [COLUMNS], (4, 5)), ([WHOLE], [ROWS], (3,))],
    "gradients in parts": [([WHOLE], [PARTS], (5, 3)), ([ROWS], [PARTS], (7,))],
    "all in parts": [([PARTS], [PARTS], (5, 3))],
    "plain": [([], [], (31,))],
    "everything": [
        ([ROWS], [ROWS], (5, 3)),
        ([], [], (31,)),
        ([WHOLE], [WHOLE], (5, 3)),
        ([COLUMNS], [WHOLE], (4, 5)),
        ([WHOLE], [PARTS], (5, 3)),
        ([ROWS], [ROWS], (1, 3)),
        ([PARTS], [PARTS], (2, 2)),
    ],
}
GRIDS: dict[str, tuple[tuple[int, int], list[Layout]]] = {
    "copies of shards": ((1, 2), [([WHOLE, ROWS], [WHOLE, ROWS], (5, 3)), ([WHOLE, WHOLE], [WHOLE, WHOLE], (3,))]),
    "shards of copies": ((2, 1), [([ROWS, WHOLE], [ROWS, WHOLE], (5, 3)), ([WHOLE, ROWS], [WHOLE, ROWS], (3,))]),
    "shards of shards": ((2, 1), [([ROWS, COLUMNS], [ROWS, COLUMNS], (5, 3)), ([ROWS, ROWS], [ROWS, ROWS], (5, 3))]),
    "parts of copies": ((2, 1), [([WHOLE, ROWS], [PARTS, ROWS], (5, 3)), ([WHOLE, WHOLE], [PARTS, PARTS], (3,))]),
    "copies of parts": ((1, 2), [([WHOLE, ROWS], [PARTS, ROWS], (5, 3)), ([WHOLE, WHOLE], [WHOLE, PARTS], (3,))]),
}


def update(mix: str, limit: float, alone: bool, grid: bool) -> dict[str, Any]:
    """One update at the rate 1, and the whole parameters and gradients of before."""
    shape, layouts = GRIDS[mix] if grid else ((WORLD,), MIXES[mix])
    mesh = init_device_mesh("cpu", shape)
    params = [torch.nn.Parameter(placed(mesh, own, shape, i)) for i, (own, _, shape) in enumerate(layouts)]
    for i, (param, (_, of_grad, size)) in enumerate(zip(params, layouts, strict=True)):
        param.grad = placed(mesh, of_grad, size, 100 + 10 * i)
    before = {"params": [full(param) for param in params], "grads": [full(param.grad) for param in params]}
    groups = [{"params": [param]} for param in params]
    optimizer = fastlr.SGD(groups, lr=1.0, max_grad_norm=limit, norm_per_group=alone)
    optimizer.step()
    kept = [full(param.grad) for param in params]
    return {**before, "kept": kept, "after": [full(param) for param in params], "norm": optimizer.grad_norm}


def without_gradients(missing: list[int]) -> dict[str, Any]:
    """The last rank has no gradients of some of three parameters; the whole ones that are left, and the norms."""
    mesh = init_device_mesh("cpu", (WORLD,))
    params = [placed(mesh, [ROWS], (4, 3), i) for i in range(3)]
    optimizer = fastlr.SGD(params, lr=1.0, max_grad_norm=0.5)
    grads, norms = [], []
    for step in range(2):
        given = []
        for i, param in enumerate(params):
            grad = placed(mesh, [ROWS], (4, 3), 100 + 10 * step + i)
            if i in missing and dist.get_rank() == WORLD - 1:
                grad.to_local().zero_()  # type: ignore[attr-defined]
            given.append(full(grad))
            param.grad = None if i in missing and dist.get_rank() == WORLD - 1 else grad
        grads.append(given)
        optimizer.step()
        norms.append(optimizer.grad_norm)
    return {"grads": grads, "norms": norms, "count": optimizer.step_count, "params": [full(param) for param in params]}


def _all_of(optimizer: Any) -> list[torch.Tensor]:
    params = [param for group in optimizer.param_groups for param in group["params"]]
    state = [value for param in params for value in optimizer.state.get(param, {}).values()]
    return [full(tensor) for tensor in (*params, *state)]


def not_finite(value: float, rule: str, raises: bool, grid: bool) -> dict[str, Any]:
    """Two updates; before each there is one in which the first rank alone has a value that is not finite."""
    mesh = init_device_mesh("cpu", (1, WORLD) if grid else (WORLD,))
    layouts = [[WHOLE, ROWS], [WHOLE, WHOLE]] if grid else [[ROWS], [WHOLE]]
    params = [placed(mesh, own, (4, 3), i) for i, own in enumerate(layouts)]
    recipe: dict[str, Any] = {"ema_decay": 0.9, "zero_grad_in_step": True, "error_if_nonfinite": raises}
    optimizer = getattr(fastlr, rule)(params, lr=fastlr.warmup_cosine(0.1, 9), max_grad_norm=1.0, **recipe)
    changed, counts, messages, zeroed = [], [], [], []
    for step in range(2):
        for bad in (True, False):
            for i, (param, own) in enumerate(zip(params, layouts, strict=True)):
                param.grad = placed(mesh, own, (4, 3), 100 + 10 * step + i)
            if bad and dist.get_rank() == 0:
                params[0].grad.to_local()[0, 0] = value  # type: ignore[attr-defined, union-attr]
            before, rate = _all_of(optimizer), optimizer.param_groups[0]["lr"]
            try:
                optimizer.step()
            except RuntimeError as problem:
                messages.append(str(problem))
            now = _all_of(optimizer)
            same = len(now) == len(before) and all(map(torch.equal, now, before))
            changed.append(not same or optimizer.param_groups[0]["lr"] != rate)
            counts.append(optimizer.step_count)
            zeroed.append(not any(full(param.grad).any() for param in params))  # type: ignore[arg-type]
    return {"changed": changed, "counts": counts, "messages": messages, "zeroed": zeroed}


def scaled(kind: str) -> dict[str, Any]:
    """A model of FSDP2 with a scaler; in some steps the data of one rank overflow."""
    torch.manual_seed(0)
    model = shard(torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1)), whole=True)
    own: dict[str, Any] = {"max_grad_norm": 0.5} if kind == "clipped" else {}
    optimizer = fastlr.AdamW(model.parameters(), lr=fastlr.warmup_cosine(0.1, 20), **own)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    counts, scales = [], []
    for step in range(5):
        x = values(6, 5, seed=step + 10 * dist.get_rank()).float()
        if step in (0, 3) and dist.get_rank() == 1:
            x[0] = math.inf
        optimizer.zero_grad()
        scaler.scale(model(x).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        counts.append(optimizer.step_count)
        scales.append(scaler.get_scale())
    return {"counts": counts, "scales": scales, "params": [full(param) for param in model.parameters()]}
