"""What compiled kernels are made of: their resources, as cuobjdump says, and their instructions, as nvdisasm says."""

import importlib.metadata
import math
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

# nvdisasm of CUDA 13 no longer takes sm_70, whose encoding that of sm_75 contains.
DISASSEMBLED_AS = {70: 75}


@dataclass(frozen=True)
class Resources:
    """Of one kernel; bytes but for the registers of a thread. The system's share of shared memory is part of it."""

    registers: int
    stack: int
    shared: int
    local: int
    arguments: int


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str  # with its modifiers: LDG.E.128
    operands: tuple[str, ...]

    @property
    def operation(self) -> str:
        return self.name.split(".")[0]

    @property
    def modifiers(self) -> list[str]:
        return self.name.split(".")[1:]

    @property
    def target(self) -> int | None:
        """Where a branch goes."""
        found = re.fullmatch(r"0x[0-9a-f]+", self.operands[-1]) if self.operation == "BRA" and self.operands else None
        return int(found[0], 16) if found else None

    @property
    def is_global_load(self) -> bool:
        return self.operation in ("LDG", "LD")

    @property
    def is_global_store(self) -> bool:
        return self.operation in ("STG", "ST")

    @property
    def bytes(self) -> int:
        """Of a load or a store, for one thread."""
        widths = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}
        return next((widths[modifier] for modifier in self.modifiers if modifier in widths), 4)


def tool(name: str) -> Path:
    """A program of the package nvidia-cuda-NAME."""
    package = f"nvidia-cuda-{name}"
    for file in importlib.metadata.files(package) or []:
        if file.parts[-2:] == ("bin", name):
            return Path(str(file.locate()))
    raise FileNotFoundError(f"no program in {package}: {name}. Install it again.")


def run(name: str, *arguments: str | Path) -> str:
    return subprocess.run([tool(name), *arguments], check=True, capture_output=True, text=True).stdout


def parse_resources(usage: str, elf: str) -> dict[str, Resources]:
    """By kernel, from the texts of cuobjdump's -res-usage and -elf."""
    arguments: dict[str, int] = {}
    for section in re.split(r"^\.nv\.info\.", elf, flags=re.MULTILINE)[1:]:
        size = re.search(r"EIATTR_CBANK_PARAM_SIZE\s+Format:\s+EIFMT_HVAL\s+Value:\s+(0x\w+)", section)
        if size:
            arguments[section.split()[0]] = int(size[1], 16)
    kernel = r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)"
    return {
        name: Resources(int(registers), int(stack), int(shared), int(local), arguments[name])
        for name, registers, stack, shared, local in re.findall(kernel, usage)
    }


def image_name(cubin: Path) -> tuple[int, str]:
    """86 and `long`, of sm_86_long.DIGEST.cubin."""
    _, architecture, size = cubin.name.split(".")[0].split("_")
    return int(architecture), size


def cubins(folder: Path) -> list[Path]:
    """Those of the long images first."""
    return sorted(folder.glob("sm_*.cubin"), key=lambda path: (image_name(path)[1], image_name(path)[0]))


def resources(cubin: Path) -> dict[str, Resources]:
    return parse_resources(run("cuobjdump", "-res-usage", cubin), run("cuobjdump", "-elf", cubin))


def parse_instructions(sass: str) -> list[Instruction]:
    """From nvdisasm's text of raw code, in which branches go to addresses."""
    line = r"^\s+/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);"
    return [
        Instruction(int(address, 16), name, tuple(part.strip() for part in operands.split(",") if part.strip()))
        for address, name, operands in re.findall(line, sass, re.MULTILINE)
    ]


def instructions(cubin: Path, kernel: str) -> list[Instruction]:
    with cubin.open("rb") as file:
        section = ELFFile(file).get_section_by_name(f".text.{kernel}")
        if section is None:
            raise ValueError(f"no kernel in {cubin}: {kernel}. Build the images again.")
        code = section.data()
    with tempfile.NamedTemporaryFile(suffix=".bin") as raw:
        raw.write(code)
        raw.flush()
        architecture, _ = image_name(cubin)
        known = DISASSEMBLED_AS.get(architecture, architecture)
        return parse_instructions(run("nvdisasm", "--binary", f"SM{known}", raw.name))


def inner_loops(code: list[Instruction]) -> Iterator[list[Instruction]]:
    """The instructions between each backward branch and its target, of the loops that hold no other loop."""
    spans = [(step.target, step.address) for step in code if step.target is not None and step.target < step.address]
    for begin, end in spans:
        if not any((first, last) != (begin, end) and begin <= first and last <= end for first, last in spans):
            yield [step for step in code if begin <= step.address <= end]


def constants(source: str) -> dict[str, int]:
    """Whole constants of a source: numbers, and products of numbers and of constants above."""
    found: dict[str, int] = {}
    for name, value in re.findall(r"^constexpr int(?:32|64)_t (\w+) = ([\w *]+);", source, re.MULTILINE):
        factors = [found[factor] if factor in found else int(factor) for factor in re.split(r" \* ", value)]
        found[name] = math.prod(factors)
    return found
