"""What the kernels' machine code and public figures of GPUs say about a step: computed, nothing measured.

usage: occupancy.py FOLDER [--json]    FOLDER with the images that csrc/cuda/compile_images.py wrote

- A multiprocessor keeps bandwidth busy if it has bandwidth x latency bytes on the way (Little's law).
- A step takes at least the time to move its bytes and the time to issue its instructions, whichever is longer. The
  launch itself, some microseconds, and the uneven ends of blocks come on top.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from math import prod
from pathlib import Path

from device_code import Resources, constants, cubins, image_name, inner_loops, instructions, resources
from device_loops import ELEMENTS, RULES, VECTOR_BYTES, Element, Form, Rule, needed, work_of
from load_file import ROOT, load_file

LATENCY = 700e-9  # of memory under load, seconds
WARP = 32
ISSUED_PER_CLOCK = 4 * WARP  # instructions of threads; four schedulers in every multiprocessor here
REGISTERS = 65536
REGISTER_UNIT = 8  # registers of a thread are given out in these


@dataclass(frozen=True)
class Limits:
    """Of a multiprocessor, from the CUDA programming guide's table of compute capabilities."""

    threads: int
    blocks: int
    shared: int


LIMITS = {
    70: Limits(2048, 32, 96 << 10),
    75: Limits(1024, 16, 64 << 10),
    80: Limits(2048, 32, 164 << 10),
    86: Limits(1536, 16, 100 << 10),
    90: Limits(2048, 32, 228 << 10),
    100: Limits(2048, 32, 228 << 10),
    120: Limits(1536, 24, 100 << 10),
}


@dataclass(frozen=True)
class Gpu:
    """A100 and H100 from NVIDIA's data sheets, B200 from published comparisons. The clock is that of the FP32 peak."""

    name: str
    architecture: int
    multiprocessors: int
    bandwidth: float  # bytes a second
    clock: float  # Hz


GPUS = (
    Gpu("A100 SXM 80 GB", 80, 108, 2.039e12, 1.41e9),
    Gpu("H100 SXM", 90, 132, 3.35e12, 1.98e9),
    Gpu("B200", 100, 148, 7.7e12, 1.98e9),
)
MODELS = ("resnet50", "vit-base", "gpt2", "llama-1b")


code_of = cache(instructions)
resources_of = cache(resources)


@cache
def sizes() -> dict[str, int]:
    """The constants that the kernels and their launches are written with."""
    return constants((ROOT / "csrc/cuda/state.h").read_text()) | constants((ROOT / "csrc/cuda/launch.cpp").read_text())


def shape_lists() -> dict[str, list[int]]:
    """Elements of each tensor. The file is loaded by itself: the package needs its extension and torch."""
    lists = load_file("fastlr/benchmarks/shapes.py").LARGE_SHAPE_LISTS
    return {name: [prod(shape) for shape in lists[name].shapes] for name in MODELS}


def blocks_resident(kernel: Resources, limits: Limits, threads: int) -> tuple[int, str]:
    """On one multiprocessor, and what limits them."""
    registers = -(-kernel.registers // REGISTER_UNIT) * REGISTER_UNIT
    bounds = {
        "threads": limits.threads // threads,
        "registers": REGISTERS // (registers * threads),
        "blocks": limits.blocks,
        "shared memory": limits.shared // max(kernel.shared, 1),
    }
    tightest = min(bounds, key=lambda name: bounds[name])
    return bounds[tightest], tightest


@dataclass(frozen=True)
class Loop:
    """The main loop of one element type and form, for one thread."""

    elements: int
    loaded: int  # bytes on the way at a time
    moved: int  # bytes
    instructions: int

    @property
    def bytes_per_element(self) -> float:
        return self.moved / self.elements

    @property
    def instructions_per_element(self) -> float:
        return self.instructions / self.elements


def main_loop(cubin: Path, rule: Rule, element: Element, form: Form) -> Loop:
    wanted = needed(element, form, rule.vectors)
    for loop in inner_loops(code_of(cubin, element.kernel(rule))):
        work = work_of(loop)
        if replace(work, in_flight=wanted.in_flight) == wanted:
            moved = (work.loads + work.stores) * VECTOR_BYTES
            elements = rule.vectors * VECTOR_BYTES // element.bytes
            return Loop(elements, work.in_flight * VECTOR_BYTES, moved, len(loop))
    raise ValueError(f"no main loop of {element.name} in {cubin.name}. tools/check_device.py says more.")


@dataclass(frozen=True)
class Step:
    launches: int
    blocks: int
    waves: float
    seconds: float
    bound: str
    issuing: float  # the share of that time in which instructions are issued


def tensors_in_a_launch(rule: Rule) -> int:
    """step_tensors() of csrc/cuda/state.h, with the long arguments."""
    return (sizes()["kLongArguments"] - 24) // (8 * (3 + rule.states) + 11) // 8 * 8


def step_of(tensors: list[int], rule: Rule, element: Element, loop: Loop, resident: int, gpu: Gpu) -> Step:
    """The chunks are those of csrc/cuda/launch.cpp for tensors that begin at 16-byte boundaries."""
    tile = sizes()["kTileBytes"]
    tiles = sum(-(-size * element.bytes // tile) for size in tensors)
    wanted = tiles // (gpu.multiprocessors * sizes()["kBlocksEach"])
    chunk = tile * max(1, min(wanted, sizes()["kMostTiles"]))
    blocks = 1 + sum(-(-size * element.bytes // chunk) for size in tensors)  # one evaluates the next values
    elements = sum(tensors)
    times = {
        "bandwidth": elements * loop.bytes_per_element / gpu.bandwidth,
        "instructions": elements * loop.instructions_per_element / (gpu.multiprocessors * ISSUED_PER_CLOCK * gpu.clock),
    }
    bound = max(times, key=lambda name: times[name])
    launches = -(-len(tensors) // tensors_in_a_launch(rule))
    waves = blocks / (gpu.multiprocessors * resident)
    return Step(launches, blocks, waves, times[bound], bound, times["instructions"] / times[bound])


Row = dict[str, object]


def occupancy_rows(folder: Path) -> Iterator[Row]:
    for cubin in cubins(folder):
        architecture, size = image_name(cubin)
        if size != "long" or architecture not in LIMITS:
            continue
        for name, kernel in sorted(resources_of(cubin).items()):
            threads = sizes()["kEvaluateThreads" if name == "fastlr_evaluate" else "kThreads"]
            blocks, limit = blocks_resident(kernel, LIMITS[architecture], threads)
            yield {
                "architecture": f"sm_{architecture}",
                "kernel": name,
                "registers": kernel.registers,
                "shared memory": kernel.shared,
                "threads a multiprocessor": blocks * threads,
                "limited by": limit,
            }


def resident_blocks(cubin: Path, rule: Rule, element: Element, gpu: Gpu) -> int:
    kernel = resources_of(cubin)[element.kernel(rule)]
    return blocks_resident(kernel, LIMITS[gpu.architecture], sizes()["kThreads"])[0]


def traffic_rows(images: dict[int, Path]) -> Iterator[Row]:
    for rule, element in product(RULES.values(), ELEMENTS):
        for form in rule.forms:
            for gpu in GPUS:
                cubin = images[gpu.architecture]
                loop = main_loop(cubin, rule, element, form)
                blocks = resident_blocks(cubin, rule, element, gpu)
                yield {
                    "rule": rule.name,
                    "dtype": element.name,
                    "form": form.name,
                    "GPU": gpu.name,
                    "bytes an element": loop.bytes_per_element,
                    "instructions an element": round(loop.instructions_per_element, 1),
                    "KB on the way": round(blocks * sizes()["kThreads"] * loop.loaded / 1000, 1),
                    "KB needed": round(gpu.bandwidth / gpu.multiprocessors * LATENCY / 1000, 1),
                }


def model_rows(images: dict[int, Path]) -> Iterator[Row]:
    """SGD with momentum after the first step, Adam without amsgrad, Lion; in the dtypes that have kernels."""
    for (name, tensors), rule in product(shape_lists().items(), RULES.values()):
        for element in ELEMENTS:
            if not element.has_kernel:
                continue
            for gpu in GPUS:
                cubin = images[gpu.architecture]
                loop = main_loop(cubin, rule, element, rule.forms[-1])
                step = step_of(tensors, rule, element, loop, resident_blocks(cubin, rule, element, gpu), gpu)
                yield {
                    "rule": rule.name,
                    "model": name,
                    "parameters": sum(tensors),
                    "dtype": element.name,
                    "GPU": gpu.name,
                    "launches": step.launches,
                    "blocks": step.blocks,
                    "waves": round(step.waves, 1),
                    "computed, us": round(step.seconds * 1e6, 1),
                    "bound by": step.bound,
                    "issuing, %": round(100 * step.issuing),
                }


def table(rows: Iterable[Row]) -> str:
    rows = list(rows)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    images = {image_name(cubin)[0]: cubin for cubin in reversed(cubins(arguments.folder))}
    missing = [f"sm_{gpu.architecture}" for gpu in GPUS if gpu.architecture not in images]
    if missing:
        print(
            f"no images in {arguments.folder}: {', '.join(missing)}. Run csrc/cuda/compile_images.py.", file=sys.stderr
        )
        return 1
    found = {
        "occupancy": list(occupancy_rows(arguments.folder)),
        "traffic": list(traffic_rows(images)),
        "steps": list(model_rows(images)),
    }
    if arguments.json:
        print(json.dumps({"computed, not measured": True, "gpus": [asdict(gpu) for gpu in GPUS], **found}, indent=2))
        return 0
    print("Computed from the machine code and from public figures of the GPUs; nothing here is measured.")
    for rows in found.values():
        print(f"\n{table(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
