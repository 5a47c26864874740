"""The PTX interpreter's search for races in watched global memory: found in every order of execution."""

import numpy as np
import pytest
from ptx import ORDERS, Fault
from ptx_cases import ELEMENT, launch

# Every thread of every block reads the word at %d1. The block that takes the last ticket, at %d2, is known to all of
# its threads by way of shared memory, and its threads from number %r9 on store to their own words.
LAST_BLOCK = {
    "read": "ld.global.u32 %r4, [%d1];",
    "after the read": "bar.sync 0;",
    "number 0": "setp.ne.s32 %p1, %r3, 0; @%p1 bra joined;",
    "fence": "membar.gl;",
    "ticket": "atom.global.add.u32 %r5, [%d2], 1; setp.eq.s32 %p2, %r5, 2; selp.u32 %r6, 1, 0, %p2;",
    "tell": "st.shared.u32 [box], %r6;",
    "joined": "joined:",
    "after the ticket": "bar.sync 0;",
    "told": "ld.shared.u32 %r7, [box]; setp.eq.s32 %p3, %r7, 0; @%p3 ret;",
    "number 40": "setp.ne.s32 %p4, %r3, 40; @%p4 ret;",
    "store": "st.global.u32 [%d1], %r0;",
}
SHARED = ".shared .align 4 .u32 box;\n"


def run_last_block(order: str, changed: dict[str, str]) -> int:
    """The word's value at the end."""
    word, ticket = np.zeros(1, "u4"), np.zeros(2, "u4")
    arrays = [(each, {"watched": True}) for each in (word, ticket)]
    body = "\n".join({**LAST_BLOCK, **changed}.values())
    launch(SHARED + body, *arrays, blocks=3, threads=64, order=order, seed=5)
    return int(word[0])


@pytest.mark.parametrize("order", ORDERS)
def test_the_last_block_may_store(order: str) -> None:
    expected = {"forward": [168], "together": [168], "reversed": [40], "random": [40, 104, 168]}
    assert run_last_block(order, {}) in expected[order]


@pytest.mark.parametrize("order", ORDERS)
def test_the_thread_that_took_the_last_ticket_may_store_at_once(order: str) -> None:
    expected = {"forward": [128], "together": [128], "reversed": [0], "random": [0, 64, 128]}
    changed = {"tell": "st.shared.u32 [box], %r6; @%p2 st.global.u32 [%d1], %r0;", "store": ""}
    assert run_last_block(order, changed) in expected[order]


SPOILED = {
    "no fence": {"fence": ""},
    "no barrier between the reads and the ticket": {"after the read": ""},
    "a read behind the ticket": {"read": "", "joined": "joined: ld.global.u32 %r4, [%d1];"},
    "a store by every block": {"told": ""},
    "a store of another thread's, before it is told": {
        "after the ticket": "",
        "told": "setp.ne.s32 %p4, %r1, 2; @%p4 ret;",
    },
    "a load behind the fence": {"fence": "membar.gl; ld.global.u32 %r8, [%d1];"},
    "a store behind the fence": {"fence": "membar.gl; st.global.u32 [%d2+4], %r0;"},
}


@pytest.mark.parametrize("order", ["forward", "together", "random"])
@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_last_block(case: str, order: str) -> None:
    with pytest.raises(Fault, match=r"data race in a global (load|store) of 4 bytes"):
        run_last_block(order, SPOILED[case])


WITHIN = {
    "store, load": ("st.global.u32 [%d1], %r3;", "ld.global.u32 %r4, [%d1];"),
    "load, store": ("ld.global.u32 %r4, [%d1];", "st.global.u32 [%d1], %r3;"),
    "store, store": ("st.global.u32 [%d1], %r3;", "st.global.u32 [%d1], %r3;"),
    "store, atomic": ("st.global.u32 [%d1], %r3;", "atom.global.add.u32 %r4, [%d1], 1;"),
    "atomic, load": ("atom.global.add.u32 %r4, [%d1], 1;", "ld.global.u32 %r4, [%d1];"),
    "wide store, load of a part": ("st.global.v2.u32 [%d1], {%r3, %r3};", "ld.global.u8 %r4, [%d1+5];"),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", WITHIN)
def test_within_a_block(case: str, order: str) -> None:
    """Thread 0 comes first and thread 1 second: a race unless there is a barrier between them."""
    first, second = WITHIN[case]
    two = f"setp.eq.s32 %p1, %r3, 0; setp.eq.s32 %p2, %r3, 1; @%p1 {first} BARRIER @%p2 {second}"
    words = np.zeros(2, "u8")
    launch(two.replace("BARRIER", "bar.sync 0;"), (words, {"watched": True}), threads=2, order=order)
    with pytest.raises(Fault, match="data race in a global"):
        launch(two.replace("BARRIER", ""), (words, {"watched": True}), threads=2, order=order)
    launch(two.replace("BARRIER", ""), words, threads=2, order=order)


def test_one_instruction() -> None:
    """Many loads or atomics at one place are none, and two stores are one."""
    word = np.zeros(1, "u4")
    launch("ld.global.u32 %r4, [%d1];", (word, {"watched": True}), blocks=2, threads=40)
    launch("atom.global.add.u32 %r4, [%d1], 1;", (word, {"watched": True}), blocks=2, threads=40)
    assert word[0] == 80
    with pytest.raises(Fault, match="data race in a global store"):
        launch("st.global.u32 [%d1], %r0;", (word, {"watched": True}), threads=2)
    words = np.zeros(80, "u4")
    launch(ELEMENT + "st.global.u32 [%d10], %r0;", (words, {"watched": True}), blocks=2, threads=40)
