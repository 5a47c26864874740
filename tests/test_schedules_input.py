"""What is refused, with a message that names the value, and the kinds of steps that are taken."""

import dataclasses
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fastlr.schedules import (
    Constant,
    Cosine,
    Exponential,
    Linear,
    MultiStep,
    OneCycle,
    OneCycleMomentum,
    Polynomial,
    Product,
    Schedule,
    Sequence,
    Shift,
    Step,
    Sum,
    Warmup,
    evaluate,
    from_dict,
    from_json,
    warmup_cosine,
)

S = Linear(1.0, 0.0, 10)
ENDLESS = Exponential(1.0, 0.9)
NAN, INF = math.nan, math.inf


def nested(depth: int) -> Schedule:
    s: Schedule = S
    for _ in range(depth):
        s = s.shift(2).shift(-1)
    return s


def right_nested(depth: int) -> Schedule:
    s: Schedule = S
    for _ in range(depth):
        s = 1.0 * S + S * s
    return s


# (what is done, the error, part of its message)
REFUSED: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: Constant(NAN), ValueError, "Constant value is not finite: nan. "),
    (lambda: Constant("0.1"), TypeError, "Constant value is not a number: '0.1'. "),
    (lambda: Constant(True), TypeError, "Constant value is not a number: True. "),
    (lambda: Constant(10**400), ValueError, "Constant value is not finite: 1000"),
    (lambda: Constant(0.1, 0), ValueError, "Constant length is out of range: 0. "),
    (lambda: Linear(INF, 0.0, 10), ValueError, "Linear start is not finite: inf. "),
    (lambda: Linear(0.1, -INF, 10), ValueError, "Linear end is not finite: -inf. "),
    (lambda: Linear(0.1, 0.0, 0), ValueError, "Linear length is out of range: 0. Use 1 to 2**53."),
    (lambda: Cosine(0.1, 0.0, -5), ValueError, "Cosine length is out of range: -5. "),
    (lambda: Cosine(0.1, 0.0, 2**53 + 1), ValueError, "Cosine length is out of range: 9007199254740993. "),
    (lambda: Cosine(0.1, 0.0, 10.0), TypeError, "Cosine length is not an integer: 10.0. "),
    (lambda: Cosine(0.1, 0.0, True), TypeError, "Cosine length is not an integer: True. "),
    (lambda: Cosine(0.1, 0.0, None), TypeError, "Cosine length is not an integer: None. "),
    (lambda: Cosine(torch.tensor(0.1), 0.0, 10), TypeError, "Cosine start is not a number: tensor(0.1000). "),
    (lambda: Polynomial(0.1, 0.0, 10, 0.0), ValueError, "Polynomial power is not positive: 0.0. "),
    (lambda: Polynomial(0.1, 0.0, 10, NAN), ValueError, "Polynomial power is not finite: nan. "),
    (lambda: Polynomial(0.1, 0.0, 0, 2.0), ValueError, "Polynomial length is out of range: 0. "),
    (lambda: Warmup(-0.1, 10), ValueError, "Warmup peak is negative: -0.1. "),
    (lambda: Warmup(0.1, 0), ValueError, "Warmup length is out of range: 0. "),
    (lambda: Exponential(0.1, 0.0), ValueError, "Exponential gamma is not positive: 0.0. "),
    (lambda: Exponential(0.1, -0.9), ValueError, "Exponential gamma is not positive: -0.9. "),
    (lambda: Step(0.1, 0, 0.1), ValueError, "Step step_size is out of range: 0. "),
    (lambda: Step(0.1, 5, INF), ValueError, "Step gamma is not finite: inf. "),
    (lambda: MultiStep(0.1, (5, 4), 0.1), ValueError, "MultiStep milestones are out of order: 4 after 5. "),
    (lambda: MultiStep(0.1, (0, 4), 0.1), ValueError, "MultiStep milestone is out of range: 0. "),
    (lambda: MultiStep(0.1, (3.0,), 0.1), TypeError, "MultiStep milestone is not an integer: 3.0. "),
    (lambda: MultiStep(0.1, 30, 0.1), TypeError, "MultiStep milestones are no tuple: 30. "),
    (lambda: MultiStep(1.0, (1, 2, 3), 1e150), ValueError, "MultiStep value is not finite: "),
    (lambda: OneCycle(0.1, 0), ValueError, "OneCycle total_steps is out of range: 0. "),
    (lambda: OneCycle(0.1, 10, pct_start=1.5), ValueError, "OneCycle pct_start is out of range: 1.5. "),
    (lambda: OneCycle(0.1, 10, pct_start=0.6, three_phase=True), ValueError, "no room for the fall: 0.6. "),
    (lambda: OneCycle(0.1, 10, anneal_strategy="sin"), ValueError, "anneal_strategy is unknown: 'sin'. Use 'cos' or "),
    (lambda: OneCycle(0.1, 10, three_phase=1), ValueError, "three_phase is unknown: 1. Use False or True."),
    (lambda: OneCycle(0.1, 10, div_factor=0.0), ValueError, "OneCycle div_factor is not positive: 0.0. "),
    (lambda: OneCycle(0.1, 10, final_div_factor=-1.0), ValueError, "OneCycle final_div_factor is not positive: -1.0. "),
    (lambda: OneCycle(1e300, 10, div_factor=1e-300), ValueError, "is not finite: inf. "),
    (lambda: OneCycle(0.1, 10, max_momentum=NAN), ValueError, "OneCycle max_momentum is not finite: nan. "),
    (
        lambda: OneCycleMomentum(10, base_momentum=INF),
        ValueError,
        "OneCycleMomentum base_momentum is not finite: inf. ",
    ),
    (lambda: warmup_cosine(0.1, 0), ValueError, "warmup_cosine total is out of range: 0. "),
    (lambda: warmup_cosine(0.1, 10, 10), ValueError, "warmup leaves no step for the rest: 10 of 10. "),
    (lambda: warmup_cosine(0.1, 10, -1), ValueError, "warmup is out of range: -1. "),
    (lambda: warmup_cosine(0.1, 10, 1.0), ValueError, "warmup is not a share of total: 1.0. "),
    (lambda: warmup_cosine(0.1, 10, NAN), ValueError, "warmup is not finite: nan. "),
    (lambda: warmup_cosine(0.1, 10, True), TypeError, "warmup is not an integer: True. "),
    (lambda: ENDLESS >> S, ValueError, "piece 1 of 2 is Exponential(start=1.0, gamma=0.9). "),
    (lambda: S >> Constant(0.1) >> S, ValueError, "piece 2 of 3 is Constant(value=0.1). "),
    (lambda: S >> (ENDLESS * 2.0) >> S, ValueError, "piece 2 of 3 is Exponential(start=1.0, gamma=0.9) * 2.0. "),
    (lambda: Sequence((S,)), ValueError, "Sequence pieces are too few: 1. "),
    (lambda: Sequence((S, 0.1)), TypeError, "Sequence pieces hold something else than schedules: 0.1. "),
    (lambda: Sequence(S), TypeError, "Sequence pieces are no tuple: Linear"),
    (lambda: Constant(1.0, 2**53) >> S, ValueError, "Sequence is too long: 9007199254741002 steps. "),
    (lambda: Sequence((S,) * 40_000), ValueError, "too many pieces: "),
    (lambda: Product(()), ValueError, "Product factors are too few: 0. "),
    (lambda: Sum((S, None)), TypeError, "Sum terms hold something else than schedules: None. "),
    (lambda: S * NAN, ValueError, "Constant value is not finite: nan. "),
    (lambda: INF + S, ValueError, "Constant value is not finite: inf. "),
    (lambda: S * None, TypeError, "unsupported operand"),
    (lambda: S * True, TypeError, "unsupported operand"),
    (lambda: "1" + S, TypeError, "can only concatenate str"),
    (lambda: np.ones(2) * S, TypeError, "unsupported operand"),
    (lambda: S >> 0.1, TypeError, "unsupported operand"),
    (lambda: S.shift(-10), ValueError, "Shift leaves no step or too many: -10 on a length of 10. "),
    (lambda: S.shift(-6).shift(-4), ValueError, "Shift leaves no step or too many: -10 on a length of 10. "),
    (lambda: S.shift(2**53), ValueError, "Shift leaves no step or too many: 9007199254740992 on a length of 10. "),
    (lambda: S.shift(1.5), TypeError, "Shift steps is not an integer: 1.5. "),
    (lambda: S.shift(False), TypeError, "Shift steps is not an integer: False. "),
    (lambda: Shift(S, 0), ValueError, "Shift steps are zero: 0. "),
    (lambda: Shift(0.1, 3), TypeError, "Shift schedule is no schedule: 0.1. "),
    (lambda: nested(5), ValueError, "nests sequences and shifts too deeply: 9. "),
    (lambda: right_nested(4), ValueError, "nests sums and products too deeply: 9 open values. "),
    (lambda: from_dict([]), TypeError, "schedule data is not a dict: []. "),
    (lambda: from_dict({"start": 0.1}), ValueError, "schedule kind is unknown: None. Use one of Constant, Linear, "),
    (lambda: from_dict({"kind": "cosine"}), ValueError, "schedule kind is unknown: 'cosine'. "),
    (lambda: from_dict({"kind": ["Cosine"]}), ValueError, "schedule kind is unknown: ['Cosine']. "),
    (lambda: from_dict({"kind": "Constant", "rate": 0.1}), ValueError, "Constant has no such key: 'rate'. Use value, "),
    (lambda: from_dict({"kind": "Linear", "start": 0.1, "end": 0}), ValueError, "Linear lacks a key: 'length'. "),
    (lambda: from_dict({"kind": "Constant", "value": [1]}), TypeError, "Constant value is not a number: (1,). "),
    (lambda: from_dict({"kind": "Sequence", "pieces": [1, 2]}), TypeError, "hold something else than schedules: 1. "),
    (lambda: from_json("{"), ValueError, "schedule text is no JSON: "),
    (lambda: from_json('{"kind": "Constant", "value": NaN}'), ValueError, "Constant value is not finite: nan. "),
    (lambda: from_json("3"), TypeError, "schedule data is not a dict: 3. "),
    (lambda: evaluate(S, [0]), TypeError, "schedules are no list: Linear"),
    (lambda: evaluate([S, 0.1], [0]), TypeError, "schedules hold something else: 0.1. "),
    (lambda: evaluate([S], np.zeros((2, 2), int)), ValueError, "steps are not one-dimensional: shape (2, 2). "),
    (lambda: evaluate([S], [0, -3]), ValueError, "step is out of range: -3. "),
    (lambda: evaluate([S], range(0, -5, -1)), ValueError, "step is out of range: -4. "),
    (lambda: evaluate([S], [2**63]), ValueError, "step is out of range: 9223372036854775808. "),
    (lambda: evaluate([S], [0.5]), TypeError, "steps are not integers: [0.5] (list). "),
    (lambda: evaluate([S], [True]), TypeError, "steps are not integers: [True] (list). "),
    (lambda: evaluate([S], 3), TypeError, "steps are not integers: 3 (int). "),
]

BAD_STEPS: list[tuple[Any, type[Exception], str]] = [
    (-1, ValueError, "step is out of range: -1. "),
    (-(2**70), ValueError, "step is out of range: -1180591620717411303424. "),
    (2**63, ValueError, "step is out of range: 9223372036854775808. "),
    (1.0, TypeError, "steps are not integers: 1.0 (float). "),
    (True, TypeError, "steps are not integers: True (bool). "),
    (None, TypeError, "steps are not integers: None (NoneType). "),
    ("1", TypeError, "steps are not integers: '1' (str). "),
    ([1], TypeError, "steps are not integers: [1] (list). "),
    (np.float64(1), TypeError, "(float64). "),
    (np.True_, TypeError, "(bool). "),
    (np.int64(-7), ValueError, "step is out of range: -7. "),
    (np.array([1.0]), TypeError, "(float64). "),
    (np.array([True]), TypeError, "(bool). "),
    (np.array([3, 4, -5]), ValueError, "step is out of range: -5. "),
    (np.array([1, 2**63], dtype=np.uint64), ValueError, "step is out of range: 9223372036854775808. "),
    (torch.tensor([1.0]), TypeError, "(torch.float32). "),
    (torch.tensor([1.0], dtype=torch.bfloat16), TypeError, "(torch.bfloat16). "),
    (torch.tensor([True]), TypeError, "(torch.bool). "),
    (torch.tensor([1j]), TypeError, "(torch.complex64). "),
    (torch.tensor([0, -9]), ValueError, "step is out of range: -9. "),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case: int) -> None:
    act, error, message = REFUSED[case]
    with pytest.raises(error, match=re.escape(message)):
        act()


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("case", range(len(BAD_STEPS)))
def test_refused_steps(case: int, warm: bool) -> None:
    step, error, message = BAD_STEPS[case]
    s = Warmup(0.1, 3) >> Cosine(0.1, 0.0, 5)
    if warm:
        s(0)
    with pytest.raises(error, match=re.escape(message)):
        s(step)


def test_fields_cannot_be_changed() -> None:
    for name in ("start", "length"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(S, name, 1)
    with pytest.raises((AttributeError, TypeError)):
        S.other = 1  # type: ignore[attr-defined]


def test_numbers_become_plain() -> None:
    s = Linear(np.float32(0.5), 1, np.int32(10))
    assert [type(value) for value in (s.start, s.end, s.length)] == [float, float, int]
    assert s == Linear(0.5, 1.0, 10)
    assert type(MultiStep(1, [np.int64(3)], 1).milestones[0]) is int
    assert np.float64(2.0) * s == 2 * s == Product((Constant(2.0), s))
    assert np.float32(2.0) + s == Sum((Constant(2.0), s))


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i8"]
)
def test_integer_arrays(dtype: str) -> None:
    steps = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    expected = np.array([S(t) for t in range(24)]).reshape(2, 3, 4)
    for array in (steps, steps[:, ::-1, ::2], steps.T, steps[:0], np.array(5, dtype=dtype)):
        values = S(array)
        assert isinstance(values, np.ndarray)
        assert (values.dtype, values.shape) == (np.float64, array.shape)
        assert (values == expected.reshape(-1)[array.astype(int)]).all()
    assert type(S(steps[0, 1, 2])) is float


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integer_tensors(dtype: torch.dtype) -> None:
    steps = torch.arange(24, dtype=dtype).reshape(2, 3, 4)
    for tensor in (steps, steps[:, ::2], steps.permute(2, 0, 1), steps[:0], steps[0, 0, 3]):
        values = S(tensor)
        assert (values.dtype, values.shape, values.device) == (torch.float64, tensor.shape, tensor.device)
        assert values.flatten().tolist() == [S(int(t)) for t in tensor.flatten()]


@pytest.mark.parametrize(
    "steps", [range(0), range(3, 30, 4), range(9, -1, -3), [], [7, 0, 7], (1, 2), np.arange(5)[::2]]
)
def test_evaluate_takes(steps: Any) -> None:
    values = evaluate([S, ENDLESS], steps)
    assert (values.dtype, values.shape) == (np.float64, (2, len(steps)))
    assert values.tolist() == [[S(int(t)) for t in steps], [ENDLESS(int(t)) for t in steps]]
    assert evaluate([], steps).shape == (0, len(steps))
    assert evaluate(iter([S]), torch.tensor([1, 2])).tolist() == [[S(1), S(2)]]


def test_compiled_program_stays_out_of_pickles() -> None:
    cold = pickle.dumps(Cosine(0.1, 0.0, 10))
    warm = Cosine(0.1, 0.0, 10)
    warm(3)
    assert pickle.dumps(warm) == cold


@pytest.mark.parametrize(
    ("s", "text"),
    [
        (Constant(0.5), "Constant(value=0.5)"),
        (Constant(0.5, 3) >> S, "Constant(value=0.5, length=3) >> Linear(start=1.0, end=0.0, length=10)"),
        (2 * ENDLESS * 3, "2.0 * Exponential(start=1.0, gamma=0.9) * 3.0"),
        (2 * (ENDLESS + 1), "2.0 * (Exponential(start=1.0, gamma=0.9) + 1.0)"),
        (2 * ENDLESS + 1, "2.0 * Exponential(start=1.0, gamma=0.9) + 1.0"),
        (Constant(1.0) + Constant(2.0), "Constant(value=1.0) + 2.0"),
        ((2 * S).shift(3), "(2.0 * Linear(start=1.0, end=0.0, length=10)).shift(3)"),
        ((S >> S) * 2, "(" + " >> ".join(["Linear(start=1.0, end=0.0, length=10)"] * 2) + ") * 2.0"),
        (OneCycle(0.1, 10, three_phase=True), "OneCycle(max_lr=0.1, total_steps=10, three_phase=True)"),
    ],
)
def test_text(s: Schedule, text: str) -> None:
    assert repr(s) == text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0.1, 100), Warmup(0.1, 5) >> Cosine(0.1, 0.0, 95)),
        ((0.1, 100, 10), Warmup(0.1, 10) >> Cosine(0.1, 0.0, 90)),
        ((0.1, 100, 0.25), Warmup(0.1, 25) >> Cosine(0.1, 0.0, 75)),
        ((0.1, 5), Warmup(0.1, 1) >> Cosine(0.1, 0.0, 4)),
        ((0.1, 2, 0.99), Warmup(0.1, 1) >> Cosine(0.1, 0.0, 1)),
        ((0.1, 1), Cosine(0.1, 0.0, 1)),
        ((0.1, 100, 0), Cosine(0.1, 0.0, 100)),
        ((0.1, 100, 0.0), Cosine(0.1, 0.0, 100)),
    ],
)
def test_warmup_cosine(arguments: tuple[Any, ...], expected: Schedule) -> None:
    assert warmup_cosine(*arguments) == expected
    assert warmup_cosine(*arguments, end=0.01).end_value == 0.01
