"""Expressions and data from outside: anything may come in, only ValueError and TypeError may come out."""

import copy
import inspect
import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastlr.schedules import Schedule, from_dict, from_json, parse
from fastlr.schedules.expression import MAX_TEXT
from fastlr.schedules.serialize import KINDS
from fastlr.schedules.vocabulary import FUNCTIONS, METHODS, OPERATORS, dialects
from fastlr.schedules.vocabulary import schedules as allowed

MAX_STEP = 2**63 - 1
CORPUS = (
    "Warmup(.1, 500) >> Cosine(.1, 0, 9500)",
    "2 * Linear(1, 0, 4) + 1 / (1 + Linear(start=1, end=0, length=4)) - .5",
    "minimum(Linear(1, 0, 4), .5).clip(low=.1, high=.4) ** 2",
    "MultiStep(1, [3, 5], .5).hold(9).repeat(3, decay=.5, growth=2)",
    "OneCycle(.1, 10, anneal_strategy='linear', three_phase=True).momentum",
    "warmup_stable_decay(.1, 100, shape='1-sqrt').per_epoch(7).floor(3).shift(-2)",
    "(Warmup(.1, 5) >> Cosine(.1, 0, 95, k=2)).over(1000).stretch(2).past_end('error')",
    "CosineRestarts(.1, 0, 10, growth=2, decay=.5, cycles=3) >> Cosine(.1, 0, 7).past_end('extrapolate')",
    "Cyclic(.01, .1, 25, mode='exp_range', gamma=.99, scale_mode='cycle')",
    "Piecewise((2, 5), (1, 2, 3)) * Table([.5, .25]) + Tanh(1, 0, 9)",
    "Exponential(1, .5, period=2.5) + Step(1, 3, .5) + InverseSqrt(1, 10) + InverseTime(1, .1)",
    "Power(1, 0, 9, .5) >> Geometric(1, .1, 9) >> Logarithmic(0, 1, 9) >> NormalizedExponential(1, 0, 9)",
    "WithMomentum(noam(512, 400), range_test(1e-4, 1, 100))",
    "ReduceOnPlateau(Constant(.1), patience=3)",
    "torch.CosineAnnealingLR(.1, T_max=100) + torch.CyclicLR(.1, 1, 20).hold(40)",
    "torch.SequentialLR(.1, [['ConstantLR', {'total_iters': 5}], ['StepLR', {'step_size': 3}]], [5])",
    "transformers.get_wsd_schedule(.1, 10, 20, num_training_steps=100)",
    "timm.CosineLRScheduler(.1, 100, cycle_mul=2, cycle_decay=.5, cycle_limit=3, warmup_t=5)",
    "optax.piecewise_constant_schedule(.1, {3: .5, 9: .2}) * optax.warmup_cosine_decay_schedule(0, 1, 5, 50)",
    "ultralytics.schedule(.01, .01, 10, 20)",
)
PIECES = (
    *KINDS,
    *FUNCTIONS,
    *(f".{name}" for name in (*METHODS, "momentum", "__class__")),
    *OPERATORS,
    *"()[]{},:=.-",
    *("1", "0", "-1", ".5", "1e-320", "1e308", "2**53", "9007199254740993", "1e999", "True", "None"),
    *("'linear'", "'cos'", "'error'", "'extrapolate'", "length=", "start=", "torch.StepLR", "\n", "\x00", "λ"),
)
WHOLE = tuple(
    to_call for name in KINDS for to_call in (f"{name}(1, 2, 3)", f"{name}(.1, 0, 5, 2)", f"{name}(Constant(1))")
)

WORD = r"[A-Za-z_]\w*|[\d.]+(?:e-?\d+)?|>>|\*\*|[-+*/]"
NUMBERS = ("0", "1", "2", "3", "7", ".5", "100", "-1", "1e-320", "1e308", "9007199254740992", "None", "True")
KINDS_OF_WORDS = (tuple(KINDS), FUNCTIONS, METHODS, tuple(OPERATORS))

FUNCTIONS_BY_NAME = {
    **allowed(),
    **{f"{library}.{name}": one for library, functions in dialects().items() for name, one in functions.items()},
}
ARGUMENTS = st.one_of(
    st.sampled_from(["1", "2", "5", "10", "100", ".5", ".1"]),
    st.sampled_from(["0", "-1", "1e-320", "1e308", "2**53", "None", "True", "'cos'", "'abc'", "'min'", "[]", "{}"]),
    st.sampled_from(["[1, 2]", "(3,)", "{3: .5}", "{'a': 1}", "[['StepLR', {'step_size': 3}]]", "Linear(1, 0, 5)"]),
)

texts = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from((*PIECES, *WHOLE, *CORPUS)), max_size=12).map(" ".join),
)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, 1, 2, 2**53, 2**53 + 1, 2**63, -1, 10**400]),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([*KINDS, "linear", "cos", "triangular2", "exp_range", "cycle", "extrapolate", "error", "kind"]),
)
keys = st.one_of(
    st.text(max_size=5), st.sampled_from(["kind", "start", "length", "schedule", "pieces", "values", "growth"])
)
data = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)), max_leaves=12
)


@st.composite
def edited_texts(draw: st.DrawFn) -> str:
    """A good expression with some of its words replaced by words of the same kind, or some slices by anything."""
    text = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.integers(0, 3)):
            word = draw(st.sampled_from(list(re.finditer(WORD, text)) or [re.match("", text)]))
            begin, end = word.span()
            alike = next((kind for kind in KINDS_OF_WORDS if word[0] in kind), NUMBERS)
            new = draw(st.sampled_from(alike))
        else:
            begin = draw(st.integers(0, len(text)))
            end = min(begin + draw(st.integers(0, 6)), len(text))
            new = draw(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)))
        text = text[:begin] + new + text[end:]
    return text


@st.composite
def calls(draw: st.DrawFn) -> str:
    """A call of any class or function that may be named, with its own arguments' names."""
    name = draw(st.sampled_from(sorted(FUNCTIONS_BY_NAME)))
    function = FUNCTIONS_BY_NAME[name]
    parameters = inspect.signature(function.__init__ if isinstance(function, type) else function).parameters
    given = [
        f"{parameter.name}={draw(ARGUMENTS)}"
        for parameter in parameters.values()
        if parameter.name != "self" and (parameter.default is inspect.Parameter.empty or draw(st.booleans()))
    ]
    return f"{name}({', '.join(given)})"


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every container inside a value, with each of its keys."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [(value, key) for key, _ in pairs] + [node for _, inner in pairs for node in nodes(inner)]


@st.composite
def edited_data(draw: st.DrawFn) -> dict[str, Any]:
    """The data of a good schedule with some entries replaced, removed or added."""
    found = copy.deepcopy(draw(st.sampled_from(CORPUS_DATA)))
    for _ in range(draw(st.integers(1, 2))):
        container, key = draw(st.sampled_from(nodes(found)))
        action = draw(st.sampled_from(["alike"] * 7 + ["replace", "remove", "add"]))
        if action == "alike":
            container[key] = draw(ALIKE.get(type(container[key]), data))
        elif action == "replace":
            container[key] = draw(data)
        elif action == "remove":
            del container[key]
        elif isinstance(container, dict):
            container[draw(keys)] = draw(data)
        if not found:
            break
    return found


ALIKE: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(0, 40) | st.integers(),
    float: st.floats(0.0, 3.0) | st.floats(),
    dict: st.deferred(lambda: st.sampled_from(CORPUS_DATA).map(copy.deepcopy)),
    bool: st.booleans(),
    str: plain,
}
CORPUS_DATA = [json.loads(parse(text).to_json()) for text in CORPUS]


def use(schedule: Schedule) -> None:
    """What was accepted has values and comes back from text and data."""
    for step in {0, 1, schedule.length or 1, MAX_STEP}:
        try:
            assert isinstance(schedule(step), float)
        except ValueError as error:  # past an end with an error, at a division by zero, at infinity times zero
            assert "no value" in str(error)  # noqa: PT017
    assert from_dict(schedule.to_dict()) == schedule
    assert from_json(schedule.to_json()) == schedule
    text = repr(schedule)
    if len(text) <= MAX_TEXT:
        assert parse(text) == schedule


def read(reader: Any, value: object) -> None:
    """Read the value; use what comes out of it."""
    try:
        schedule = reader(value)
    except (ValueError, TypeError) as error:
        assert str(error)  # noqa: PT017
    else:
        use(schedule)


@pytest.mark.parametrize("text", CORPUS)
def test_the_corpus_is_accepted(text: str) -> None:
    use(parse(text))


@settings(max_examples=1000)
@given(texts)
@example("Constant(1)" + " >> Constant(1)" * 100)
def test_texts(text: str) -> None:
    read(parse, text)


@settings(max_examples=2500)
@given(edited_texts())
def test_edited_texts(text: str) -> None:
    read(parse, text)


@settings(max_examples=1500)
@given(calls())
def test_calls(text: str) -> None:
    read(parse, text)


@settings(max_examples=500)
@given(data)
def test_data(value: object) -> None:
    read(from_dict, value)
    read(from_json, json.dumps(value))


@settings(max_examples=2500)
@given(edited_data())
def test_edited_data(value: dict[str, Any]) -> None:
    read(from_dict, value)
    read(from_json, json.dumps(value))


@settings(max_examples=500)
@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=60), edited_data().map(lambda found: json.dumps(found).encode()))
)
def test_bytes(value: bytes | str) -> None:
    read(from_json, value)


@given(st.sampled_from(CORPUS_DATA), st.integers(0, 10_000), st.sampled_from(list('"{}[]:,0\\\x00')))
def test_cut_json(found: dict[str, Any], place: int, sign: str) -> None:
    text = json.dumps(found)
    place %= len(text)
    read(from_json, text[:place])
    read(from_json, text[:place] + sign + text[place + 1 :])


def nested(kind: str, field: str, depth: int) -> dict[str, Any]:
    """Schedules inside schedules, depth times."""
    found: dict[str, Any] = {"kind": "Constant", "value": 1.0}
    for _ in range(depth):
        found = {"kind": kind, field: [found, {"kind": "Constant", "value": 1.0}] if field.endswith("s") else found}
        if kind == "Shift":
            found["steps"] = 1
    return found


@pytest.mark.parametrize(("kind", "field"), [("Shift", "schedule"), ("Sum", "terms"), ("Product", "factors")])
@pytest.mark.parametrize("depth", [30, 100, 900, 100_000])
def test_deep_data(kind: str, field: str, depth: int) -> None:
    read(from_dict, nested(kind, field, depth))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"kind":' * 100_000, '{"kind": "Sum", "terms": [' * 50_000])
def test_deep_json(text: str) -> None:
    read(from_json, text)


@given(st.lists(st.sampled_from(CORPUS), min_size=2, max_size=5), st.sampled_from([" + ", " * ", " - "]))
@settings(max_examples=50)
def test_combinations_of_the_corpus(chosen: list[str], sign: str) -> None:
    read(parse, sign.join(f"({one})" for one in chosen))
