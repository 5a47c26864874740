"""Each check of a wheel fails on what it is there to find."""

import struct

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


def machine_code(version: int, flags: int, machine: int = 190) -> bytes:
    """The header of an ELF file."""
    header = bytearray(64)
    header[:9] = b"\x7fELF\x02\x01\x01\x33" + bytes([version])
    struct.pack_into("<H", header, 18, machine)
    struct.pack_into("<I", header, 48, flags)
    return bytes(header)


def test_images_are_read() -> None:
    """Flags as NVRTC 12.9 wrote them for these architectures."""
    library = machine_code(0, 0, machine=62)  # the extension itself, for x86-64
    library += b"code" + machine_code(7, 0x460546) + machine_code(7, 0x5A055A) + machine_code(8, 0x6006402)
    library += b"//\n// Generated\n//\n\n.version 8.8\n.target sm_80\n.address_size 64\n\0" + machine_code(8, 0x6007802)
    library += b"\x7fELF\x02"  # cut off
    assert list(check_wheel.embedded_images(library)) == ["sm_70", "sm_90", "sm_100", "sm_120", "compute_80"]


GOOD_IMAGES = [f"sm_{architecture}" for architecture in (70, 70, 75, 75, 80, 80, 86, 86, 90, 90, 100, 120)]
GOOD_IMAGES += ["compute_80"]


def test_good_images_pass() -> None:
    assert check_wheel.image_problems(GOOD_IMAGES) == []


@pytest.mark.parametrize("missing", sorted(set(GOOD_IMAGES)))
def test_missing_image_is_found(missing: str) -> None:
    images = GOOD_IMAGES.copy()
    images.remove(missing)
    assert check_wheel.image_problems(images) == [f"1 images are missing: {missing}"]


def test_image_too_many_is_found() -> None:
    assert check_wheel.image_problems([*GOOD_IMAGES, "sm_120"]) == ["1 images too many: sm_120"]


def test_wheel_without_images_is_found() -> None:
    assert len(check_wheel.image_problems([])) == len(set(GOOD_IMAGES))
