"""Expressions: what they mean, what they refuse and where, and that no text takes long or runs code."""

import pytest

from fastlr.compat import optax, torch
from fastlr.schedules import (
    Constant,
    Cosine,
    Linear,
    MultiStep,
    OneCycle,
    Product,
    Schedule,
    Sequence,
    Shift,
    Step,
    Sum,
    Warmup,
    maximum,
    minimum,
    parse,
    warmup_cosine,
)
from fastlr.schedules.vocabulary import FUNCTIONS, METHODS, ExpressionError

LINE = Linear(1.0, 0.0, 4)

MEANING = [
    ("Warmup(.1, 500) >> Cosine(.1, 0, 9500)", Sequence((Warmup(0.1, 500), Cosine(0.1, 0.0, 9500)))),
    ("Linear(start=1, end=0, length=4)", LINE),
    ("Linear(1, 0, length=4,)", LINE),
    ("  Linear\n(1,\t0, 4)  ", LINE),
    ("(((Linear(1, 0, 4))))", LINE),
    ("fastlr.schedules.Linear(1, 0, 4)", LINE),
    ("schedules.Linear(1, 0, 4)", LINE),
    ("fastlr.warmup_cosine(.1, 100)", warmup_cosine(0.1, 100)),
    ("warmup_cosine(.1, 100, warmup=10, end=1e-3)", warmup_cosine(0.1, 100, 10, end=1e-3)),
    ("minimum(Linear(1, 0, 4), .5)", minimum(LINE, 0.5)),
    ("maximum(Linear(1, 0, 4), .5)", maximum(LINE, 0.5)),
    ("MultiStep(1, [3, 5], .5)", MultiStep(1.0, (3, 5), 0.5)),
    ("MultiStep(1, (3,), .5)", MultiStep(1.0, (3,), 0.5)),
    ("MultiStep(1, (), .5)", MultiStep(1.0, (), 0.5)),
    (
        "OneCycle(.1, 10, anneal_strategy='linear', three_phase=True)",
        OneCycle(0.1, 10, 0.3, "linear", three_phase=True),
    ),
    ('OneCycle(.1, 10, anneal_strategy="cos").momentum', OneCycle(0.1, 10).momentum),
    ("Constant(.1, None)", Constant(0.1)),
    ("Linear(1, 0, 4).shift(3)", Shift(LINE, 3)),
    ("Linear(1, 0, 4).shift(-3)", Shift(LINE, -3)),
    ("Linear(1, 0, 4) . shift ( 1 ) . shift ( 2 )", Shift(LINE, 3)),
    ("torch.StepLR(.1, step_size=3)", Step(0.1, 3, 0.1)),
    ("fastlr.compat.torch.StepLR(.1, 3)", Step(0.1, 3, 0.1)),
    ("compat.optax.piecewise_constant_schedule(1, {3: .5})", optax.piecewise_constant_schedule(1.0, {3: 0.5})),
    (
        "torch.SequentialLR(.1, [['ConstantLR', {'total_iters': 5}], ['StepLR', {'step_size': 3}]], [5])",
        torch.SequentialLR(0.1, [["ConstantLR", {"total_iters": 5}], ["StepLR", {"step_size": 3}]], [5]),
    ),
    # Numbers of their own.
    ("Constant(2 * 3 + 4 / 8 - 1)", Constant(5.5)),
    ("Constant(2 ** 3 ** 2)", Constant(512.0)),
    ("Constant(-2 ** 2)", Constant(-4.0)),
    ("Constant(2 ** -1)", Constant(0.5)),
    ("Constant(--1)", Constant(1.0)),
    ("Constant(1e-3)", Constant(1e-3)),
    ("Constant(1_000.5)", Constant(1000.5)),
    ("Linear(1, 0, 2 * (1 + 1))", LINE),
    ("Linear(1, 0, 2 ** 53)", Linear(1.0, 0.0, 2**53)),
    # Operators of schedules, which bind as in Python.
    ("2 * Linear(1, 0, 4) + 1", 2 * LINE + 1),
    ("2 * 3 * Linear(1, 0, 4) * 2 * 3", Product((Constant(6.0), LINE, Constant(2.0), Constant(3.0)))),
    ("1 + 2 + Linear(1, 0, 4) + 1 + 2", Sum((Constant(3.0), LINE, Constant(1.0), Constant(2.0)))),
    ("1 - Linear(1, 0, 4) - 2", 1 - LINE - 2),
    ("1 / (1 + Linear(1, 0, 4)) / 2", 1 / (1 + LINE) / 2),
    ("-Linear(1, 0, 4)", -LINE),
    ("-Linear(1, 0, 4) ** 2", -(LINE**2)),
    ("Linear(1, 0, 4) >> Linear(1, 0, 4) * 2 + 1", LINE >> (LINE * 2 + 1)),
    ("(Linear(1, 0, 4) >> Linear(1, 0, 4)) * 2", (LINE >> LINE) * 2),
    ("Linear(1, 0, 4) + Linear(1, 0, 4) * Linear(1, 0, 4)", LINE + LINE * LINE),
]

MISTAKES = [
    ("", 1, "The expression ends too early"),
    ("Linear(1, 0, 4) >> Cosin(1, 0, 4)", 20, "Unknown schedule: 'Cosin' at column 20. Did you mean Cosine?"),
    ("Linear(1, 0, 4) >> zzzzz(1)", 20, "Use one of Constant, "),
    ("  Cosin(1)", 3, "at column 3"),
    ("Linear(1, 0, 4).shfit(1)", 17, "Unknown method: 'shfit' at column 17. Did you mean shift?"),
    ("Linear(1, 0, 4).to_json()", 17, "Unknown method: 'to_json'"),
    ("Linear(1, 0, 4).program", 17, "Unknown method: 'program'"),
    ("Linear(1, 0, 4).__class__", 17, "Unknown method: '__class__'"),
    ("Linear(1, 0, 4).shift", 22, "Write ( here."),
    ("Linear(1, 0, 4).momentum", 17, "No momentum belongs to this schedule"),
    ("Linear(1, 0, lenth=4)", 1, "Linear has no argument 'lenth' at column 1. Did you mean length?"),
    ("Linear(1, 0)", 1, "missing a required argument: 'length' at column 1. Its arguments are start, end, length."),
    ("Linear(1, 0, 4, 5)", 1, "too many positional arguments"),
    ("Linear(1, 0, 4, length=5)", 1, "multiple values for argument 'length'"),
    ("Linear(start=1, 0, 4)", 17, "Give it a name"),
    ("Linear(start=1, start=1)", 17, "An argument is given twice: 'start'"),
    ("1 + Linear(1, 0, 0)", 5, "Linear length is out of range: 0 at column 5. Use 1 to 2**53."),
    ("Linear(1, 0, 4.0)", 1, "Linear length is not an integer: 4.0 at column 1."),
    ("Linear('a', 0, 4)", 1, "Linear start is not a number: 'a'"),
    ("Linear(True, 0, 4)", 1, "Linear start is not a number: True"),
    ("Linear((1, 2), 0, 4)", 1, "Linear start is not a number: (1, 2)"),
    ("Linear({'a': 1}, 0, 4)", 1, "Linear start is not a number: {'a': 1}"),
    ("Constant(1).shift(0.5)", 13, "Shift steps is not an integer: 0.5"),
    ("Constant(1) >> Constant(2)", 13, "Only the last piece may be endless"),
    # Refused when they are built, not at the first step.
    ("Cyclic(0, 1, 2**53)", 1, "Sequence is too long"),
    ("NormalizedExponential(1, 1e308, 1)", 1, "value is not finite"),
    ("optax.join_schedules([1, 2], [3])", 1, "schedules hold something else: 1"),
    ("optax.piecewise_constant_schedule(1, 1)", 1, "boundaries_and_scales is no dict: 1"),
    ("optax.cosine_onecycle_schedule(9, 1, pct_start=1e308)", 1, "pct_start is out of range: 1e+308"),
    ("0.1", 1, "No schedule: 0.1 at column 1. Wrap a number in Constant."),
    ("'Constant'", 1, "No schedule: 'Constant'"),
    ("None", 1, "No schedule: None"),
    ("Constant", 9, "Write ( here."),
    ("Constant(1) Constant(2)", 13, "Unexpected text: 'Constant'"),
    ("Constant(1))", 12, "Unexpected text: ')'"),
    ("Constant(1 2)", 12, "Write a comma or ) here."),
    ("Constant(1", 11, "The expression ends too early"),
    ("Constant(,)", 10, "Unexpected text: ','"),
    ("Constant(1]", 11, "Write a comma or ) here."),
    ("(1).shift(1)", 5, "Methods belong to schedules."),
    ("Constant(1) +", 14, "The expression ends too early"),
    ("Constant(1) >> 2", 13, ">> does not take this: 2 at column 13. Write Constant(value, length)."),
    ("1 >> 2", 3, ">> does not take this: 1"),
    ("Constant(1) * 'a'", 13, "* does not take this: 'a'"),
    ("Constant(1) * True", 13, "* does not take this: True"),
    ("Constant(1) + (1, 2) + 3", 13, "+ does not take this: (1, 2)"),
    ("Constant(1) + 2 + None", 17, "+ does not take this: None"),
    ("Constant(1, 2) >> Constant(1, 2) >> 3", 34, ">> does not take this: 3"),
    ("-'a'", 1, "- does not take this: 'a'"),
    ("Constant(1) ; 2", 13, "Unreadable character: ';'"),
    ("Constant(1)\x00", 12, "Unreadable character: '\\x00'"),
    ("Constant('a\\n')", 10, "Unreadable character"),
    ("Constant('a", 10, "Unreadable character"),
    ("Çonstant(1)", 1, "Unreadable character: 'Ç'"),
    ("Constant(１)", 10, "Unreadable character"),
    ("Constant(1j)", 11, "Write a comma or ) here."),
    ("Constant(1__0)", 10, "Unreadable number: '1__0'"),
    ("Constant(0x10)", 11, "Write a comma or ) here."),
    ("Constant(1e999)", 10, "A number is not finite and real: inf"),
    ("Constant(9 ** 9 ** 9)", 12, "No value: 9 ** 387420489"),
    ("Constant((-8) ** .5)", 15, "A number is not finite and real: ("),
    ("Constant(1 / 0)", 12, "No value: 1 / 0"),
    ("Constant(2 ** 53 + 1)", 18, "A whole number is above 2**53"),
    ("Constant(9007199254740993)", 10, "A whole number is above 2**53"),
    ("Constant(" + "1" * 5000 + ")", 10, "Unreadable number: '111"),
    ("Constant({1.5: 2})", 11, "No key: 1.5 at column 11. Use a name in quotes or a whole number."),
    ("Constant({(): 2})", 11, "No key: ()"),
    ("Constant({1: 2})", 1, "Constant value is not a number: {1: 2}"),
    ("Constant({'a' 2})", 15, "Write : here."),
    ("Constant(lambda: 1)", 10, "Unknown schedule: 'lambda'"),
    ("__import__('os').system('true')", 1, "Unknown schedule: '__import__'"),
    ("os.system('true')", 1, "Unknown library: 'os'"),
    ("fastlr.from_torch(1)", 1, "Unknown schedule: 'from_torch'"),
    ("torch.load('a')", 1, "Unknown scheduler of torch: 'load'"),
    ("torch.CosineAnealingLR(.1, 10)", 1, "Did you mean CosineAnnealingLR?"),
]

HUGE = [
    ("(" * 50_000, "Nested too deeply: more than 50 levels at column 52"),
    ("[" * 50_000, "Nested too deeply"),
    ("-" * 50_000, "Nested too deeply"),
    ("1**" * 30_000, "Nested too deeply"),
    ("Shift(" * 15_000, "Nested too deeply"),
    ("Constant(" + "[1]," * 20_000, "The expression ends too early"),
    ("Constant(1)" + "+1" * 40_000, "too many pieces"),
    ("Constant(1)" + "*1" * 40_000, "too many pieces"),
    ("Constant(1)" + "-1" * 40_000, "too much work"),
    ("Constant(1)" + "/1" * 40_000, "Nested too deeply: more than 64 levels"),
    ("Constant(1)" + ".floor(1)" * 10_000, ""),
    ("Constant(1)" + ".shift(1)" * 10_000, "too much work"),
    ("1+" * 49_000 + "1", "No schedule: 49001"),
    ("a" * 100_001, "The expression is too long: 100001 characters"),
    ("9" * 100_000, "Unreadable number"),
]


@pytest.mark.parametrize(("text", "expected"), MEANING, ids=[text for text, _ in MEANING])
def test_meaning(text: str, expected: Schedule) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(("text", "column", "message"), MISTAKES, ids=[text[:40] for text, _, _ in MISTAKES])
def test_a_mistake_is_told_with_its_column(text: str, column: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert f"at column {column}" in str(caught.value)
    assert caught.value.position == column - 1


@pytest.mark.parametrize(("text", "message"), HUGE, ids=[text[:15] for text, _ in HUGE])
def test_a_huge_text_is_refused_soon(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_a_long_sequence_is_read_in_one_go() -> None:
    pieces = 5000
    s = parse(" >> ".join(["Constant(1, 1)"] * pieces))
    assert isinstance(s, Sequence)
    assert len(s.pieces) == pieces


@pytest.mark.parametrize("text", [b"Constant(1)", 1, None, ["Constant(1)"]])
def test_only_text_is_read(text: object) -> None:
    with pytest.raises(TypeError, match="expression is no str"):
        parse(text)  # type: ignore[arg-type]


def test_functions_and_methods_that_may_be_named_exist() -> None:
    import fastlr.schedules

    for name in FUNCTIONS:
        assert name in fastlr.schedules.__all__
    for name in METHODS:
        assert callable(getattr(Schedule, name))
