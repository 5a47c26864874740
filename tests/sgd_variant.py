"""Run as a program: compare fastlr.SGD with torch's under the environment it was started with, and say what was used.

Prints one JSON line; a mismatch raises. Kept small, since every instruction set needs a process of its own.
"""

import json
from typing import Any

import torch
from sgd_cases import LAYOUTS, NATIVE, OPTIONS, assert_same_state, filled, set_gradients, torch_sgd
from sgd_reference import Hyper, update_16bit

import fastlr
from fastlr import _core


def compare_with_torch(options: dict[str, Any], dtype: torch.dtype) -> None:
    sides = []
    for make in (fastlr.SGD, torch_sgd):
        params = [filled(layout, dtype, seed) for seed, layout in enumerate(LAYOUTS)]
        sides.append(make(params, lr=0.1, **options))
    for step in range(7):
        for optimizer in sides:
            set_gradients(optimizer.param_groups[0]["params"], step)
            optimizer.step()
        assert_same_state(sides[0], sides[1], where=f"{dtype} {options} after update {step}")


def compare_with_oracle(options: dict[str, Any], dtype: torch.dtype) -> None:
    param, grad = filled("257", dtype, 0), filled("257", dtype, 1).detach()
    expected, buffer = param.detach().clone(), None
    optimizer = fastlr.SGD([param], lr=0.1, **options)
    for _ in range(3):
        param.grad = grad
        expected, buffer = update_16bit(Hyper(lr=0.1, **options), expected, grad, buffer)
        optimizer.step()
    assert torch.equal(param, expected), f"{dtype} {options}"


def main() -> None:
    for options in OPTIONS:
        for dtype in (torch.float32, torch.float64):
            compare_with_torch(options, dtype)
        for dtype in (torch.float16, torch.bfloat16):
            if NATIVE:  # elsewhere torch's own operators round each operation
                compare_with_oracle(options, dtype)
    print(json.dumps({"capability": _core.cpu_capability(), "access": _core.tensor_access()}))


if __name__ == "__main__":
    main()
