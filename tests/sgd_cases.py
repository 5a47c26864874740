"""Cases and comparisons shared by the tests of fastlr.SGD."""

import itertools
import platform
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from fastlr import _core

# x86 without fused multiply-add leaves every update to torch's operators.
NATIVE = _core.cpu_capability() != "base" or platform.machine() not in ("x86_64", "AMD64")
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
LAYOUTS: dict[str, Callable[[], Tensor]] = {
    "scalar": lambda: torch.empty(()),
    "0": lambda: torch.empty(0),
    "1": lambda: torch.empty(1),
    "31": lambda: torch.empty(31),
    "257": lambda: torch.empty(257),
    "offset 1": lambda: torch.empty(258)[1:],
    "offset 3": lambda: torch.empty(40)[3:34],
    "matrix": lambda: torch.empty(17, 31),
    "transposed": lambda: torch.empty(31, 17).t(),
    "permuted": lambda: torch.empty(3, 5, 7).permute(2, 0, 1),
    "channels_last": lambda: torch.empty(2, 3, 5, 7).to(memory_format=torch.channels_last),
    "channels_last_3d": lambda: torch.empty(2, 3, 2, 5, 7).to(memory_format=torch.channels_last_3d),
    "stride of a single row": lambda: torch.empty_strided((1, 5), (100, 1)),
    "empty in the middle": lambda: torch.empty(3, 0, 5),
}


def valid_options() -> list[dict[str, Any]]:
    """Every combination of SGD's options that torch accepts."""
    values = itertools.product((0, 0.9), (0, 0.3), (0, 0.01), (False, True), (False, True))
    names = ("momentum", "dampening", "weight_decay", "nesterov", "maximize")
    options = [dict(zip(names, row, strict=True)) for row in values]
    return [o for o in options if not o["nesterov"] or (o["momentum"] and not o["dampening"])]


OPTIONS = valid_options()


def describe(options: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in options.items())


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The same sizes, strides and storage offset in another type."""
    storage = torch.zeros(tensor.storage_offset() + span(tensor), dtype=dtype)
    return storage.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())


def span(tensor: Tensor) -> int:
    """Elements of storage between a tensor's first and last one, both included."""
    if tensor.numel() == 0:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def filled(layout: str, dtype: torch.dtype, seed: int) -> Tensor:
    """A leaf of that layout with normal values; equal seeds give equal tensors."""
    tensor = cast(LAYOUTS[layout](), dtype)
    generator = torch.Generator().manual_seed(seed)
    tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=torch.float64))
    return torch.nn.Parameter(tensor)


def gradient_like(param: Tensor, seed: int) -> Tensor:
    """A gradient in the parameter's layout, of a size that varies over some decades."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(param.shape, generator=generator, dtype=torch.float64)
    return torch.empty_like(param).copy_(values * 10.0 ** (seed % 5 - 3))


def set_gradients(params: Sequence[Tensor], step: int) -> None:
    """Gradients of one step: parameter 3 gets its first one late, 4 never, 5 misses some steps."""
    for index, param in enumerate(params):
        absent = (index == 3 and step < 4) or index == 4 or (index == 5 and step % 5 == 2)
        param.grad = None if absent else gradient_like(param, 1000 * index + step)


def torch_sgd(params: Any, **options: Any) -> torch.optim.SGD:
    """The optimizer whose bits are the standard."""
    return torch.optim.SGD(params, foreach=False, fused=False, **options)


def same_bits(actual: Tensor, expected: Tensor) -> bool:
    """Equal type, shape and bits; NaNs are equal whatever their payload."""
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        return False
    if actual.is_complex():
        return same_bits(torch.view_as_real(actual), torch.view_as_real(expected))
    bits = BITS[actual.element_size()]
    a, b = actual.detach().contiguous(), expected.detach().contiguous()
    equal = a.view(bits) == b.view(bits)
    if a.is_floating_point():
        equal |= a.isnan() & b.isnan()
    return bool(equal.all())


def assert_same_bits(actual: Iterable[Tensor], expected: Iterable[Tensor], where: str = "") -> None:
    for index, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert same_bits(a, b), f"tensor {index} of shape {tuple(b.shape)} {where}: {a.flatten()[:4]} {b.flatten()[:4]}"


def buffers(optimizer: torch.optim.Optimizer) -> dict[int, Tensor]:
    """The momentum buffers by the parameter's place in the optimizer."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    found = {i: optimizer.state[p].get("momentum_buffer") for i, p in enumerate(params) if p in optimizer.state}
    return {i: buffer for i, buffer in found.items() if buffer is not None}


def assert_same_state(actual: torch.optim.Optimizer, expected: torch.optim.Optimizer, *, where: str = "") -> None:
    """Equal parameters and momentum buffers, bit for bit."""
    for a, b in zip(actual.param_groups, expected.param_groups, strict=True):
        assert_same_bits(a["params"], b["params"], f"parameter {where}")
    ours, theirs = buffers(actual), buffers(expected)
    assert ours.keys() == theirs.keys(), f"buffers of parameters {sorted(ours)}, not {sorted(theirs)} {where}"
    assert_same_bits(ours.values(), [theirs[i] for i in ours], f"buffer {where}")


def snapshot(optimizer: torch.optim.Optimizer) -> tuple[list[Tensor], dict[int, Tensor], list[dict[str, Any]]]:
    """Copies of everything a step may change: parameters, buffers and the groups' options."""
    params = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return params, {i: b.clone() for i, b in buffers(optimizer).items()}, groups


def assert_unchanged(optimizer: torch.optim.Optimizer, before: tuple[Any, Any, Any], *, groups: bool = True) -> None:
    """Nothing differs from `before`, bit for bit. groups=False leaves out options that the test itself wrote."""
    params, saved, options = snapshot(optimizer)
    assert_same_bits(params, before[0], "parameter")
    assert saved.keys() == before[1].keys()
    assert_same_bits(saved.values(), before[1].values(), "buffer")
    counts = ("step_count", "held_steps")
    for present, earlier in zip(options, before[2], strict=True):
        names = present.keys() | earlier.keys() if groups else counts
        assert {name: present.get(name) for name in names} == {name: earlier.get(name) for name in names}
