"""The PTX interpreter's instructions, each against exact arithmetic."""

from typing import Any

import numpy as np
import pytest
import torch
from ptx.convert import CONVERSIONS
from ptx.operations import OPERATIONS
from ptx_cases import STORED, Array, launch, load, register, store
from ptx_oracle import FLOATS, expected


def values_of(kind: str, generator: np.random.Generator, few: bool) -> Array:
    """Boundaries and random values of a type."""
    dtype = np.dtype(STORED[kind])
    if kind == "pred":
        return np.array([0, 1], dtype)
    if dtype.kind == "f":
        info = np.finfo(dtype)
        tiny, big = float(info.smallest_subnormal), float(info.max)
        edges = [0.0, 1.0, -1.0, 1.5, tiny, -3 * tiny, float(info.tiny), big, -big, 1 + float(info.eps), 1 / 3]
        random = generator.normal(size=3 if few else 9) * 10.0 ** generator.integers(-4, 4, 3 if few else 9)
    else:
        whole = np.iinfo(dtype)
        edges = [0, 1, 2, 7, whole.max, whole.max - 1, whole.min, whole.min + 1, whole.max // 3]
        random = generator.integers(whole.min, whole.max, 3 if few else 9, dtype, endpoint=True)
    return np.concatenate([np.array(edges, dtype), random.astype(dtype)])


def cases(name: str, kinds: tuple[str, ...]) -> list[Array]:
    """Operands for each thread: every combination of values."""
    generator = np.random.default_rng(len(name))
    columns = [values_of(kind, generator, len(kinds) == 3) for kind in kinds]
    if name[:3] in ("shl", "shr"):
        columns[1] = np.array([0, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 200, 2**32 - 1], "u4")
    rows = np.meshgrid(*columns, indexing="ij")
    operands = [row.ravel() for row in rows]
    with np.errstate(all="ignore"):
        keep = np.ones(operands[0].shape, bool)
        if name[:3] == "div":
            keep = operands[1] != 0
        elif name[:3] == "rcp":
            keep = operands[0] != 0
        elif name[:4] == "sqrt":
            keep = operands[0] >= 0
        # The one quotient that does not fit its type.
        if name[:3] == "div" and operands[1].dtype.kind == "i":
            keep &= operands[1] != -1
    return [operand[keep] for operand in operands]


def result_of(name: str, operands: list[Array], kinds: tuple[str, ...], result: str, **how: Any) -> Array:
    count = operands[0].size
    out = np.zeros(count, STORED[result])
    body = "".join(load(kind, 10 + i, i + 2) for i, kind in enumerate(kinds))
    body += f"{name} {register(result, 9)}, {', '.join(register(kind, 10 + i) for i, kind in enumerate(kinds))};\n"
    body += store(result, 9, 1)
    stored = [operand.astype(STORED[kind]) for operand, kind in zip(operands, kinds, strict=True)]
    launch(body, (out, {"initialised": False}), *stored, threads=count, **how)
    return out


def same(actual: Array, wanted: list[Any], kind: str) -> bool:
    if kind == "bf16":
        actual = (actual.astype(np.uint32) << 16).view(np.float32)
    if kind in FLOATS:
        return np.array_equal(actual.astype(np.float64), np.array(wanted, np.float64), equal_nan=True)
    return np.array_equal(actual, np.array(wanted, actual.dtype))


def signature(name: str) -> tuple[str, tuple[str, ...]]:
    """The types of the result and of the operands."""
    if name in OPERATIONS:
        return OPERATIONS[name][:2]
    result, operand, _ = CONVERSIONS[name]
    return result, (operand,)


@pytest.mark.parametrize("name", [*OPERATIONS, *CONVERSIONS])
def test_instruction(name: str) -> None:
    result, kinds = signature(name)
    operands = cases(name, kinds)
    rows = list(zip(*[operand.tolist() for operand in operands], strict=True))
    actual = result_of(name, operands, kinds, result)
    assert same(actual, [expected(name, list(row)) for row in rows], result)


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("count", [40, 4000])
def test_fma_next_to_ties(kind: str, count: int) -> None:
    """The sum is where rounding twice would go wrong: a tie of the product moved by a far smaller addend, or back."""
    generator = np.random.default_rng(count)
    dtype = np.dtype(STORED[kind])
    half = np.finfo(dtype).nmant // 2
    a, b = (1 + generator.integers(0, 2 ** (half + 1), (2, count)) * 2.0 ** -(half + 1)).astype(dtype)
    c = (generator.choice([1.0, -1.0], count) * 2.0 ** generator.integers(-2 * half - 60, 3, count)).astype(dtype)
    rows = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    wanted = [expected(f"fma.rn.{kind}", list(row)) for row in rows]
    assert same(result_of(f"fma.rn.{kind}", [a, b, c], (kind,) * 3, kind), wanted, kind)
    if kind == "f32":  # the cases are what they claim to be
        twice = (a.astype("f8") * b.astype("f8") + c.astype("f8")).astype("f4")
        assert count < 1000 or not same(twice, wanted, kind)


@pytest.mark.parametrize("kind", ["f32", "f64"])
def test_not_a_number(kind: str) -> None:
    inf, nan = np.inf, np.nan
    a, b = (np.array(each, STORED[kind]) for each in ([inf, nan, 1.0, nan, -0.0, 0.0], [1.0, 1.0, nan, nan, 0.0, -0.0]))
    highest = result_of(f"max.{kind}", [a, b], (kind,) * 2, kind)
    np.testing.assert_array_equal(highest, [inf, 1, 1, nan, 0, 0])
    assert not np.signbit(highest[4:]).any()
    if kind == "f64":
        whole = result_of("cvt.rzi.u64.f64", [np.array([inf, nan, -inf, 2.0**64])], ("f64",), "u64")
        np.testing.assert_array_equal(whole, np.array([2**64 - 1, 2**63, 0, 2**64 - 1], "u8"))
    fused = result_of(f"fma.rn.{kind}", [a, b, np.full_like(a, -inf)], (kind,) * 3, kind)
    np.testing.assert_array_equal(fused, [nan, nan, nan, nan, -inf, -inf])
    for comparison, wanted in (("lt", "000000"), ("geu", "111111"), ("eq", "000011"), ("nan", "011100")):
        assert "".join(map(str, result_of(f"setp.{comparison}.{kind}", [a, b], (kind,) * 2, "pred"))) == wanted


@pytest.mark.parametrize(("target", "source"), [("f16", "f32"), ("bf16", "f32")])
def test_sixteen_bit_floats(target: str, source: str) -> None:
    """Against torch, over values near every kind of boundary."""
    values = np.random.default_rng(1).integers(0, 2**32, 20000, np.uint32).view(np.float32)
    bits = result_of(f"cvt.rn.{target}.{source}", [values], (source,), target).view(np.int16)
    dtype = {"f16": torch.float16, "bf16": torch.bfloat16}[target]
    wanted = torch.from_numpy(values).to(dtype)
    actual = torch.from_numpy(bits).view(dtype)
    assert torch.equal(actual.nan_to_num(7.0), wanted.nan_to_num(7.0))
    assert (bits[np.isnan(values)] == 0x7FFF).all()
