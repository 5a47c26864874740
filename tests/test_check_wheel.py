"""Each check of a wheel fails on what it is there to find."""

import check_wheel
import pytest

GOOD_NAMES = [
    "fastlr/__init__.py",
    "fastlr/_core.cpython-311-x86_64-linux-gnu.so",
    "fastlr/_core.pyi",
    "fastlr/py.typed",
]
GOOD_NAME = "torch_fastlr-0.1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
GOOD_LIBRARIES = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libstdc++.so.6", "ld-linux-x86-64.so.2"]


def test_good_wheel_passes() -> None:
    assert check_wheel.content_problems(GOOD_NAMES) == []
    assert check_wheel.tag_problems(GOOD_NAME, "manylinux_2_17_x86_64") == []
    assert check_wheel.link_problems(GOOD_LIBRARIES, ["PyInit__core"]) == []
    assert check_wheel.size_problems(check_wheel.MAX_BYTES - 1) == []


@pytest.mark.parametrize("missing", GOOD_NAMES[1:])
def test_missing_file_is_found(missing: str) -> None:
    assert len(check_wheel.content_problems([name for name in GOOD_NAMES if name != missing])) == 1


@pytest.mark.parametrize("extra", ["torch_fastlr.libs/libgomp-0123.so.1.0.0", "fastlr/other.so"])
def test_second_library_is_found(extra: str) -> None:
    assert len(check_wheel.content_problems([*GOOD_NAMES, extra])) == 1


@pytest.mark.parametrize(
    ("filename", "audited"),
    [
        ("torch_fastlr-0.1.0-cp311-cp311-linux_x86_64.whl", "linux_x86_64"),
        ("torch_fastlr-0.1.0-cp311-cp311-manylinux_2_35_x86_64.whl", "manylinux_2_35_x86_64"),
        (GOOD_NAME, "manylinux_2_28_x86_64"),
    ],
)
def test_wrong_tag_is_found(filename: str, audited: str) -> None:
    assert len(check_wheel.tag_problems(filename, audited)) == 1


@pytest.mark.parametrize(
    "library", ["libtorch_cpu.so", "libc10.so", "libcudart.so.13", "libcuda.so.1", "libgomp.so.1", "libomp.so"]
)
def test_library_beyond_the_system_is_found(library: str) -> None:
    assert len(check_wheel.link_problems([*GOOD_LIBRARIES, library], [])) == 1


def test_exported_runtime_is_found() -> None:
    assert len(check_wheel.link_problems([], ["PyInit__core", "__cxa_throw"])) == 1


def test_large_wheel_is_found() -> None:
    assert len(check_wheel.size_problems(check_wheel.MAX_BYTES)) == 1
