"""As new_rule_cases.py: trains on a GPU, or on what stands in for one, and has the bits of the CPU."""

import sys
from typing import Any

import cuda_tensors
import numpy as np
import standin_driver
import torch
from cuda_places import GpuPlace, Place, Sides, StandinPlace
from new_rule_cases import FLAGS, native, report, values
from torch import Tensor

UNAVAILABLE = "unavailable: "
NEWEST = 13000  # of the stand-in's drivers: it takes the PTX of every NVRTC
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def leaves() -> list[Tensor]:
    sizes = [(5,), (1,), (0,), (17, 3), (131,), (1, 9000)]
    return [values(int(np.prod(size)), dtype).reshape(size) for dtype in DTYPES for size in sizes]


def sides_with(place: Place, **options: Any) -> Sides:
    sides = Sides(place, leaves(), lambda params: native(params, **options))
    sides.refill(0)
    return sides


def check_steps_on_the_device(place: Place) -> None:
    for options in FLAGS:
        sides = sides_with(place, **options)
        sides.updates(range(5))
        if place.records is not None:
            launched = {launch["kernel"] for launch in place.records.launches()}
            assert launched == {"fastlr_sway_prepare", "fastlr_sway_mixed"}


def check_replays_of_a_graph(place: Place) -> None:
    sides = sides_with(place)
    for step in range(3):
        sides.refill(step)
        sides.step()
    with place.capture() as graph:
        sides.gpu.step()
    for step in range(3, 14):
        sides.refill(step)
        graph.replay()
        sides.cpu.step()
    sides.gpu.sync()
    sides.check("after 11 replays")
    assert sides.gpu.step_count == 14


CHECKS = [check_steps_on_the_device, check_replays_of_a_graph]


def device() -> Place:
    """A GPU, or what stands in for one."""
    if torch.cuda.is_available():
        return GpuPlace()
    cuda_tensors.types()
    standin = standin_driver.load()
    standin.configure(driver=NEWEST)
    return StandinPlace(standin)


if __name__ == "__main__":
    try:
        place = device()
    except standin_driver.Unavailable as problem:
        sys.exit(f"{UNAVAILABLE}{problem}")
    report(CHECKS, place)
