"""The rules of the design that text search can check. CONTRIBUTING.md says what each is for.

usage: check_invariants.py [ROOT]
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_LINES = 300
SOURCE_SUFFIXES = {".py", ".pyi", ".h", ".cpp", ".cu"}
SKIPPED_FOLDERS = {"build", "dist", "wheelhouse", "fastlr-demo", "__pycache__"}


@dataclass(frozen=True)
class Rule:
    """`pattern` may appear in the files that match `where` only if they match `allowed` too. Both match whole paths."""

    name: str
    pattern: str
    where: str
    allowed: str = r"(?!)"
    comments: bool = False  # comments count too


NATIVE = r"csrc/.*"
# Built from parts, so that this file holds no such path itself.
MACHINE_PATH = r"(?<![\w.~])/(?:" + "|".join(("home", "root", "tmp", "work", "Users")) + r")/"

HYPER = r"\b(?:momentum|weight_decay|step_size|gradient_weight|dampening)\b"

RULES = (
    Rule(
        "the rules' arithmetic only in rules/",
        rf"{HYPER}\s*\*|\*=?\s*(?:[\w\]]+(?:\.|->))*{HYPER}",
        NATIVE,
        r"csrc/rules/.*",
    ),
    Rule(
        "fused multiply-adds only in norm/, rules/, rule/ and schedule/",
        r"\bfmaf?\s*\(|__builtin_fma|__fmaf?_r[dnuz]|\bfma\.r[mnpz]",
        NATIVE,
        r"csrc/(norm|rules?|schedule)/.*",
    ),
    Rule(
        "functions of libm only in schedule/",
        r"\b(?:std::|::|__)?(?:a?(?:cos|sin|tan)h?|exp(?:2|10)?|expm1|log(?:2|10|1p)?|pow)f?\s*\("
        r"|\b(?:cos|ex2|lg2|sin|tanh)\.(?:approx|r)",
        NATIVE,
        r"csrc/schedule/.*",
    ),
    Rule(  # which IEEE rounds
        "square roots only in norm/, rules/ and schedule/",
        r"\b(?:std::|::|__)?sqrtf?\s*\(|__[df]sqrt_r|\br?sqrt\.(?:approx|r)",
        NATIVE,
        r"csrc/(norm|rules|schedule)/.*",
    ),
    Rule("no headers of torch or of the CUDA runtime", r"#\s*include\s*[<\"](?:torch|ATen|c10|cuda_runtime)", NATIVE),
    Rule(
        "pybind11 only in bindings.cpp and tensor/",
        r"\bpybind11\b|\bpy::",
        NATIVE,
        r"csrc/(bindings\.cpp|tensor/.*)",
    ),
    Rule(
        "no conditional code for CUDA outside cuda/ and host_device.h",
        r"#\s*(?:el)?if.*CUDA",
        NATIVE,
        r"csrc/(cuda/.*|host_device\.h)",
    ),
    Rule("no paths of one machine", MACHINE_PATH, r".*", comments=True),
)


def without_comments(path: str, text: str) -> str:
    """C++ text with its comments blanked; the line breaks stay."""
    if not path.startswith("csrc/"):
        return text
    return re.sub(r"//[^\n]*|/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)


def violations(path: str, text: str) -> Iterator[str]:
    """What a file at `path`, relative to the root, breaks."""
    code = without_comments(path, text)
    for rule in RULES:
        if not re.fullmatch(rule.where, path) or re.fullmatch(rule.allowed, path):
            continue
        for number, line in enumerate((text if rule.comments else code).split("\n"), 1):
            if re.search(rule.pattern, line):
                yield f"{path}:{number}: {rule.name}: {line.strip()}"
    size = text.count("\n")
    if Path(path).suffix in SOURCE_SUFFIXES and size > MAX_LINES:
        yield f"{path}: at most {MAX_LINES} lines: {size}"


def sources(root: Path) -> Iterator[Path]:
    """The project's text files, hidden folders other than .ci left out."""
    for path in sorted(root.rglob("*")):
        folders = path.relative_to(root).parts[:-1]
        hidden = any(name.startswith(".") and name != ".ci" for name in folders)
        if path.is_file() and not hidden and not SKIPPED_FOLDERS.intersection(folders):
            yield path


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    broken, seen = 0, 0
    for path in sources(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture or another binary file
            continue
        seen += 1
        for violation in violations(path.relative_to(root).as_posix(), text):
            print(violation, file=sys.stderr)
            broken += 1
    print(f"invariants: {seen} files, {broken} violations")
    return 1 if broken or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
