"""fastlr_evaluate's PTX, executed without a GPU: the bits of fastlr.evaluate on the CPU."""

import re
from typing import Any

import cuda_structs as cuda
import numpy as np
import pytest
import schedule_strategies
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernel_ptx import ORIGINS, kernels
from ptx import Memory, Module
from ptx_step_cases import SCHEDULES

import fastlr
from fastlr.schedules import Linear, PastEnd, Schedule

LASTING = [schedule for schedule in SCHEDULES if not isinstance(schedule, PastEnd)]


@pytest.fixture(scope="module", params=ORIGINS)
def module(request: pytest.FixtureRequest) -> Module:
    return kernels(request.param)


@pytest.mark.parametrize("single", [False, True], ids=["float64", "float32"])
@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 300])
def test_evaluate(module: Module, single: bool, count: int) -> None:
    """A range of steps, and rows with a gap between them."""
    assert_evaluates(module, LASTING, range(5, 5 + 3 * count, 3), single=single, gap=3, order="random", seed=count)


def test_the_schedules_have_every_instruction() -> None:
    enumeration = (cuda.HEADER.parents[1] / "schedule" / "instruction.h").read_text().partition("enum class Op")[2]
    names = re.findall(r"^  (\w+),", enumeration.partition("};")[0], re.MULTILINE)
    views = [cuda.program_view(schedule, Memory()) for schedule in SCHEDULES]
    found = {each.op for view in views for each in (cuda.Instruction * view.size).from_address(view.code)}
    assert [names[op] for op in sorted(found)] == names


@given(
    drawn=st.lists(schedule_strategies.schedules, min_size=1, max_size=8),
    first=st.integers(0, 10**6),
    stride=st.integers(1, 10**5),
)
@settings(max_examples=30)
def test_evaluate_any_schedule(module: Module, drawn: list[Schedule], first: int, stride: int) -> None:
    steps = range(first, first + 200 * stride, stride)
    try:
        fastlr.evaluate(drawn, steps)
    except ValueError:
        assume(False)  # one has no value at some step
    assert_evaluates(module, drawn, steps, single=False, gap=0, order="together")


def test_evaluate_steps_of_an_array(module: Module) -> None:
    steps = np.array([9, 0, 2**53, 4, 4, 77], dtype=np.int64)
    assert_evaluates(module, LASTING, steps, single=False, gap=0, order="forward")


def assert_evaluates(
    module: Module, schedules: list[Schedule], steps: Any, *, single: bool, gap: int, **how: Any
) -> None:
    memory = Memory()
    kernel = module.kernel("fastlr_evaluate")
    arguments: Any = cuda.arguments_of(kernel, map(cuda.evaluate_arguments, cuda.PROGRAMS))(
        single=single, count=len(steps)
    )
    dtype = np.float32 if single else np.float64
    out = np.zeros((len(schedules), len(steps) + gap), dtype)
    arguments.out, arguments.row_stride = memory.add(out), len(steps) + gap
    if isinstance(steps, range):
        arguments.first, arguments.stride = steps.start, steps.step
    else:
        arguments.steps = memory.add(steps, writable=False)
    for k, schedule in enumerate(schedules):
        arguments.programs[k] = cuda.program_view(schedule, memory)
    grid = (-(-len(steps) // cuda.EVALUATE_THREADS), len(schedules))
    kernel.launch(memory, [arguments], grid=grid, block=cuda.EVALUATE_THREADS, **how)
    np.testing.assert_array_equal(out[:, : len(steps)], fastlr.evaluate(schedules, steps, dtype=dtype))
    assert not out[:, len(steps) :].any()


def test_evaluate_gives_nan_where_there_is_no_value(module: Module) -> None:
    memory, steps, out = Memory(), np.array([-1, 0, 1, 2, 3, -(2**63)]), np.zeros((1, 6))
    arguments: Any = cuda.evaluate_arguments(cuda.PROGRAMS[0])(memory.add(out), 6, memory.add(steps, writable=False))
    arguments.count = 6
    arguments.programs[0] = cuda.program_view(Linear(start=1.0, end=0.5, length=2).past_end("error"), memory)
    module.kernel("fastlr_evaluate").launch(memory, [arguments], grid=1, block=cuda.EVALUATE_THREADS)
    np.testing.assert_array_equal(out[0], [np.nan, 1.0, 0.75, 0.5, np.nan, np.nan])


def test_older_drivers() -> None:
    """4096 bytes of arguments."""
    assert_evaluates(kernels("nvcc old"), SCHEDULES, range(9), single=False, gap=0, order="random")
