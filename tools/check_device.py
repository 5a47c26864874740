"""Check the machine code of the kernels: what it takes of a multiprocessor, and what its loops do.

usage: check_device.py FOLDER    with the images that compile_images.py wrote. REQUIRE_NVCC=1: fail without nvcc
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from device_code import Instruction, Resources, constants, cubins, image_name, inner_loops, instructions, resources

SOURCES = Path(__file__).resolve().parents[1] / "csrc"
VECTOR_BYTES = 16
MAX_ARGUMENTS = {"long": 32764, "short": 4096}


@dataclass(frozen=True)
class Form:
    """What rules/sgd.h does to one element: arrays read and written, and its operations with every option on."""

    name: str
    loads: int
    stores: int
    fmas: int
    products: int


FORMS = (
    Form("off", loads=2, stores=1, fmas=2, products=1),  # direction * grad; decay, step
    Form("first", loads=2, stores=2, fmas=3, products=1),  # and Nesterov's
    Form("later", loads=3, stores=2, fmas=4, products=2),  # and momentum * buffer; dampening
)


@dataclass(frozen=True)
class Element:
    name: str
    bytes: int
    prefix: str  # of the operations it is computed with


ELEMENTS = (
    Element("float32", 4, "F"),
    Element("float64", 8, "D"),
    Element("float16", 2, "F"),
    Element("bfloat16", 2, "F"),
)
KERNELS: dict[str, tuple[Element, ...]] = {f"fastlr_sgd_{element.name}": (element,) for element in ELEMENTS}
KERNELS |= {"fastlr_sgd_mixed": ELEMENTS, "fastlr_prepare": (), "fastlr_evaluate": ()}


@dataclass(frozen=True)
class Work:
    """What one turn of a loop does, for one thread."""

    loads: int  # of 16 bytes
    stores: int
    narrow: int  # loads and stores of less
    in_flight: int  # loads before the first instruction that uses what one of them brings
    arithmetic: tuple[tuple[str, int], ...]  # float32 and float64 instructions

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.arithmetic)
        return (
            f"{self.loads} loads ({self.in_flight} before the first use) and {self.stores} stores of {VECTOR_BYTES} "
            f"bytes, {self.narrow} of fewer, {counts}"
        )


def needed(element: Element, form: Form, vectors: int) -> Work:
    lanes = vectors * VECTOR_BYTES // element.bytes
    arithmetic = ((f"{element.prefix}FMA", form.fmas * lanes), (f"{element.prefix}MUL", form.products * lanes))
    return Work(form.loads * vectors, form.stores * vectors, 0, form.loads * vectors, arithmetic)


def registers(operand: str) -> set[int]:
    return {int(number) for number in re.findall(r"\bR(\d+)", operand)}


def loads_in_flight(loop: list[Instruction]) -> int:
    loaded: set[int] = set()
    count = 0
    for now in loop:
        sources = now.operands if now.is_global_store else now.operands[1:]
        if any(loaded & registers(operand) for operand in sources):
            break
        if now.is_global_load:
            (first,) = registers(now.operands[0])
            loaded |= set(range(first, first + now.bytes // 4))
            count += 1
    return count


def work_of(loop: list[Instruction]) -> Work:
    accesses = [now for now in loop if now.is_global_load or now.is_global_store]
    wide = [now for now in accesses if now.bytes == VECTOR_BYTES]
    arithmetic = Counter(now.operation for now in loop if re.fullmatch(r"F(FMA|MUL|ADD)2?|D[A-Z]+", now.operation))
    return Work(
        loads=sum(now.is_global_load for now in wide),
        stores=sum(now.is_global_store for now in wide),
        narrow=len(accesses) - len(wide),
        in_flight=loads_in_flight(loop),
        arithmetic=tuple(sorted(arithmetic.items())),
    )


def loop_problems(loops: list[list[Instruction]], elements: tuple[Element, ...], vectors: int) -> Iterator[str]:
    """What differs from one loop for each element type and form, and one each for the vectors that are left over."""
    wanted = Counter(needed(element, form, count) for element in elements for form in FORMS for count in (vectors, 1))
    names: dict[Work, str] = {}
    for element in elements:
        for form in FORMS:
            for count in (vectors, 1):
                names.setdefault(needed(element, form, count), f"{element.name}, momentum {form.name}, {count} vectors")
    found = Counter(work for work in map(work_of, loops) if work.loads)
    for work in (wanted - found).elements():
        yield f"no loop of {names[work]} has {work}"
    for work in (found - wanted).elements():
        yield f"a loop has {work}"


def resource_problems(kernel: Resources, max_arguments: int) -> Iterator[str]:
    if kernel.stack or kernel.local:
        yield f"a stack of {kernel.stack} and local memory of {kernel.local} bytes"
    if kernel.arguments > max_arguments:
        yield f"more than {max_arguments} bytes of arguments: {kernel.arguments}"


def code_problems(code: list[Instruction]) -> Iterator[str]:
    spills = sum(now.operation in ("LDL", "STL") for now in code)
    if spills:
        yield f"{spills} loads and stores of local memory"


def image_problems(cubin: Path, found: dict[str, Resources], vectors: int) -> Iterator[str]:
    if found.keys() != KERNELS.keys():
        yield f"other kernels than {', '.join(sorted(KERNELS))}: {', '.join(sorted(found))}"
    for kernel in sorted(found.keys() & KERNELS.keys()):
        code = instructions(cubin, kernel)
        problems = [*resource_problems(found[kernel], MAX_ARGUMENTS[image_name(cubin)[1]]), *code_problems(code)]
        problems += loop_problems(list(inner_loops(code)), KERNELS[kernel], vectors)
        yield from (f"{kernel}: {problem}" for problem in problems)


def check_images(folder: Path) -> list[str]:
    vectors = constants((SOURCES / "cuda/state.h").read_text())["kVectors"]
    names = sorted(KERNELS)
    print("| registers of a thread |", " | ".join(name.removeprefix("fastlr_") for name in names), "|")
    print("|---|" + "---:|" * len(names))
    images: dict[str, list[str]] = {}  # by their problems, which mostly are the same
    for cubin in cubins(folder):
        image = cubin.name.split(".")[0]
        found = resources(cubin)
        cells = [str(found[name].registers) if name in found else "-" for name in names]
        print(f"| {image} |", " | ".join(cells), "|")
        for problem in dict.fromkeys(image_problems(cubin, found, vectors)):
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
