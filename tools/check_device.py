"""Check the machine code of the kernels: what it takes of a multiprocessor, and what its loops do.

usage: check_device.py FOLDER    with the images that compile_images.py wrote. REQUIRE_NVCC=1: fail without nvcc
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from device_code import Instruction, Resources, cubins, image_name, inner_loops, instructions, resources
from device_loops import RULES, elements_of_kernels, loop_problems, norm_problems, recipe_problems

SOURCES = Path(__file__).resolve().parents[1] / "csrc"
MAX_ARGUMENTS = {"long": 32764, "short": 4096}
RECIPES = {f"fastlr_{name}_recipe": rule for name, rule in RULES.items()}
NORM = "fastlr_norm"
KERNELS = {*elements_of_kernels(), *RECIPES, *(f"fastlr_{rule}_prepare" for rule in RULES), "fastlr_evaluate", NORM}


def resource_problems(kernel: Resources, max_arguments: int) -> Iterator[str]:
    if kernel.stack or kernel.local:
        yield f"a stack of {kernel.stack} and local memory of {kernel.local} bytes"
    if kernel.arguments > max_arguments:
        yield f"more than {max_arguments} bytes of arguments: {kernel.arguments}"


def code_problems(code: list[Instruction]) -> Iterator[str]:
    spills = sum(step.operation in ("LDL", "STL") for step in code)
    if spills:
        yield f"{spills} loads and stores of local memory"


def inspect(cubin: Path) -> tuple[dict[str, Resources], list[str]]:
    """What its kernels take, and each of its problems once."""
    found = resources(cubin)
    return found, list(dict.fromkeys(image_problems(cubin, found)))


def image_problems(cubin: Path, found: dict[str, Resources]) -> Iterator[str]:
    if found.keys() != KERNELS:
        yield f"other kernels than {', '.join(sorted(KERNELS))}: {', '.join(sorted(found))}"
    for kernel in sorted(found.keys() & KERNELS):
        code = instructions(cubin, kernel)
        problems = [*resource_problems(found[kernel], MAX_ARGUMENTS[image_name(cubin)[1]]), *code_problems(code)]
        loops = list(inner_loops(code))
        if kernel in elements_of_kernels():
            problems += loop_problems(loops, *elements_of_kernels()[kernel])
        if kernel in RECIPES:
            problems += recipe_problems(loops, RECIPES[kernel])
        if kernel == NORM:
            problems += norm_problems(loops)
        yield from (f"{kernel}: {problem}" for problem in problems)


def check_images(folder: Path) -> list[str]:
    names = sorted(KERNELS)
    print("| registers of a thread |", " | ".join(name.removeprefix("fastlr_") for name in names), "|")
    print("|---|" + "---:|" * len(names))
    images: dict[str, list[str]] = {}  # by their problems, which mostly are the same
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        inspected = list(pool.map(inspect, cubins(folder)))
    for cubin, (found, problems) in zip(cubins(folder), inspected, strict=True):
        image = cubin.name.split(".")[0]
        cells = [str(found[name].registers) if name in found else "-" for name in names]
        print(f"| {image} |", " | ".join(cells), "|")
        for problem in problems:
            images.setdefault(problem, []).append(image)
    if not cubins(folder):
        return [f"no images: {folder}. Run csrc/cuda/compile_images.py."]
    return [f"{problem} ({', '.join(found_in)})" for problem, found_in in images.items()]


def nvcc_problems() -> list[str]:
    """A second compiler, for every architecture that it knows."""
    if not shutil.which("nvcc"):
        print("nvcc is not on PATH: not compiled with it")
        return ["nvcc is not on PATH"] if os.environ.get("REQUIRE_NVCC") == "1" else []
    listed = subprocess.run(["nvcc", "--list-gpu-code"], check=True, capture_output=True, text=True).stdout.split()
    options = ["-std=c++17", "-fmad=false", f"-I{SOURCES}", "-Werror", "all-warnings"]
    options += ["-Xptxas", "--warn-on-spills,--warn-on-local-memory-usage"]

    def compile_for(architecture: str) -> str:
        with tempfile.TemporaryDirectory() as scratch:
            command = ["nvcc", *options, f"-arch={architecture}", "--cubin", "-o", f"{scratch}/kernels.cubin"]
            result = subprocess.run([*command, SOURCES / "cuda/kernels.cu"], capture_output=True, text=True)
        return f"nvcc for {architecture}:\n{result.stdout}{result.stderr}" if result.returncode else ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(compile_for, listed) if problem]
    print(f"nvcc: {' '.join(listed)}: {len(problems)} with warnings, spills or errors")
    return problems


def main() -> int:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    problems = check_images(Path(sys.argv[1])) + nvcc_problems()
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
