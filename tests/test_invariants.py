"""Each invariant's check fails on a text that breaks it, and passes the same text where it is allowed."""

from pathlib import Path

import check_invariants
import pytest

PATH = "/" + "home/someone/data"

BROKEN = [
    ("csrc/cpu/run.cpp", "y = fma(a, b, c);"),
    ("csrc/step/plan.cpp", "y = std::fma(a, b, c);"),
    ("csrc/cpu/run.cpp", "y = __builtin_fma(a, b, c);"),
    ("csrc/cuda/update.h", "y = fmaf(a, b, c);"),
    ("csrc/cuda/kernels.cu", "y = __fmaf_rn(a, b, c);"),
    ("csrc/cuda/element.h", 'asm("fma.rn.f32 %0, %1, %2, %3;" : "=f"(y) : "f"(a), "f"(b), "f"(c));'),
    ("csrc/cuda/update.h", "b = momentum * b + g;"),
    ("csrc/cuda/update.h", "b *= rule.scalars.momentum;"),
    ("csrc/cpu/run.cpp", "x = g + p * s->weight_decay;"),
    ("csrc/rules/sgd.h", "y = std::cos(x);"),
    ("csrc/cuda/advance.h", "y = __powf(x, 2.0f);"),
    ("csrc/cuda/advance.h", "y = __dsqrt_rn(x);"),
    ("csrc/rule/power.h", "y = std::sqrt(x);"),
    ("csrc/cuda/advance.h", 'asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));'),
    ("csrc/cpu/kernels.cpp", "y = powf(x, 2.0f);"),
    ("csrc/rules/sgd.h", "y = ::exp2 (x);"),
    ("csrc/tensor/dlpack.h", "#include <torch/extension.h>"),
    ("csrc/bindings.cpp", '#include "ATen/ATen.h"'),
    ("csrc/cpu/run.h", "# include <c10/core/Device.h>"),
    ("csrc/cuda/launch.cpp", "#include <cuda_runtime.h>"),
    ("csrc/cpu/run.cpp", "#include <pybind11/pybind11.h>"),
    ("csrc/schedule/program.h", "py::object value;"),
    ("csrc/cpu/run.cpp", "#ifdef __CUDACC__"),
    ("csrc/rules/sgd.h", "#if defined(__CUDA_ARCH__)"),
    ("csrc/dtype.h", "#elif defined(FASTLR_CUDA)"),
    ("fastlr/cli.py", f'DATA = "{PATH}"'),
    (".ci/run", f"cd {PATH}"),
    ("csrc/check.h", f"// see {PATH}"),
    ("fastlr/cli.py", "x = 1\n" * 301),
    ("fastlr/_core.pyi", "x: int\n" * 301),
    ("csrc/cuda/kernels.cu", "int x;\n" * 301),
]

FINE = [
    ("csrc/rules/sgd.h", "y = fma(a, b, c);"),
    ("csrc/rules/sgd.h", "b = s.momentum * buffer;"),
    ("csrc/schedule/math.h", "y = fma(a, b, c);"),
    ("csrc/rules/adam.h", "y = sqrt(x);"),
    ("csrc/norm/order.h", "y = sqrt(x);"),
    ("csrc/rule/power.h", "y = fma(a, b, c);"),
    ("csrc/schedule/program.cpp", "y = std::log2(x);"),
    ("csrc/cpu/run.cpp", "// fma(a, b, c) is written, not left to the compiler: std::cos(x)\nint x;"),
    ("csrc/cpu/run.cpp", "y = polynomial(x); z = transform(x); w = example(x);"),
    ("csrc/bindings.cpp", "#include <pybind11/pybind11.h>\npy::object value;"),
    ("csrc/tensor/gather.cpp", "py::object value;"),
    ("csrc/cuda/element.h", 'asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));'),
    ("csrc/cuda/advance.h", "if (group.momentum.code != nullptr) hyper.momentum = evaluate(group.momentum, t);"),
    ("csrc/host_device.h", "#ifdef __CUDACC__"),
    ("csrc/cuda/kernels.cu", "#ifdef __CUDA_ARCH__"),
    ("README.md", "see docs/home/work and ~/work/x, or https://example.org/tmp/x"),
    ("fastlr/cli.py", "x = 1\n" * 300),
    ("CHANGELOG.md", "- a line\n" * 400),
]


@pytest.mark.parametrize(("path", "text"), BROKEN)
def test_violation_is_found(path: str, text: str) -> None:
    assert len(list(check_invariants.violations(path, text))) == 1


@pytest.mark.parametrize(("path", "text"), FINE)
def test_allowed_text_passes(path: str, text: str) -> None:
    assert list(check_invariants.violations(path, text)) == []


def test_every_rule_is_shown_to_fail() -> None:
    reported = [found for path, text in BROKEN for found in check_invariants.violations(path, text)]
    for rule in check_invariants.RULES:
        assert any(rule.name in found for found in reported), rule.name


def test_violation_names_file_and_line() -> None:
    (found,) = check_invariants.violations("csrc/cpu/run.cpp", "/* a\n b */\nint x;\ny = fma(a, b, c);\n")
    assert found.startswith("csrc/cpu/run.cpp:4: ")


def test_whole_tree_is_walked(tmp_path: Path) -> None:
    for name in ("csrc/cpu/a.h", ".ci/run", "build/b.h", ".venv/c.py", "setup.cfg"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("text\n")
    found = [path.relative_to(tmp_path).as_posix() for path in check_invariants.sources(tmp_path)]
    assert sorted(found) == [".ci/run", "csrc/cpu/a.h", "setup.cfg"]
