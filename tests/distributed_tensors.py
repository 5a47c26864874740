"""Single DTensors in every layout, updated by fastlr and by torch on as many ranks as call these."""

from typing import Any

import torch
import torch.distributed as dist
from distributed_runs import WORLD, full, make
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor

import fastlr
from fastlr import schedules

FIRST, SECOND, WHOLE = [Shard(0)], [Shard(1)], [Replicate()]


def values(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _in_the_middle(mesh: DeviceMesh, seed: int) -> DTensor:
    """The local tensor begins in the midst of its storage, and the DTensor says so of itself, which has none."""
    return DTensor.from_local(values(40, seed=seed + dist.get_rank())[7:18], mesh, FIRST)


def _in_parts(mesh: DeviceMesh, seed: int) -> DTensor:
    """Parts of sums: the ranks have still to add them up."""
    return DTensor.from_local(values(5, 3, seed=seed + dist.get_rank()), mesh, [Partial()])


def _placed(placements: list[Placement], *shape: int, transposed: bool = False) -> Any:
    def build(mesh: DeviceMesh, seed: int) -> DTensor:
        tensor = values(*shape, seed=seed)
        return distribute_tensor(tensor.t() if transposed else tensor, mesh, placements)

    return build


IN_PARTS = "parameter in parts"
# How a parameter is made, its gradients, what its state is redistributed to after the first update, and whether the
# core then takes it.
LAYOUTS: dict[str, tuple[Any, Any, Any, bool]] = {
    "shards": (_placed(FIRST, 5, 3), _placed(FIRST, 5, 3), None, True),
    "shards of the second dimension": (_placed(SECOND, 4, 5), _placed(SECOND, 4, 5), None, True),
    "a rank with nothing": (_placed(FIRST, 1, 3), _placed(FIRST, 1, 3), None, True),
    "no elements": (_placed(FIRST, 0, 3), _placed(FIRST, 0, 3), None, True),
    "replicated": (_placed(WHOLE, 5, 3), _placed(WHOLE, 5, 3), None, True),
    "in the middle of a storage": (_in_the_middle, _in_the_middle, None, True),
    "transposed": (_placed(FIRST, 3, 5, transposed=True), _placed(FIRST, 3, 5, transposed=True), None, True),
    "replicated gradient": (_placed(FIRST, 5, 3), _placed(WHOLE, 5, 3), None, False),
    "gradient sharded otherwise": (_placed(FIRST, 5, 3), _placed(SECOND, 5, 3), None, False),
    "gradient in parts": (_placed(WHOLE, 5, 3), _in_parts, None, False),
    IN_PARTS: (_in_parts, _in_parts, None, False),
    "replicated state": (_placed(FIRST, 5, 3), _placed(FIRST, 5, 3), WHOLE, False),
}


class Tensor:
    """A parameter of that layout, and three updates of it."""

    def __init__(self, layout: str, rule: str, maker: str) -> None:
        self.mesh = init_device_mesh("cpu", (WORLD,))
        make_param, self.make_grad, self.state_placements, _ = LAYOUTS[layout]
        self.param = torch.nn.Parameter(make_param(self.mesh, 0))
        self.optimizer, self.left = make(rule, maker, [self.param], 0.1)

    def update(self, steps: range) -> None:
        for step in steps:
            self.param.grad = self.make_grad(self.mesh, 10 + step)
            self.optimizer.step()


def _state(tensor: Tensor) -> dict[str, Any]:
    return {name: full(value) for name, value in tensor.optimizer.state[tensor.param].items() if value is not None}


def update(layout: str, rule: str, maker: str) -> dict[str, Any]:
    tensor = Tensor(layout, rule, maker)
    tensor.update(range(1))
    entries = tensor.optimizer.state[tensor.param]
    for name, value in entries.items():
        if tensor.state_placements is not None and isinstance(value, DTensor):
            entries[name] = value.redistribute(placements=tensor.state_placements)
    before = len(tensor.left)
    tensor.update(range(1, 3))
    return {"params": [full(tensor.param)], "state": _state(tensor), "left": tensor.left[before:]}


def versions(layout: str, rule: str, maker: str) -> list[int]:
    """By how much an update raises the version of the DTensor and of its local tensor."""
    tensor = Tensor(layout, rule, maker)
    local = tensor.param.to_local()
    before = tensor.param._version, local._version
    tensor.update(range(1))
    return [tensor.param._version - before[0], local._version - before[1]]


def stale_backward(layout: str, rule: str, maker: str) -> str:
    """What torch says of a backward through a parameter that was updated after the forward."""
    tensor = Tensor(layout, rule, maker)
    loss = tensor.param.square().sum()
    tensor.update(range(1))
    try:
        loss.backward()
    except RuntimeError as problem:
        return str(problem)
    return ""


def first_update_at_rate_0() -> list[int]:
    """Counts after two updates, of which the first has the rate 0 and gradients that only the last rank sees."""
    mesh = init_device_mesh("cpu", (WORLD,))
    param = torch.nn.Parameter(distribute_tensor(torch.zeros(4), mesh, FIRST))
    optimizer = fastlr.SGD([param], lr=schedules.Linear(0.0, 0.1, 4))
    counts = []
    for _ in range(2):
        param.grad = distribute_tensor(torch.tensor([0.0, 0.0, 0.0, 1.0]), mesh, FIRST)
        optimizer.step()
        counts.append(optimizer.step_count)
    return counts
