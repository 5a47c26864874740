"""Each check of the machine code passes on what nvdisasm and cuobjdump said once, and fails on a spoiled text."""

from dataclasses import replace
from pathlib import Path

import check_device
import pytest
from device_code import Instruction, Resources, constants, cubins, inner_loops, parse_instructions, parse_resources
from device_loops import ELEMENTS, RULES, Element, elements_of_kernels, loop_problems, needed

DATA = Path(__file__).parent / "data"
FLOAT32, FLOAT64, FLOAT16, BFLOAT16 = ELEMENTS
OFF, _, _ = RULES["sgd"].forms
WITHOUT_MOMENTUM = replace(RULES["sgd"], forms=(OFF,))

# The two loops of float32 without momentum: two vectors at a time, and those that are left over.
RECORDED = [(DATA / f"sgd_float32_off_{name}.sass").read_text() for name in ("sm75", "sm100")]

USAGE = """
Resource usage:
 Common:
  GLOBAL:137 CONSTANT[4]:256
 Function fastlr_prepare:
  REG:58 STACK:0 SHARED:9216 LOCAL:0 CONSTANT[2]:336 CONSTANT[0]:4400 TEXTURE:0 SURFACE:0 SAMPLER:0
 Function fastlr_evaluate:
  REG:48 STACK:16 SHARED:17408 LOCAL:8 CONSTANT[2]:336 CONSTANT[0]:39480 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
ELF = """
.nv.info
\t<0x1>
\tAttribute:\tEIATTR_REGCOUNT
\tFormat:\tEIFMT_SVAL
\tValue:\tfunction: fastlr_prepare(0x64)\tregister count: 58
.nv.info.fastlr_evaluate
\t<0x4>
\tAttribute:\tEIATTR_CBANK_PARAM_SIZE
\tFormat:\tEIFMT_HVAL
\tValue:\t0x7fb8
.nv.info.fastlr_prepare
\t<0x3>
\tAttribute:\tEIATTR_MAXREG_COUNT
\tFormat:\tEIFMT_HVAL
\tValue:\t0xff
\t<0x4>
\tAttribute:\tEIATTR_CBANK_PARAM_SIZE
\tFormat:\tEIFMT_HVAL
\tValue:\t0xfd0
"""


def problems(sass: str) -> list[str]:
    return list(loop_problems(list(inner_loops(parse_instructions(sass))), WITHOUT_MOMENTUM, (FLOAT32,)))


@pytest.mark.parametrize("sass", RECORDED)
def test_recorded_loops_pass(sass: str) -> None:
    assert problems(sass) == []


SPOILED = [
    ("LDG.E.128", "LDG.E.64", "1 of fewer"),
    ("STG.E.128", "STG.E", "1 of fewer"),
    ("STG.E.128", "LDG.E.128", "3 loads"),
    ("FFMA", "FADD", "1 FADD, 7 FFMA"),
    ("FMUL", "MOV", "8 FFMA, 7 FMUL"),
    ("ISETP", "DADD", "1 DADD"),
]


@pytest.mark.parametrize("sass", RECORDED)
@pytest.mark.parametrize(("old", "new", "said"), SPOILED)
def test_spoiled_loop_is_found(sass: str, old: str, new: str, said: str) -> None:
    where = sass.rindex(old)  # in the second loop
    missing, other = problems(sass[:where] + sass[where:].replace(old, new, 1))
    assert missing.startswith(
        "no loop (float32, sgd, without momentum, vectors: 1) has 2 loads (2 before the first use)"
    )
    assert said in other


@pytest.mark.parametrize("sass", RECORDED)
def test_missing_loop_is_found(sass: str) -> None:
    first, second = inner_loops(parse_instructions(sass))
    assert len(list(loop_problems([first], WITHOUT_MOMENTUM, (FLOAT32,)))) == 1
    assert len(list(loop_problems([first, second, second], WITHOUT_MOMENTUM, (FLOAT32,)))) == 1
    assert len(list(loop_problems([], WITHOUT_MOMENTUM, (FLOAT32,)))) == 2


@pytest.mark.parametrize("sass", RECORDED)
def test_early_use_of_a_load_is_found(sass: str) -> None:
    lines = sass.splitlines()
    loads = [index for index, line in enumerate(lines) if "LDG" in line]
    use = next(index for index, line in enumerate(lines) if "FMUL" in line)
    lines.insert(loads[1], lines.pop(use))
    spoiled = "\n".join(lines)
    _, other = problems(spoiled)
    assert "4 loads (1 before the first use)" in other
    loops = list(inner_loops(parse_instructions(spoiled)))
    assert len(list(loop_problems(loops, replace(WITHOUT_MOMENTUM, late=2), (FLOAT32,)))) == 2
    assert list(loop_problems(loops, replace(WITHOUT_MOMENTUM, late=3), (FLOAT32,))) == []


# Bytes and operations of an element, counted by hand from the formulas.
WORKS = [
    # rule, form, element; bytes, operations
    ("sgd", 0, FLOAT64, 24, {"DFMA": 2, "DMUL": 2}),
    ("sgd", 2, FLOAT32, 20, {"FFMA": 4, "FMUL": 3}),
    ("adam", 0, FLOAT32, 36, {"FADD": 3, "FFMA": 3 + 2 * 5 + 2, "FMUL": 5 + 2, "MUFU.RCP": 2, "MUFU.RSQ": 1}),
    ("adam", 1, BFLOAT16, 14, {"FADD": 3, "FFMA": 3 + 2 * 5 + 2, "FMUL": 5 + 2, "MUFU.RCP": 2, "MUFU.RSQ": 1}),
    ("lion", 0, FLOAT32, 20, {"FADD": 1, "FFMA": 3, "FMUL": 4}),
]


@pytest.mark.parametrize(("rule", "form", "element", "size", "operations"), WORKS)
@pytest.mark.parametrize("vectors", [1, 2])
def test_work_of_one_element(
    rule: str, form: int, element: Element, size: int, operations: dict[str, int], vectors: int
) -> None:
    work = needed(element, RULES[rule].forms[form], vectors)
    lanes = vectors * 16 // element.bytes
    assert (work.loads + work.stores) * 16 / lanes == size
    assert dict(work.arithmetic) == {name: count * lanes for name, count in operations.items()}
    assert (work.narrow, work.in_flight) == (0, work.loads)


def test_kernels_of_element_types() -> None:
    kernels = {name: [element.name for element in elements] for name, (_, elements) in elements_of_kernels().items()}
    assert len(kernels) == 3 * len(RULES)
    assert kernels["fastlr_adam_bfloat16"] == ["bfloat16"]
    assert kernels["fastlr_lion_mixed"] == ["float32", "float64", "float16", "bfloat16"]
    assert FLOAT64.kernel(RULES["sgd"]) == FLOAT16.kernel(RULES["sgd"]) == "fastlr_sgd_mixed"


def test_instructions_are_read() -> None:
    sass = """
        .headerflags    @"EF_CUDA_SM90"
        /*0000*/                   LDG.E.128 R12, desc[UR8][R38.64+0x1000] ;
        /*0010*/              @!P0 STG.E.U16 desc[UR8][R30.64], R16 ;
        /*0020*/             @!UP1 UMOV UR4, 0x1 ;
        /*0030*/                   EXIT ;
        /*0040*/               @P0 BRA 0x10 ;
        /*0050*/                   BRA.U UP0, 0x90 ;
"""
    load, store, move, leave, branch, uniform = parse_instructions(sass)
    assert (load.bytes, load.is_global_load, load.is_global_store) == (16, True, False)
    assert (store.bytes, store.is_global_load, store.is_global_store) == (2, False, True)
    assert move == Instruction(0x20, "UMOV", ("UR4", "0x1"))
    assert leave == Instruction(0x30, "EXIT", ())
    assert (load.target, move.target, branch.target, uniform.target) == (None, None, 0x10, 0x90)


def test_only_inner_loops_are_taken() -> None:
    code = [Instruction(address, "NOP", ()) for address in range(0, 0x60, 0x10)]
    for source, target in ((0x30, 0x20), (0x40, 0x10), (0x50, 0x60)):
        code[source // 16] = Instruction(source, "BRA", (hex(target),))
    assert [[one.address for one in loop] for loop in inner_loops(code)] == [[0x20, 0x30]]


def test_resources_are_read() -> None:
    assert parse_resources(USAGE, ELF) == {
        "fastlr_prepare": Resources(registers=58, stack=0, shared=9216, local=0, arguments=4048),
        "fastlr_evaluate": Resources(registers=48, stack=16, shared=17408, local=8, arguments=32696),
    }


@pytest.mark.parametrize(
    ("kernel", "count"),
    [
        (Resources(80, 0, 0, 0, 4096), 0),
        (Resources(80, 8, 0, 0, 4096), 1),
        (Resources(80, 0, 0, 8, 4096), 1),
        (Resources(80, 0, 0, 0, 4097), 1),
    ],
)
def test_excess_is_found(kernel: Resources, count: int) -> None:
    assert len(list(check_device.resource_problems(kernel, 4096))) == count


@pytest.mark.parametrize("name", ["LDL", "STL", "STL.64"])
def test_spill_is_found(name: str) -> None:
    load = Instruction(0, "LDG.E.128", ("R0", "[R4.64]"))
    assert list(check_device.code_problems([load])) == []
    assert len(list(check_device.code_problems([load, Instruction(16, name, ("[R1]", "R0"))]))) == 1


def test_missing_kernel_is_found(tmp_path: Path) -> None:
    found = dict.fromkeys([*check_device.KERNELS, "fastlr_other"], Resources(80, 0, 0, 0, 4096))
    first = next(check_device.image_problems(tmp_path / "sm_86_long.0123.cubin", found))
    assert first.startswith("other kernels than")


def test_folder_without_images_is_found(tmp_path: Path) -> None:
    (problem,) = check_device.check_images(tmp_path)
    assert problem.startswith("no images")


def test_absent_nvcc_fails_where_it_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("REQUIRE_NVCC", raising=False)
    assert check_device.nvcc_problems() == []
    monkeypatch.setenv("REQUIRE_NVCC", "1")
    assert check_device.nvcc_problems() == ["nvcc is not on PATH"]


@pytest.mark.parametrize(("status", "count"), [(0, 0), (1, 3)])
def test_what_nvcc_says_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, count: int) -> None:
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(
        f'#!/bin/sh\nif [ "$1" = --list-gpu-code ]; then echo sm_75 sm_90 sm_120; exit 0; fi\n'
        f'echo "warning on $*" >&2\nexit {status}\n'
    )
    nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = check_device.nvcc_problems()
    assert len(found) == count
    assert all("warning on -std=c++17 -fmad=false" in problem and "all-warnings" in problem for problem in found)


def test_long_images_come_first(tmp_path: Path) -> None:
    names = ["sm_100_long", "sm_75_short", "sm_75_long", "compute_80_long"]
    for name in names:
        (tmp_path / f"{name}.0123.{'ptx' if 'compute' in name else 'cubin'}").touch()
    assert [path.name.split(".")[0] for path in cubins(tmp_path)] == ["sm_75_long", "sm_100_long", "sm_75_short"]


def test_constants_are_read() -> None:
    source = (
        "constexpr int32_t kA = 256;\n// constexpr int32_t kB = 1;\nconstexpr int64_t kC = kA * 2 * kA;\nint kD = 3;\n"
    )
    assert constants(source) == {"kA": 256, "kC": 256 * 2 * 256}
