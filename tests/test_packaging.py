"""What the distribution ships, the warning about another distribution's files, and pins that agree everywhere."""

import importlib.metadata
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import check_wheel
import pytest
from load_file import load_file

import fastlr
from fastlr._conflict import warn_if_both_installed

ROOT = Path(__file__).resolve().parents[1]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    lines = (ROOT / ".ci/constraints.txt").read_text().splitlines()
    found = [re.match(r"([\w.-]+)==([\w.]+)", line) for line in lines]
    return {canonical(match[1]): match[2] for match in found if match}


def project_settings() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11, which brings tomllib")
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return settings


def shipped() -> list[str]:
    files = importlib.metadata.files("torch-fastlr")
    assert files is not None
    return [file.as_posix() for file in files]


def test_installed_files() -> None:
    assert check_wheel.content_problems(shipped()) == []
    assert any(name.endswith("licenses/LICENSE") for name in shipped())


def test_only_the_package_is_installed() -> None:
    folders = {name.split("/")[0] for name in shipped() if not name.startswith("../")}
    assert folders == {"fastlr", f"torch_fastlr-{fastlr.__version__}.dist-info"}


def widest_instruction_set() -> str:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    flags = set(re.findall(r"\w+", cpuinfo.partition("flags")[2].partition("\n")[0]))
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags:
        return "avx512"
    return "avx2" if {"avx2", "fma", "bmi1", "bmi2"} <= flags else "base"


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs Linux, whose own list of CPU flags is the oracle")
def test_build_uses_the_widest_instruction_set(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "FASTLR_CPU_CAPABILITY"}
    command = [sys.executable, "-c", "from fastlr import _core; print(_core.cpu_capability())"]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert result.stdout.strip() == widest_instruction_set()


def test_versions_agree() -> None:
    project = project_settings()["project"]
    assert fastlr.__version__ == project["version"] == importlib.metadata.version("torch-fastlr")
    assert f"## [{fastlr.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_requirement_is_pinned() -> None:
    settings = project_settings()
    project = settings["project"]
    lists = [project["dependencies"], settings["build-system"]["requires"], settings["dependency-groups"]["dev"]]
    lists += project["optional-dependencies"].values()
    names = {canonical(re.match(r"[\w.-]+", item)[0]) for items in lists for item in items}  # type: ignore[index]
    assert names <= pinned().keys()


def test_compiler_for_gpus_is_the_same_everywhere() -> None:
    """The build requires the minor version whose machine code the checks inspect, and CI one release of it."""
    script = load_file("csrc/cuda/compile_images.py")
    (required,) = (item for item in project_settings()["build-system"]["requires"] if item.startswith(script.PACKAGE))
    assert required.startswith(f"{script.PACKAGE}=={script.NEEDED}.*; sys_platform == 'linux'")
    assert pinned()[script.PACKAGE].startswith(f"{script.NEEDED}.")
    assert pinned()["nvidia-cuda-cuobjdump"] == pinned()["nvidia-cuda-nvdisasm"]


def test_pre_commit_uses_the_pinned_versions() -> None:
    config = (ROOT / ".pre-commit-config.yaml").read_text()
    used = re.findall(r"([\w-]+)==([\w.]+)", config)
    assert {name for name, _ in used} == {"ruff", "clang-format"}
    assert all(pinned()[name] == version for name, version in used)


def test_cibuildwheel_builds_every_python() -> None:
    pytest.importorskip("cibuildwheel", reason="needs cibuildwheel, of the group dev, and Python 3.11")
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform"]
    built = {
        platform: subprocess.run([*command, platform, ROOT], check=True, capture_output=True, text=True).stdout.split()
        for platform in ("linux", "macos", "windows")
    }
    wanted = [f"cp3{minor}-manylinux_{arch}" for arch in ("x86_64", "aarch64") for minor in range(10, 15)]
    assert built == {"linux": wanted, "macos": [], "windows": []}


@pytest.mark.parametrize(
    "name", ["fastlr-0.1.0.dist-info", "fastlr-12.post1.dist-info", "fastlr-0.1.0-py3.11.egg-info"]
)
def test_conflict_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.warns(RuntimeWarning, match=re.escape(name)):
        warn_if_both_installed(str(tmp_path / "fastlr"))


@pytest.mark.parametrize(
    "name", ["torch_fastlr-0.1.0.dist-info", "fastlr_extra-1.0.dist-info", "fastlr", "fastlr-notes"]
)
def test_other_neighbours_are_no_conflict(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_both_installed(str(tmp_path / "fastlr"))


def test_unlisted_folder_is_no_conflict(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_both_installed(str(tmp_path / "archive.zip" / "fastlr"))


def test_import_warns_of_conflict_at_the_caller(tmp_path: Path) -> None:
    (tmp_path / "fastlr").symlink_to(Path(fastlr.__file__).parent)
    (tmp_path / "fastlr-0.1.0.dist-info").mkdir()
    (tmp_path / "caller.py").write_text("import fastlr\n")
    command = [sys.executable, tmp_path / "caller.py"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "caller.py:1: RuntimeWarning" in result.stderr
    assert "pip uninstall fastlr torch-fastlr" in result.stderr
