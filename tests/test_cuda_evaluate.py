"""Schedules at steps on a GPU against the CPU's single values: the same bits, and NaN where those raise."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from cuda_places import Place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schedule_reference import interesting_steps
from schedule_strategies import schedules as any_schedule
from test_schedules_values import SIZED
from torch import Tensor

from fastlr import evaluate
from fastlr.schedules import (
    Constant,
    Cosine,
    CosineCycles,
    Exponential,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    Piecewise,
    Schedule,
    Table,
    Tanh,
    Warmup,
    maximum,
)

MAX = 2**63 - 1
LAW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
# With those that have no value somewhere.
SCHEDULES: list[Schedule] = [
    Constant(0.3),
    Warmup(0.1, 300) >> Cosine(0.1, 0.0, 5000),
    Linear(0.1, 0.0, 30).past_end("error"),
    CosineCycles(0.1, 0.0, 60) / Linear(1.0, 3.0, 45) + InverseTime(1.0, 0.5),
    Exponential(0.1, 0.999) + Linear(0.0, 0.2, 777).shift(40),
    OneCycle(0.5, 3000, three_phase=True),
    Table([0.5, 0.25, 0.125]).repeat(7, decay=0.5).past_end("error"),
    maximum(InverseSqrt(0.1, 50.0), Tanh(0.2, 0.0, 900)) * MultiStep(1.0, (100, 1000), 0.1),
]


def on_cpu(schedule: Schedule, step: int) -> float:
    try:
        return schedule(step)
    except ValueError:
        return math.nan


def wanted(schedules: list[Schedule], steps: Any) -> Tensor:
    rows = [[on_cpu(schedule, int(step)) for step in steps] for schedule in schedules]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(schedules), len(steps))


def same(actual: Tensor, expected: Tensor, place: Place) -> bool:
    return torch.equal(place.back(actual).nan_to_num(nan=-7.5), expected.nan_to_num(nan=-7.5))


STEPS = [-(2**63), -1, *range(70), 99, 100, 101, 776, 777, 1000, 3001, 5300, 5301, 10**9 + 7, 2**53 + 1, MAX]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_a_schedule_at_a_tensor(schedule: Schedule, place: Place) -> None:
    values = schedule(place.put(torch.tensor(STEPS)))
    assert (values.dtype, values.shape) == (torch.float64, (len(STEPS),))
    assert same(values, wanted([schedule], STEPS)[0], place)


@pytest.mark.parametrize("length", [1, 2, 31, 1048583])
@pytest.mark.parametrize("name", SIZED)
def test_the_catalogue(name: str, length: int, place: Place) -> None:
    schedule = SIZED[name](length)
    steps = [*range(40), *interesting_steps(length)]
    assert same(schedule(place.put(torch.tensor(steps))), wanted([schedule], steps)[0], place)


@LAW
@given(any_schedule, st.lists(st.one_of(st.integers(0, 99), st.integers(0, 10**7), st.integers(0, MAX)), max_size=40))
def test_any_tree_of_schedules(place: Place, schedule: Schedule, steps: list[int]) -> None:
    around = [near for step in steps for near in (step, min(step + 1, MAX))]
    values = schedule(place.put(torch.tensor(around, dtype=torch.int64)))
    assert same(values, wanted([schedule], around)[0], place)


@LAW
@given(st.lists(any_schedule, min_size=1, max_size=5), st.integers(0, 10**6), st.integers(1, 300))
def test_any_schedules_over_a_range(place: Place, schedules: list[Schedule], first: int, count: int) -> None:
    steps = range(first, first + count)
    out = place.put(torch.empty(len(schedules), count, dtype=torch.float64))
    evaluate(schedules, steps, out=out)
    assert same(out, wanted(schedules, steps), place)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_steps_of_every_integer_type(dtype: torch.dtype, place: Place) -> None:
    steps = torch.arange(0, 120, 3, dtype=dtype)
    assert same(SCHEDULES[1](place.put(steps)), wanted(SCHEDULES[1:2], steps)[0], place)


SHAPES = [(), (0,), (1,), (3, 5), (2, 0, 4), (2, 3, 4), (300, 7)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_shape_is_that_of_the_steps(shape: tuple[int, ...], place: Place) -> None:
    steps = torch.arange(math.prod(shape)).reshape(shape)
    values = SCHEDULES[1](place.put(steps))
    assert values.shape == shape
    assert same(values, wanted(SCHEDULES[1:2], steps.flatten())[0].reshape(shape), place)


def test_steps_that_are_views(place: Place) -> None:
    whole = place.put(torch.arange(60).reshape(6, 10))
    for steps in (whole.t(), whole[:, ::3], whole[2], whole[:, 4], whole.flip(0), whole[0, 0].expand(5)):
        expected = wanted(SCHEDULES[1:2], place.back(steps).flatten())[0].reshape(steps.shape)
        assert same(SCHEDULES[1](steps), expected, place)


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 4097])
def test_many_schedules_at_a_tensor(count: int, place: Place) -> None:
    steps = torch.arange(count) * 3
    table = evaluate(SCHEDULES, place.put(steps))
    assert (table.dtype, table.shape) == (torch.float64, (len(SCHEDULES), count))
    assert same(table, wanted(SCHEDULES, steps), place)
    single = evaluate(SCHEDULES, place.put(steps), dtype=torch.float32)
    assert same(single, wanted(SCHEDULES, steps).float(), place)


@pytest.mark.parametrize("count", [0, 1, 816, 817, 2000])
def test_any_number_of_schedules(count: int, place: Place) -> None:
    schedules = [Linear(0.1 * i, 1.0, 5 + i) for i in range(count)]
    steps = [0, 3, 700]
    table = evaluate(schedules, place.put(torch.tensor(steps)))
    assert table.shape == (count, 3)
    assert same(table, wanted(schedules, steps), place)


@pytest.mark.parametrize("step", [1, 7, -1, -13])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_ranges(count: int, step: int, place: Place) -> None:
    steps = range(5, 5 + count * step, step) if step > 0 else range(-count * step, 0, step)
    for dtype in (torch.float32, torch.float64):
        out = place.put(torch.full((len(SCHEDULES), len(steps)), 9.0, dtype=dtype))
        assert evaluate(SCHEDULES, steps, out=out) is out
        assert same(out, wanted(SCHEDULES, steps).to(dtype), place)


LAYOUTS = {
    "dense": lambda k, n: torch.empty(k, n),
    "rows apart": lambda k, n: torch.empty(k, n + 5)[:, :n],
    "every other row": lambda k, n: torch.empty(2 * k, n)[::2],
    "offset": lambda k, n: torch.empty(k * n + 1)[1:].view(k, n),
    "transposed": lambda k, n: torch.empty(n, k).t(),
    "columns apart": lambda k, n: torch.empty(k, 2 * n)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("count", [1, 130])
def test_where_the_values_go(layout: str, dtype: torch.dtype, count: int, place: Place) -> None:
    shaped = LAYOUTS[layout](len(SCHEDULES), count)
    whole = torch.full((shaped.untyped_storage().size() // 4,), 9.0, dtype=dtype)
    memory = place.put(whole)
    out = memory.as_strided(shaped.shape, shaped.stride(), shaped.storage_offset())
    steps = torch.arange(count)
    forms: list[Any] = [steps.tolist(), steps.numpy(), np.arange(count, dtype=np.uint8), steps, range(count)]
    for form in [*forms, place.put(steps), place.put(steps.to(torch.int32))]:
        memory.fill_(9.0)
        assert evaluate(SCHEDULES, form, out=out) is out
        expected = whole.clone()
        expected.as_strided(shaped.shape, shaped.stride(), shaped.storage_offset()).copy_(wanted(SCHEDULES, steps))
        assert same(memory, expected, place)


def test_values_of_steps_on_a_gpu_may_go_to_the_cpu(place: Place) -> None:
    steps = torch.arange(20)
    out, array = torch.empty(1, 20), np.empty((1, 20))
    evaluate(SCHEDULES[1:2], place.put(steps), out=out)
    evaluate(SCHEDULES[1:2], place.put(steps), out=array)
    assert torch.equal(out, wanted(SCHEDULES[1:2], steps).float())
    assert array.tolist() == wanted(SCHEDULES[1:2], steps).tolist()


def test_big_tables(place: Place) -> None:
    generator = np.random.default_rng(0)
    values = generator.uniform(0.0, 1.0, 100_000)
    bounds = np.unique(generator.integers(1, 10**9, 100_000))
    tables = [Table(values), Piecewise(bounds.tolist(), generator.uniform(0.0, 1.0, len(bounds) + 1).tolist())]
    steps = np.concatenate([generator.integers(0, 10**9, 500), bounds[:200], bounds[:200] - 1, [0, 99_999, 10**5]])
    assert same(evaluate(tables, place.put(torch.from_numpy(steps))), wanted(tables, steps), place)


REFUSED: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (torch.arange(3.0), {}, TypeError, "steps are not integers"),
    (torch.ones(3, dtype=torch.bool), {}, TypeError, "steps are not integers"),
    (torch.arange(6).reshape(2, 3), {}, ValueError, "steps are not one-dimensional"),
    (torch.tensor(3), {}, ValueError, "steps are not one-dimensional"),
    (torch.arange(3), {"out": torch.zeros(1, 4)}, ValueError, "out does not fit"),
    (torch.arange(3), {"out": torch.zeros(2, 3)}, ValueError, "out does not fit"),
    (torch.arange(3), {"out": torch.zeros(3)}, ValueError, "out does not fit"),
    (torch.arange(3), {"out": torch.zeros(1, 3, dtype=torch.float16)}, TypeError, "dtype is not supported"),
    (torch.arange(3), {"out": torch.zeros(1, 3), "dtype": torch.float64}, TypeError, "dtype is not that of out"),
    (torch.arange(3), {"dtype": torch.float16}, TypeError, "dtype is not supported"),
    (range(-3, 2), {"out": torch.zeros(1, 5)}, ValueError, "step is out of range: -3"),
    (range(2), {"out": torch.zeros(1, 5)}, ValueError, "out does not fit"),
    ([0.5], {"out": torch.zeros(1, 1)}, TypeError, "steps are not integers"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case[0]}, {case[1]}")
def test_what_is_refused(case: tuple[Any, dict[str, Any], type[Exception], str], place: Place) -> None:
    steps, options, error, text = case
    steps = place.put(steps) if isinstance(steps, Tensor) else steps
    options = {name: place.put(value) if isinstance(value, Tensor) else value for name, value in options.items()}
    with pytest.raises(error, match=text):
        evaluate(SCHEDULES[:1], steps, **options)
    if isinstance(steps, Tensor) and error is TypeError and not options:
        with pytest.raises(error, match=text):
            SCHEDULES[0](steps)
