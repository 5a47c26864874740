"""Compile kernels.cu for GPUs with NVRTC, and write the C++ source that embeds the results.

usage: compile_images.py check ARCHITECTURE...              what would be built; status 1 where there is no compiler
       compile_images.py embed SOURCE.cpp ARCHITECTURE...    images beside SOURCE.cpp; those already there are kept
                         --from FOLDER                       images that an earlier run left there are not made again

ARCHITECTURE is written as in CMake: 86-real for machine code, 86-virtual for PTX, 86 for both; `default` is the list
of the wheels. NVRTC comes from the Python package nvidia-cuda-nvrtc-cu12. The standard library is enough.
"""

import argparse
import ctypes
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
INCLUDE_FOLDER = HERE.parent
KERNELS = HERE / "kernels.cu"

# Machine code runs on later minor versions of its architecture too; the PTX is for what is newer than all of them.
DEFAULT = ("70-real", "75-real", "80-real", "86-real", "90-real", "100-real", "120-real", "80-virtual")

# Images of CUDA 12 load on every driver since 525. No other minor version's machine code is inspected by the checks.
PACKAGE = "nvidia-cuda-nvrtc-cu12"
NEEDED = "12.9"
# NVRTC refuses host functions, which our headers hold too: by default it takes a function to be the device's.
OPTIONS = ("--std=c++17", "--fmad=false", "--device-as-default-execution-space")

# About sm_70, which the needed version still compiles for. No option silences it.
EXPECTED_NOTE = re.compile(r"nvrtc: warning: Architectures prior to .* are deprecated.*\n?")

# Drivers of CUDA 12.0 pass at most this many bytes of arguments, and know no architecture above that.
SHORT_BYTES = 4096
LAST_SHORT = 90

# NVRTC brings no system headers. These give what ours use of them.
SYSTEM_HEADERS = {
    "cmath": "namespace std { using ::fma; using ::sqrt; }\n",
    "cstddef": "namespace std { using ::size_t; }\n",
    "cstdint": "".join(
        f"typedef {sign} {name} {prefix}int{bits}_t;\n"
        for bits, name in ((8, "char"), (16, "short"), (32, "int"), (64, "long"))
        for sign, prefix in (("signed", ""), ("unsigned", "u"))
    )
    + "typedef unsigned long uintptr_t;\n#define INT64_MAX 0x7fffffffffffffffl\n",
    "cstring": "",
}


class BuildError(Exception):
    """Shown without a traceback."""


@dataclass(frozen=True)
class Image:
    architecture: int
    is_ptx: bool
    long_arguments: bool

    @property
    def target(self) -> str:
        return f"{'compute' if self.is_ptx else 'sm'}_{self.architecture}"

    @property
    def name(self) -> str:
        return f"{self.target}_{'long' if self.long_arguments else 'short'}"

    @property
    def options(self) -> list[str]:
        size = [] if self.long_arguments else [f"-DFASTLR_ARGUMENT_BYTES={SHORT_BYTES}"]
        return [f"--gpu-architecture={self.target}", *OPTIONS, *size]


def images_for(entry: str) -> list[Image]:
    """The images that one entry of the list asks for."""
    if entry == "default":
        return [image for one in DEFAULT for image in images_for(one)]
    match = re.fullmatch(r"(\d+)(-real|-virtual)?", entry)
    if not match:
        raise BuildError(f"no architecture: {entry}. Write default, 86-real, 86-virtual or 86.")
    architecture, kind = int(match[1]), match[2]
    images = []
    if kind != "-virtual":
        images.append(Image(architecture, is_ptx=False, long_arguments=True))
        if architecture <= LAST_SHORT:
            images.append(Image(architecture, is_ptx=False, long_arguments=False))
    if kind != "-real":
        images.append(Image(architecture, is_ptx=True, long_arguments=True))
    return images


def sources(start: Path) -> dict[str, str]:
    """The texts that `start` includes, directly or not, by the name in the #include. NVRTC sees these and no others."""
    found: dict[str, str] = {}
    waiting = [start.read_text(encoding="utf-8")]
    while waiting:
        for opening, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', waiting.pop(), re.MULTILINE):
            if name in found:
                continue
            if opening == "<" and name not in SYSTEM_HEADERS:
                raise BuildError(f"no such header for GPUs: <{name}>. Add it to SYSTEM_HEADERS or do not include it.")
            found[name] = (
                SYSTEM_HEADERS[name] if opening == "<" else (INCLUDE_FOLDER / name).read_text(encoding="utf-8")
            )
            waiting.append(found[name])
    return found


def find_compiler() -> tuple[Path, str]:
    """NVRTC's folder and version."""
    install = f"Install {PACKAGE}=={NEEDED}.*."
    try:
        spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
        version = importlib.metadata.version(PACKAGE)
    except ModuleNotFoundError:  # also for a package without metadata
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(f"NVRTC is not installed: {PACKAGE}. {install}")
    if not version.startswith(NEEDED + "."):
        raise BuildError(f"NVRTC {NEEDED} is needed: {version} is installed. {install}")
    return Path(spec.submodule_search_locations[0]) / "lib", version


class Compiler:
    """The entry points of NVRTC that one compilation needs."""

    def __init__(self, folder: Path) -> None:
        for builtins in folder.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins))  # NVRTC opens it by its bare name
        self.dll = ctypes.CDLL(str(folder / "libnvrtc.so.12"))
        self.dll.nvrtcGetErrorString.restype = ctypes.c_char_p

    def call(self, name: str, *arguments: object) -> str:
        """The error's name, empty where there is none."""
        code = getattr(self.dll, name)(*arguments)
        return self.dll.nvrtcGetErrorString(code).decode() if code else ""

    def read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        failed = self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        failed = failed or self.call(f"nvrtcGet{what}", program, text)
        if failed:
            raise BuildError(f"NVRTC gives no {what}: {failed}.")
        return text.raw

    def compile(self, image: Image, text: str, headers: dict[str, str]) -> bytes:
        """The image. Whatever the compiler says is an error, a warning too."""
        names = (ctypes.c_char_p * len(headers))(*map(str.encode, headers))
        texts = (ctypes.c_char_p * len(headers))(*map(str.encode, headers.values()))
        options = (ctypes.c_char_p * len(image.options))(*map(str.encode, image.options))
        program = ctypes.c_void_p()
        failed = self.call(
            "nvrtcCreateProgram", ctypes.byref(program), text.encode(), KERNELS.name.encode(), len(names), texts, names
        )
        if failed:
            raise BuildError(f"NVRTC makes no program: {failed}.")
        failed = self.call("nvrtcCompileProgram", program, len(options), options)
        log = EXPECTED_NOTE.sub("", self.read(program, "ProgramLog").rstrip(b"\0").decode()).strip()
        if failed or log:
            raise BuildError(f"{failed or 'warnings are errors'}.\n{log}")
        return self.read(program, "PTX").rstrip(b"\0") if image.is_ptx else self.read(program, "CUBIN")


def write(path: Path, content: bytes) -> None:
    """At once, so that an interrupted build leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    partial.replace(path)


def compile_one(output: Path, name: str) -> None:
    kind, architecture, size = name.split("_")
    image = Image(int(architecture), is_ptx=kind == "compute", long_arguments=size == "long")
    compiler = Compiler(find_compiler()[0])
    write(output, compiler.compile(image, KERNELS.read_text(encoding="utf-8"), sources(KERNELS)))


def compile_all(folder: Path, images: list[Image], earlier: Path | None) -> dict[Image, Path]:
    """Each image's file, named with a digest of all that it is made from. Those in neither folder are made."""
    inputs = repr((find_compiler()[1], KERNELS.read_text(encoding="utf-8"), sources(KERNELS)))
    files = {}
    for image in images:
        digest = hashlib.sha256((inputs + repr(image.options)).encode()).hexdigest()[:16]
        files[image] = folder / f"{image.name}.{digest}.{'ptx' if image.is_ptx else 'cubin'}"
    for old in folder.glob("*.*.*"):
        if old.suffix in (".cubin", ".ptx") and old not in files.values():
            old.unlink()

    def run(image: Image) -> str:
        command = [sys.executable, __file__, "one", str(files[image]), image.name]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return (result.stdout.strip() or f"exit status {result.returncode}") if result.returncode else ""

    for path in files.values():
        if earlier is not None and not path.exists() and (earlier / path.name).exists():
            write(path, (earlier / path.name).read_bytes())
    missing = [image for image in images if not files[image].exists()]
    failed: dict[str, list[str]] = {}  # images by their logs, which mostly say the same
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for image, log in zip(missing, pool.map(run, missing), strict=True):
            failed.setdefault(log, []).append(image.name)
    failed.pop("", None)
    if failed:
        raise BuildError("\n".join(f"{', '.join(names)}: {log}" for log, names in failed.items()))
    return files


def embedding(files: dict[Image, Path]) -> str:
    """C++ that takes in each file through the assembler."""
    lines = ['// Written by compile_images.py.\n#include "cuda/images.h"\n']
    for image, path in files.items():
        symbol = f"fastlr_{image.name}"
        assembly = [".pushsection .rodata", ".balign 16", f".globl {symbol}", f".hidden {symbol}", f"{symbol}:"]
        assembly += [f'.incbin "{path}"', ".byte 0", ".popsection"]
        lines.append(f'asm(R"({"; ".join(assembly)})");')
        lines.append(f'extern "C" __attribute__((visibility("hidden"))) const unsigned char {symbol}[];\n')
    lines.append("std::vector<fastlr::cuda::Image> fastlr::cuda::images() {\n  return {")
    for image, path in files.items():
        flags = ", ".join(str(flag).lower() for flag in (image.is_ptx, image.long_arguments))
        lines.append(f"    {{{image.architecture}, {flags}, fastlr_{image.name}, {path.stat().st_size}}},")
    return "\n".join([*lines, "  };\n}\n"])


def check(images: list[Image]) -> None:
    found = find_compiler()[1]
    targets = dict.fromkeys(image.target + (" (PTX)" if image.is_ptx else "") for image in images)
    print(f"{', '.join(targets) or 'nothing'}, compiled by NVRTC {found}")


def embed(output: Path, images: list[Image], earlier: Path | None) -> None:
    files = compile_all(output.resolve().parent, images, earlier) if images else {}
    write(output, embedding(files).encode())


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    checking, embedding_, one = (commands.add_parser(name) for name in ("check", "embed", "one"))
    embedding_.add_argument("output", type=Path)
    embedding_.add_argument("--from", dest="earlier", type=Path, metavar="FOLDER")
    for command in (checking, embedding_):
        command.add_argument("architectures", nargs="*", metavar="ARCHITECTURE")
    one.add_argument("output", type=Path)
    one.add_argument("name")
    arguments = parser.parse_args()
    try:
        entries = getattr(arguments, "architectures", [])
        arguments.images = list(dict.fromkeys(image for entry in entries for image in images_for(entry)))
    except BuildError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    return arguments


def main() -> int:
    arguments = parse_arguments()
    try:
        if arguments.command == "one":
            compile_one(arguments.output, arguments.name)
        elif arguments.command == "check":
            check(arguments.images)
        else:
            embed(arguments.output, arguments.images, arguments.earlier)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
