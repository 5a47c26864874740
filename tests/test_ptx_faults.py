"""The PTX interpreter's faults, each with its place, and what it refuses to load."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from ptx import Fault, Module, Unsupported, run
from ptx_cases import ELEMENT, SHARED, WORDS, aligned, kernel_text, launch


@dataclass(frozen=True)
class Case:
    """A kernel's body and the fault that it has: in the last statement, unless `text` names another one."""

    body: str
    problem: str
    block: int = 0
    thread: int = 0
    threads: int = 1
    blocks: int = 1
    text: str = ""

    @property
    def faulty(self) -> str:
        return self.text or self.body.rstrip(";").rpartition(";")[2].strip()


FAULTS = {
    "behind the end": Case(
        ELEMENT + "st.global.u32 [%d10], %r0;",
        "out-of-bounds global store of 4 bytes",
        block=1,
        thread=26,
        threads=40,
        blocks=2,
    ),
    "before the start": Case("ld.global.u32 %r4, [%d1+-4];", "out-of-bounds global load of 4 bytes"),
    "across the end": Case("ld.global.v2.u64 {%d4, %d5}, [%d1+256];", "out-of-bounds global load of 16 bytes"),
    "null": Case("mov.u64 %d3, 0; ld.u64 %d4, [%d3];", "out-of-bounds global load"),
    "behind generic shared memory": Case(
        SHARED
        + "mov.u64 %d3, box; cvta.shared.u64 %d3, %d3; setp.gt.s32 %p1, %r3, 4; selp.b64 %d3, %d3, %d1, %p1;"
        + "mad.lo.s64 %d3, %d0, 200, %d3; ld.u32 %r4, [%d3];",
        "out-of-bounds shared load of 4 bytes",
        thread=6,
        threads=8,
    ),
    "misaligned word": Case("ld.global.u32 %r4, [%d1+2];", "misaligned global load of 4 bytes"),
    "misaligned vector": Case(
        "mov.u32 %r4, 0; st.global.v4.u32 [%d1+8], {%r4, %r4, %r4, %r4};", "misaligned global store of 16 bytes"
    ),
    "constant memory": Case("st.global.u32 [%d2], %r0;", "store of 4 bytes to read-only memory"),
    "memory nobody has written": Case(
        "st.global.u32 [%d3], %r0; ld.global.u64 %d4, [%d3];", "global load of 8 bytes that nobody has written"
    ),
    "register nobody has written": Case("add.s32 %r5, %r4, 1;", "read of the never-written register %r4"),
    "register that some have written": Case(
        "setp.lt.s32 %p1, %r3, 33; @%p1 mov.u32 %r4, 1; add.s32 %r5, %r4, 1;",
        "read of the never-written register %r4",
        thread=33,
        threads=64,
        blocks=2,
    ),
    "guard nobody has written": Case("@%p4 mov.u32 %r4, 1;", "read of the never-written register %p4"),
    "division by zero": Case(
        "add.s32 %r4, %r3, -3; div.s32 %r5, 6, %r4;", "integer division by zero", thread=3, threads=8
    ),
    "shared memory behind the end": Case(
        SHARED + WORDS + "st.shared.u32 [%r10], %r3;", "out-of-bounds shared store of 4 bytes", thread=256, threads=257
    ),
    "misaligned shared": Case(
        SHARED + WORDS + "st.shared.u64 [%r10], %d0;", "misaligned shared store of 8 bytes", thread=1, threads=2
    ),
    "shared memory nobody has written": Case(
        SHARED + WORDS + "ld.shared.u32 %r4, [%r10];", "shared load of 4 bytes that nobody has written", threads=2
    ),
    "store after another thread's load": Case(
        SHARED + WORDS + "st.shared.u32 [%r10], %r3; ld.shared.u32 %r4, [%r10]; st.shared.u32 [%r11], %r3;",
        "data race in a shared store of 4 bytes",
        threads=64,
        blocks=3,
    ),
    "load after another thread's store": Case(
        SHARED + WORDS + "st.shared.u32 [%r10], %r3; ld.shared.u32 %r4, [%r11];",
        "data race in a shared load of 4 bytes",
        threads=64,
    ),
    "two stores to one place": Case(
        SHARED + "st.shared.u32 [box+4], %r3;", "data race in a shared store of 4 bytes", threads=2
    ),
    "two loads, then a store": Case(
        SHARED
        + "setp.eq.s32 %p1, %r3, 0; @%p1 st.shared.u32 [box], %r3; bar.sync 0; "
        + "ld.shared.u32 %r4, [box]; @%p1 st.shared.u32 [box], %r3;",
        "data race in a shared store of 4 bytes",
        threads=2,
    ),
    "parameter behind the end": Case(
        "mov.b64 %d4, p0; ld.param.u64 %d5, [%d4+24];", "out-of-bounds parameter load of 8 bytes"
    ),
    "barrier that some never reach": Case(
        "setp.lt.s32 %p1, %r3, 40; @%p1 ret; bar.sync 0;",
        "barrier never completed, 40 threads of the block have left and 24 wait",
        thread=40,
        threads=64,
        blocks=2,
    ),
    "barriers of two branches": Case(
        "setp.lt.s32 %p1, %r3, 32; @%p1 bra other; bar.sync 0; ret; other: bar.sync 0;",
        "divergent barrier, threads of one block wait at different ones",
        thread=32,
        threads=64,
        text="bar.sync 0",
    ),
    "no end": Case("again: bra.uni again;", "the launch does not end", text="bra.uni again"),
}


@pytest.fixture(autouse=True)
def short_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LIMIT", 2000)


def spoiled(case: str, order: str, seed: int = 0) -> Fault:
    """Launch a case over 64 words to write, 4 that are constant and 4 that nobody has written."""
    found = FAULTS[case]
    how: dict[str, Any] = {"blocks": found.blocks, "threads": found.threads, "order": order, "seed": seed}
    arrays = aligned(66), (np.zeros(4, "u4"), {"writable": False}), (np.empty(4, "u4"), {"initialised": False})
    with pytest.raises(Fault) as caught:
        launch(found.body, *arrays, **how)
    return caught.value


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("order", ["forward", "together"])
def test_fault(case: str, order: str) -> None:
    wanted = FAULTS[case]
    fault = spoiled(case, order)
    assert wanted.problem in fault.problem
    assert (fault.kernel, fault.text, fault.block, fault.thread) == ("test", wanted.faulty, wanted.block, wanted.thread)
    assert str(fault).endswith(f": `{wanted.faulty}` in test, block {wanted.block}, thread {wanted.thread}")


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_fault_in_random_order(case: str, seed: int) -> None:
    """Found as well, though perhaps at another thread, or at the other end of a race."""
    problem = FAULTS[case].problem.split(" of ")[0]
    assert problem.split("shared")[0] in spoiled(case, "random", seed).problem


REFUSED = {
    "opcode": "sin.approx.f32 %f1, %f2;",
    "modifier": "add.rn.ftz.f32 %f1, %f2, %f3;",
    "fusable": "add.f32 %f1, %f2, %f3;",
    "type": "add.s128 %d1, %d2, %d3;",
    "operand count": "add.s32 %r1, %r2;",
    "operand": "add.s32 %r1, %r2, %clock;",
    "constant's type": "add.rn.f32 %f1, %f2, 1;",
    "register's width": "add.s64 %r1, %d2, %d3;",
    "undeclared register": "add.s32 %r77, %r1, %r2;",
    "result": "add.s32 5, %r1, %r2;",
    "parameter store": "st.param.u64 [p0], %d1;",
    "variable": "ld.global.u32 %r1, [elsewhere];",
    "address": "ld.global.u32 %r1, [%f1];",
    "vector": "ld.global.v4.u64 {%d1, %d2, %d3, %d4}, [%d5];",
    "cache": "ld.global.nc.u32 %r1, [%d1];",
    "order": "ld.volatile.global.u32 %r1, [%d1];",
    "atomic": "atom.global.max.u32 %r1, [%d1], %r2;",
    "branch": "bra nowhere;",
    "guard": "@%r1 ret;",
    "call": "call.uni (r), f, (p0);",
    "barrier": "bar.sync 1;",
    "local memory": ".local .align 8 .b8 depot[8];",
    "directive": ".branchtargets a, b;",
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_when_loaded(case: str) -> None:
    """With the instruction's text, also where it would never be reached."""
    statement = REFUSED[case]
    with pytest.raises(Unsupported, match=r"Teach tests/ptx this form") as caught:
        Module(kernel_text(f"ret; {statement}")).kernel("test")
    assert f"`{statement[:-1]}`" in str(caught.value)


def test_a_blocks_register_is_unknown_behind_it() -> None:
    with pytest.raises(Unsupported, match=r"the result is no register: `mov\.u32 %own, 2`"):
        launch("{ .reg .b32 %own; mov.u32 %own, 1; } mov.u32 %own, 2;", np.zeros(1))


@pytest.mark.parametrize(
    "text",
    [".func f() {}", ".extern .shared .b8 box[];", ".visible .entry test() .reqntid 3 {}"],
)
def test_refused_declarations(text: str) -> None:
    with pytest.raises(Unsupported):
        Module(f".version 8.8\n.target sm_80\n.address_size 64\n{text}").kernel("test")


@pytest.mark.parametrize("value", ["", " = 752"])
def test_module_variables_are_skipped(value: str) -> None:
    before = f".global .align 4 .u32 limit{value};\n"
    launch("", np.zeros(1), before=before)
    with pytest.raises(Unsupported, match="limit"):
        launch("ld.global.u32 %r4, [limit];", np.zeros(1), before=before)
