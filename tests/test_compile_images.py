"""The script that compiles the kernels in the build, by its parts and with NVRTC where that is installed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from load_file import ROOT, load_file

SCRIPT = ROOT / "csrc/cuda/compile_images.py"
script = load_file("csrc/cuda/compile_images.py")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


ENTRIES = [
    ("86-real", ["sm_86_long", "sm_86_short"]),
    ("90-real", ["sm_90_long", "sm_90_short"]),
    ("100-real", ["sm_100_long"]),
    ("80-virtual", ["compute_80_long"]),
    ("75", ["sm_75_long", "sm_75_short", "compute_75_long"]),
]


@pytest.mark.parametrize(("entry", "names"), ENTRIES)
def test_entry_of_the_list(entry: str, names: list[str]) -> None:
    assert [image.name for image in script.images_for(entry)] == names


def test_default_list() -> None:
    real = (70, 75, 80, 86, 90, 100, 120)
    long = {f"sm_{architecture}_long" for architecture in real}
    short = {f"sm_{architecture}_short" for architecture in real if architecture <= 90}
    assert {image.name for image in script.images_for("default")} == long | short | {"compute_80_long"}


@pytest.mark.parametrize("entry", ["", "sm_86", "86-ptx", "8.6", "all"])
def test_bad_entry_is_refused(entry: str) -> None:
    with pytest.raises(script.BuildError, match=f"no architecture: {re.escape(entry)}"):
        script.images_for(entry)


def write_sources(folder: Path, monkeypatch: pytest.MonkeyPatch, **texts: str) -> Path:
    """Files named by the arguments, with `_` for the dot; the script's kernels are the first."""
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)
    kernels = folder / next(iter(texts)).replace("_", ".")
    monkeypatch.setattr(script, "INCLUDE_FOLDER", folder)
    monkeypatch.setattr(script, "KERNELS", kernels)
    return kernels


def test_headers_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = write_sources(
        tmp_path,
        monkeypatch,
        k_cu='#include "a.h"\n#  include <cstdint>\n// #include "none.h"\n',
        a_h='#include "b.h"\n#include "a.h"\n',
        b_h='#include "a.h"\nint b;\n',
    )
    found = script.sources(kernels)
    assert found == {
        "a.h": '#include "b.h"\n#include "a.h"\n',
        "b.h": '#include "a.h"\nint b;\n',
        "cstdint": script.SYSTEM_HEADERS["cstdint"],
    }


def test_unknown_system_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = write_sources(tmp_path, monkeypatch, k_cu="#include <vector>\n")
    with pytest.raises(script.BuildError, match="no such header for GPUs: <vector>"):
        script.sources(kernels)


def test_absent_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "PACKAGE", "nvidia-cuda-nvrtc-none")
    with pytest.raises(script.BuildError, match="NVRTC is not installed: nvidia-cuda-nvrtc-none"):
        script.find_compiler()


def test_other_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.importlib.metadata, "version", lambda name: "12.90.1")
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(script.BuildError, match="not installed"):
        script.find_compiler()
    found = importlib.util.spec_from_loader("nvidia.cuda_nvrtc", loader=None, is_package=True)
    assert found is not None
    found.submodule_search_locations = ["somewhere"]
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: found)
    with pytest.raises(script.BuildError, match=r"NVRTC 12\.9 is needed: 12\.90\.1 is installed"):
        script.find_compiler()


def test_nothing_is_embedded_without_architectures(tmp_path: Path) -> None:
    result = run("embed", tmp_path / "images.cpp")
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    assert "fastlr::cuda::images() {\n  return {\n  };\n}" in (tmp_path / "images.cpp").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["images.cpp"]


def test_bad_architecture_ends_without_a_traceback(tmp_path: Path) -> None:
    result = run("embed", tmp_path / "images.cpp", "sm_86")
    assert result.returncode == 2
    assert result.stderr == "no architecture: sm_86. Write default, 86-real, 86-virtual or 86.\n"


class TestWithCompiler:
    """What NVRTC makes of small kernels."""

    @pytest.fixture(autouse=True)
    def compiler(self) -> None:
        try:
            script.find_compiler()
        except script.BuildError as problem:
            pytest.skip(str(problem))

    @pytest.fixture
    def kernels(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The script itself runs in other processes: it is copied beside small sources."""
        folder = tmp_path / "csrc/cuda"
        folder.mkdir(parents=True)
        (folder / SCRIPT.name).write_text(SCRIPT.read_text())
        (folder / "kernels.cu").write_text(
            '#include "a.h"\nextern "C" __global__ void k(float* x) { x[threadIdx.x] = kA; }\n'
        )
        (tmp_path / "csrc/a.h").write_text("#include <cstdint>\nconstexpr int32_t kA = 3;\n")
        return folder / "kernels.cu"

    def embed(self, kernels: Path, *architectures: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, kernels.parent / SCRIPT.name, "embed", kernels.parents[2] / "out/images.cpp"]
        return subprocess.run([*command, *architectures], capture_output=True, text=True)

    def images(self, kernels: Path) -> dict[str, int]:
        """Names with digests, and when each file was made."""
        files = list((kernels.parents[2] / "out").glob("*_*.*.*"))
        return {path.name: path.stat().st_mtime_ns for path in files}

    def test_images(self, kernels: Path) -> None:
        result = self.embed(kernels, "80", "120-real", "80-real")
        assert (result.returncode, result.stdout + result.stderr) == (0, "")
        names = sorted(name.split(".")[0] for name in self.images(kernels))
        assert names == ["compute_80_long", "sm_120_long", "sm_80_long", "sm_80_short"]
        source = (kernels.parents[2] / "out/images.cpp").read_text()
        for name in self.images(kernels):
            path = kernels.parents[2] / "out" / name
            assert path.read_bytes().startswith(b"//" if path.suffix == ".ptx" else b"\x7fELF")
            assert f'.incbin "{path}"' in source
            assert f"{name.split('.')[0]}, {path.stat().st_size}}}" in source

    def test_only_what_changed_is_compiled(self, kernels: Path) -> None:
        self.embed(kernels, "80-real")
        before = self.images(kernels)
        self.embed(kernels, "80-real", "90-virtual")
        after = self.images(kernels)
        assert before.items() < after.items()
        (kernels.parents[1] / "a.h").write_text("constexpr int kA = 4;\n")
        self.embed(kernels, "80-real")
        assert len(self.images(kernels)) == len(before)
        assert not self.images(kernels).keys() & after.keys()

    def test_images_of_an_earlier_build_are_taken_if_they_are_of_the_same(self, kernels: Path, tmp_path: Path) -> None:
        self.embed(kernels, "80-real")
        earlier = tmp_path / "earlier"
        (tmp_path / "out").rename(earlier)
        for path in earlier.glob("sm_80_*.cubin"):
            path.write_bytes(path.read_bytes() + b"not compiled again")
        taken = ["80-real", "90-virtual", "--from", str(earlier)]
        assert self.embed(kernels, *taken).returncode == 0
        contents = {path.name.split(".")[0]: path.read_bytes() for path in (tmp_path / "out").glob("*_*.*.*")}
        assert {name for name, content in contents.items() if content.endswith(b"not compiled again")} == {
            "sm_80_long",
            "sm_80_short",
        }
        assert contents.keys() == {"sm_80_long", "sm_80_short", "compute_90_long"}
        (kernels.parents[1] / "a.h").write_text("constexpr int kA = 4;\n")
        assert self.embed(kernels, *taken).returncode == 0
        assert not any(b"not compiled" in path.read_bytes() for path in (tmp_path / "out").glob("*_*.*.*"))

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("int missing = other;", '"other" is undefined'),
            ('extern "C" __global__ void w(int* x) { int unused = 1; x[0] = 1; }', "warnings are errors"),
            ("#include <vector>", "no such header for GPUs: <vector>"),
        ],
    )
    def test_failure_shows_the_log_once(self, kernels: Path, line: str, said: str) -> None:
        kernels.write_text(kernels.read_text() + line + "\n")
        result = self.embed(kernels, "80-real")
        assert result.returncode == 1
        assert result.stderr.count(said) == 1
        assert self.images(kernels) == {}

    def test_host_headers_are_not_seen(self, kernels: Path) -> None:
        kernels.write_text('#include "/usr/include/stdlib.h"\n' + kernels.read_text())
        assert self.embed(kernels, "80-real").returncode == 1

    def test_check_names_the_targets(self) -> None:
        result = run("check", "86", "120-real")
        assert result.returncode == 0
        assert re.fullmatch(r"sm_86, compute_86 \(PTX\), sm_120, compiled by NVRTC 12\.9\.\d+\n", result.stdout)
