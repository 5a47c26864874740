"""fastlr.evaluate: many schedules at many steps, where the values go, and what is refused."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch

from fastlr import evaluate
from fastlr.schedules import Constant, Cosine, Exponential, Linear, MultiStep, OneCycle, Polynomial, Schedule, Warmup

SCHEDULES: list[Schedule] = [
    Constant(0.3),
    Warmup(0.1, 300) >> Cosine(0.1, 0.0, 5000),
    Polynomial(0.1, 0.01, 4000, 1.7) * MultiStep(1.0, (100, 1000), 0.1),
    Exponential(0.1, 0.999) + Linear(0.0, 0.2, 777).shift(40),
    OneCycle(0.5, 3000, three_phase=True),
]
SIZES = [0, 1, 31, 255, 256, 257, 4097, 10_001]


def one_by_one(steps: range | list[int]) -> list[list[float]]:
    return [[s(t) for t in steps] for s in SCHEDULES]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stride", [1, 7, -1, -13])
def test_range_array_and_list_have_the_bits_of_single_values(size: int, stride: int) -> None:
    steps = range(0, size * stride, stride) if stride > 0 else range(-size * stride, 0, stride)
    want = one_by_one(steps)
    array = np.array(steps, dtype=np.int64)
    padded = np.empty(2 * len(array) + 1, dtype=np.int64)
    padded[1::2] = array
    for form in (steps, array, padded[1::2], array.astype(np.int32), list(steps), tuple(steps)):
        values = evaluate(SCHEDULES, form)
        assert values.dtype == np.float64
        assert values.shape == (len(SCHEDULES), len(steps))
        assert values.tolist() == want


def test_steps_in_any_order() -> None:
    steps = np.random.default_rng(0).integers(0, 9000, 5000)
    assert evaluate(SCHEDULES, steps).tolist() == one_by_one(steps.tolist())


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads(threads: int) -> None:
    want = evaluate(SCHEDULES, range(40_000))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert np.array_equal(evaluate(SCHEDULES, range(40_000)), want)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [np.float32, "float32", np.dtype("float32"), torch.float32])
def test_float32_is_the_rounded_value(dtype: Any) -> None:
    single = np.asarray(evaluate(SCHEDULES, range(6000), dtype=dtype))
    assert single.dtype == np.float32
    assert np.array_equal(single, evaluate(SCHEDULES, range(6000)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["dense", "rows of a wider array", "every other row", "tensor", "tensor rows"])
def test_out(dtype: str, kind: str) -> None:
    count = len(SCHEDULES)
    outs: dict[str, Any] = {
        "dense": np.full((count, 1001), np.nan, dtype),
        "rows of a wider array": np.full((count, 1300), np.nan, dtype)[:, 99:1100],
        "every other row": np.full((2 * count, 1001), np.nan, dtype)[::2],
        "tensor": torch.full((count, 1001), torch.nan, dtype=getattr(torch, dtype)),
        "tensor rows": torch.full((count, 2000), torch.nan, dtype=getattr(torch, dtype))[:, 5:1006],
    }
    out = outs[kind]
    assert evaluate(SCHEDULES, range(3, 1004), out=out) is out
    assert np.array_equal(np.asarray(out), evaluate(SCHEDULES, range(3, 1004)).astype(dtype))
    base = out._base if isinstance(out, torch.Tensor) else out.base
    if base is not None:  # nothing beside the view has been written
        whole = np.asarray(base)
        assert np.isnan(whole).sum() == whole.size - np.asarray(out).size


def test_tensor_steps_give_a_tensor() -> None:
    steps = torch.arange(0, 5000, 3)
    values = evaluate(SCHEDULES, steps)
    assert isinstance(values, torch.Tensor)
    assert values.dtype == torch.float64
    assert values.tolist() == one_by_one(steps.tolist())
    assert evaluate(SCHEDULES, range(3), dtype=torch.float64).dtype == torch.float64


def test_nothing_is_allocated_for_a_range_and_an_out() -> None:
    out = np.empty((len(SCHEDULES), 100_000))
    evaluate(SCHEDULES, range(100_000), out=out)
    tracemalloc.start()
    try:
        evaluate(SCHEDULES, range(5, 100_005), out=out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000


def test_a_range_of_any_length_costs_its_values_only() -> None:
    s = Cosine(1.0, 0.0, 10**9)
    steps = range(0, 10**9 + 1, 10**8)
    assert evaluate([s], steps).tolist() == [[s(t) for t in steps]]
    assert evaluate([s], range(2**63 - 2, 2**63)).tolist() == [[0.0, 0.0]]


ONE = [Constant(1.0)]
REFUSED: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (ValueError, "step is out of range: -1", {"steps": range(-1, 3)}),
    (ValueError, "step is out of range: -2", {"steps": range(3, -3, -1)}),
    (ValueError, "step is out of range: -4", {"steps": np.array([1, -4])}),
    (ValueError, "step is out of range: 9223372036854775808", {"steps": range(2**63 - 1, 2**63 + 1)}),
    (ValueError, "not one-dimensional", {"steps": np.zeros((2, 2), dtype=np.int64)}),
    (TypeError, "not integers", {"steps": np.zeros(2)}),
    (TypeError, "not integers", {"steps": [0, True]}),
    (TypeError, "dtype is not supported", {"dtype": np.float16}),
    (TypeError, "dtype is not supported", {"dtype": torch.int64}),
    (TypeError, "dtype is not that of out", {"dtype": np.float32, "out": np.empty((1, 4))}),
    (ValueError, "out does not fit", {"out": np.empty((1, 3))}),
    (ValueError, "out does not fit", {"out": np.empty((2, 4))}),
    (ValueError, "out does not fit", {"out": np.empty(4)}),
    (ValueError, "out does not fit", {"out": np.empty((1, 4), dtype=np.float16)}),
    (ValueError, "out does not fit", {"out": np.empty((1, 8))[:, ::2]}),
    (ValueError, "out does not fit", {"out": np.broadcast_to(np.zeros(4), (1, 4))}),
    (ValueError, "out does not fit", {"out": torch.empty((1, 5))}),
    (TypeError, "dtype is not supported", {"out": torch.empty((1, 4), dtype=torch.int64)}),
]


@pytest.mark.parametrize(("error", "message", "options"), REFUSED)
def test_refused_before_anything_is_written(error: type[Exception], message: str, options: dict[str, Any]) -> None:
    arguments = {"steps": range(4), **options}
    out = options.get("out")
    before = None if out is None else np.asarray(out).copy()
    with pytest.raises(error, match=message):
        evaluate(ONE, **arguments)
    if before is not None:
        np.testing.assert_array_equal(np.asarray(out), before)


def test_schedules_are_checked() -> None:
    with pytest.raises(TypeError, match="schedules are no list"):
        evaluate(Constant(1.0), range(3))  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="hold something else"):
        evaluate([0.1], range(3))  # type: ignore[list-item]
    assert evaluate([], range(3)).shape == (0, 3)
