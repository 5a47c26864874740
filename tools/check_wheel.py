"""Check repaired wheels: size, glibc tag, contents, code for GPUs, and what the extension links and exports.

usage: check_wheel.py WHEEL...
"""

import io
import re
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Symbol, SymbolTableSection
from load_file import load_file

MAX_BYTES = 5_000_000
MAX_GLIBC = (2, 28)
EM_CUDA = 190
SHIPPED = ("fastlr/_core.pyi", "fastlr/py.typed")
SYSTEM_LIBRARIES = re.compile(r"(libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|ld-linux-[\w-]+)\.so\.\d+")


def size_problems(size: int) -> list[str]:
    return [f"the wheel is too large: {size} bytes"] if size >= MAX_BYTES else []


def tag_problems(filename: str, audited: str) -> list[str]:
    """`audited` is the platform tag that auditwheel finds in the symbols."""
    tags = re.findall(r"manylinux_(\d+)_(\d+)_\w+?(?=\.|$)", filename)
    problems = []
    if not tags or any((int(major), int(minor)) > MAX_GLIBC for major, minor in tags):
        problems.append(f"no glibc tag up to {MAX_GLIBC} in the file's name: {filename}")
    if audited not in filename:
        problems.append(f"auditwheel finds another tag than {filename}: {audited}")
    return problems


def content_problems(names: Iterable[str]) -> list[str]:
    names = list(names)
    problems = [f"not in the wheel: {name}" for name in SHIPPED if name not in names]
    libraries = [name for name in names if re.search(r"\.so(\.|$)", name)]
    if len(libraries) != 1 or not libraries[0].startswith("fastlr/_core."):
        problems.append(f"exactly one library, fastlr/_core, is expected: {libraries}")
    return problems


def link_problems(needed: Iterable[str], exported: Iterable[str]) -> list[str]:
    """`exported`: the strong symbols; the C++ runtime inside must not meet another copy in the process."""
    problems = [f"links more than the system: {name}" for name in needed if not SYSTEM_LIBRARIES.fullmatch(name)]
    return problems + [f"exports a symbol: {name}" for name in exported if name != "PyInit__core"]


def is_strong_definition(symbol: Symbol) -> bool:
    return bool(symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] == "STB_GLOBAL")


def read_links(library: bytes) -> tuple[list[str], list[str]]:
    needed: list[str] = []
    exported: list[str] = []
    for section in ELFFile(io.BytesIO(library)).iter_sections():
        if isinstance(section, DynamicSection):
            needed += [tag.needed for tag in section.iter_tags("DT_NEEDED")]  # type: ignore[attr-defined]
        elif isinstance(section, SymbolTableSection) and section.name == ".dynsym":
            exported += [symbol.name for symbol in section.iter_symbols() if is_strong_definition(symbol)]
    return needed, exported


def embedded_images(library: bytes) -> Iterator[str]:
    """The target of each image in the extension: machine code is an ELF file of its own, PTX is text."""
    for match in re.finditer(rb"\x7fELF\x02", library):
        header = library[match.start() : match.start() + 64]
        if len(header) == 64 and struct.unpack_from("<H", header, 18) == (EM_CUDA,):
            (flags,) = struct.unpack_from("<I", header, 48)
            # Version 8 of CUDA's ELF files, of architectures from 100 on, keeps the number one byte higher.
            yield f"sm_{(flags >> 8 if header[8] >= 8 else flags) & 0xFF}"
    for architecture in re.findall(rb"^\.version [\d.]+\n\.target sm_(\d+)", library, re.MULTILINE):
        yield f"compute_{architecture.decode()}"


def image_problems(found: Iterable[str]) -> list[str]:
    wanted = Counter(image.target for image in load_file("csrc/cuda/compile_images.py").images_for("default"))
    counts = Counter(found)
    problems = [f"{count} images are missing: {target}" for target, count in sorted((wanted - counts).items())]
    return problems + [f"{count} images too many: {target}" for target, count in sorted((counts - wanted).items())]


def audited_tag(wheel: Path) -> str:
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r'platform tag:\s+"(\w+)"', shown)
    return found.group(1) if found else "none"


def check(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        libraries = [archive.read(name) for name in names if name.endswith(".so")]
    links = [read_links(library) for library in libraries]
    images = [image for library in libraries for image in embedded_images(library)]
    size = wheel.stat().st_size
    tag = audited_tag(wheel)
    libraries_needed = sorted({name for needed, _ in links for name in needed})
    print(f"{wheel.name}: {size / 1e6:.2f} MB, {tag}, needs {' '.join(libraries_needed)}")
    print(f"code for GPUs: {' '.join(dict.fromkeys(images))}")
    problems = size_problems(size) + tag_problems(wheel.name, tag) + content_problems(names) + image_problems(images)
    return problems + [problem for needed, exported in links for problem in link_problems(needed, exported)]


def main() -> int:
    wheels = [Path(name) for name in sys.argv[1:]]
    problems = [problem for wheel in wheels for problem in check(wheel)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems or not wheels else 0


if __name__ == "__main__":
    sys.exit(main())
