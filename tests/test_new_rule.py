"""docs/new_rule.md: its blocks make a fastlr with one more rule, which trains as the page says."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import new_rule_cases
import new_rule_device
import pytest
from sgd_cases import NATIVE

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PAGE = (ROOT / "docs" / "new_rule.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```\w+ (\S+)\n(.*?)```", PAGE, re.DOTALL))
HEADER, LIST, CLASS = "csrc/rules/sway.h", "csrc/rules/rules.h", "fastlr/optim/sway.py"


def unavailable(reason: str) -> NoReturn:
    if os.environ.get("FASTLR_REQUIRE_STANDIN") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def tool(name: str) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        unavailable(f"building needs {name}, which is not installed: pip install cmake ninja, and a C++ compiler")
    return found


class Tree:
    """A copy of the sources with the page's rule, and its build."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("csrc", "fastlr", "tests/standin"):
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        for file in ["CMakeLists.txt", *(f"tests/{path.name}" for path in TESTS.glob("*.py"))]:
            shutil.copy(ROOT / file, root / file)
        for path in (HEADER, CLASS):
            (root / path).write_text(BLOCKS[path], encoding="utf-8")
        present = (root / LIST).read_text(encoding="utf-8")
        (root / LIST).write_text(with_the_rule(present), encoding="utf-8")
        self.cmake = tool("cmake")
        self.configured = self._run(
            *("-S", ".", "-B", "build", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", "-DSKBUILD=1"),
            *("-DFASTLR_WERROR=ON", "-DCMAKE_CXX_FLAGS=-O0", "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=OFF"),
            *("-DFASTLR_CUDA_ARCHITECTURES=80-virtual", f"-DPython_EXECUTABLE={sys.executable}"),
            f"-Dpybind11_DIR={pybind11_folder()}",
        )

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([self.cmake, *arguments], cwd=self.root, capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            raise RuntimeError(done.stdout[-6000:] + done.stderr[-3000:])
        return done.stdout

    def build(self, package: str) -> None:
        """Build, and make a package of the result in that folder."""
        self._run("--build", "build", "--parallel", "2")
        home = self.root / package / "fastlr"
        shutil.copytree(self.root / "fastlr", home)
        (module,) = (self.root / "build").glob("_core*.so")
        shutil.copy(module, home)

    def refusal(self) -> str:
        """What the compiler says of the description of the rules."""
        source = ["-I", "csrc", "csrc/rule/info.cpp"]
        command = [*compiler(), "-std=c++17", "-fsyntax-only", *source]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True).stderr

    def train(self, package: str, program: str, capability: str = "") -> dict[str, str]:
        """What was wrong, by check."""
        path = os.pathsep.join([str(self.root / package), str(self.root / "tests"), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, str(self.root / "tests" / program)],
            cwd=self.root / package,
            env={**os.environ, "PYTHONPATH": path, "FASTLR_CPU_CAPABILITY": capability},
            capture_output=True,
            text=True,
            timeout=600,
        )
        if "names no instruction set of this machine" in done.stderr:
            pytest.skip(f"needs a CPU with {capability}")
        if done.stderr.startswith(new_rule_device.UNAVAILABLE):
            unavailable(done.stderr.strip())
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, str] = json.loads(done.stdout)
        return found

    @contextmanager
    def changed(self, path: str, old: str, new: str) -> Iterator[None]:
        text = (self.root / path).read_text(encoding="utf-8")
        assert old in text
        (self.root / path).write_text(text.replace(old, new), encoding="utf-8")
        try:
            yield
        finally:
            (self.root / path).write_text(text, encoding="utf-8")


def compiler() -> list[str]:
    command = shlex.split(os.environ.get("CXX", "c++"))
    return [tool(command[0]), *command[1:]]


def rule_list(text: str) -> str:
    (line,) = re.findall(r"^#define FASTLR_RULES\(X\) .*$", text, re.MULTILINE)
    return str(line)


def with_the_rule(text: str) -> str:
    """rules.h with the lines of the page, which has to show the rules of the day."""
    assert rule_list(BLOCKS[LIST]) == rule_list(text) + " X(sway)"
    return text.replace(rule_list(text) + "\n", BLOCKS[LIST])


def pybind11_folder() -> str:
    try:
        import pybind11
    except ModuleNotFoundError:
        unavailable("building needs pybind11, which is not installed: pip install pybind11")
    folder: str = pybind11.get_cmake_dir()
    return folder


def all_held(checks: Sequence[Callable[..., None]]) -> dict[str, str]:
    return {check.__name__: "" for check in checks}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    compiler()
    made = Tree(tmp_path_factory.mktemp("new_rule"))
    made.build("with_the_rule")
    return made


@pytest.mark.parametrize("capability", ["base", "avx2", "avx512"])
def test_it_trains_as_its_formula_says(capability: str, tree: Tree) -> None:
    found = tree.train("with_the_rule", "new_rule_cases.py", capability)
    assert found == all_held(new_rule_cases.CHECKS)


def test_its_kernels_do_what_the_cpu_does(tree: Tree) -> None:
    if "CUDA: no images" in tree.configured:
        unavailable("the kernels need NVRTC, which is not installed: pip install nvidia-cuda-nvrtc-cu12==12.9.*")
    found = tree.train("with_the_rule", "new_rule_device.py")
    assert found == all_held(new_rule_device.CHECKS)


@pytest.mark.skipif(not NATIVE, reason="needs a CPU with fused multiply-add")
def test_the_checks_notice_another_arithmetic(tree: Tree) -> None:
    """Only that rule, which is sooner built."""
    every_rule = rule_list((tree.root / LIST).read_text(encoding="utf-8"))
    with (
        tree.changed(LIST, every_rule, "#define FASTLR_RULES(X) X(sway)"),
        tree.changed(HEADER, "* s.slack", "* s.kept"),
    ):
        tree.build("changed")
    found = tree.train("changed", "new_rule_cases.py")
    held = {name for name, problem in found.items() if problem == ""}
    assert held == {
        "check_a_checkpoint_in_the_middle_changes_nothing",
        "check_compiled_steps",
        "check_distributed_tensors",
        "check_masters_and_the_dtype_of_the_state",
        "check_refusals_change_nothing",
    }


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("kStates = 2", "kStates = 5", "too much state"),
        ("C slack;", "C slack, more[13];", "too many scalars"),
        ("double pull;", "double pull, more[9];", "too many hyper-parameters"),
    ],
)
def test_a_rule_beyond_the_limits_does_not_compile(tree: Tree, old: str, new: str, problem: str) -> None:
    assert tree.refusal() == ""
    with tree.changed(HEADER, old, new):
        assert problem in tree.refusal()
