"""The PTX interpreter's launches: orders of execution, branches, memory, and kernels as nvcc compiles them."""

from typing import Any

import numpy as np
import pytest
import torch
from ptx import ORDERS, Fault, Memory, Module
from ptx_cases import ELEMENT, SHARED, WORDS, aligned, kernel_text, launch, nvcc_ptx


@pytest.mark.parametrize("order", ORDERS)
def test_atomics_and_barriers(order: str) -> None:
    """Each thread's ticket is another one, and neighbours change words through shared memory."""
    tickets, out, counter = np.zeros(192, "u4"), np.zeros(192, "u4"), np.zeros(1, "u4")
    body = SHARED + WORDS + ELEMENT
    body += "atom.global.add.u32 %r5, [%d3], 1; st.global.u32 [%d10], %r5; membar.gl;\n"
    body += "st.shared.u32 [%r10], %r0; bar.sync 0; ld.shared.u32 %r6, [%r11];\n"
    body += "mad.lo.s64 %d11, %d0, 4, %d2; st.global.u32 [%d11], %r6;\n"
    launch(body, tickets, (out, {"initialised": False}), counter, blocks=3, threads=64, order=order, seed=3)
    assert counter[0] == 192
    assert sorted(tickets) == list(range(192))
    np.testing.assert_array_equal(out, np.arange(192) ^ 1)
    in_order = order in ("forward", "together")
    assert (tickets.tolist() == list(range(192))) == in_order


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shared", [0, 1, 70, 96])
def test_generic_addresses(order: str, shared: int) -> None:
    """The first threads of each block write to shared memory, the others to global memory, by the same instructions."""
    out, words = np.zeros(192, "u4"), np.zeros(192, "u4")
    body = SHARED + WORDS + ELEMENT
    body += "cvt.u64.u32 %d11, %r10; cvta.shared.u64 %d11, %d11; mad.lo.s64 %d12, %d0, 4, %d2;\n"
    body += f"setp.lt.s32 %p1, %r3, {shared}; selp.b64 %d13, %d11, %d12, %p1;\n"
    body += "st.u32 [%d13], %r0; ld.u32 %r5, [%d13]; add.s32 %r5, %r5, 1; st.global.u32 [%d10], %r5;\n"
    launch(body, out, words, blocks=2, threads=96, order=order, seed=1)
    np.testing.assert_array_equal(out, np.arange(192) + 1)
    within = np.arange(192) % 96
    np.testing.assert_array_equal(words, np.where(within < shared, 0, np.arange(192)))


def test_blocks_have_registers_of_their_own() -> None:
    out = np.zeros((3, 40), "u4")
    body = ELEMENT + ".reg .b32 %own; mov.u32 %own, 1;\n"
    body += (
        "{ .reg .b64 %own; cvt.u64.u32 %own, %r0; { .reg .b32 %own, %inner; mov.u32 %own, 3; mov.u32 %inner, %own;\n"
    )
    body += "st.global.u32 [%d10], %inner; } st.global.u32 [%d10+160], %own; }\n"
    body += "{ .reg .b32 %other; add.s32 %other, %own, 1; st.global.u32 [%d10+320], %other; }\n"
    launch(body, out, threads=40)
    np.testing.assert_array_equal(out, [[3] * 40, range(40), [2] * 40])


def neighbours(barrier: str, order: str, seed: int) -> bool:
    """Whether each thread finds its neighbour's word of another warp, exchanged through global memory."""
    words, out = np.zeros(512, "u4"), np.zeros(512, "u4")
    body = ELEMENT + "st.global.u32 [%d10], %r0;" + barrier
    body += "xor.b32 %r5, %r0, 32; cvt.u64.u32 %d11, %r5; mad.lo.s64 %d11, %d11, 4, %d1; ld.global.u32 %r6, [%d11];\n"
    body += "mad.lo.s64 %d11, %d0, 4, %d2; st.global.u32 [%d11], %r6;\n"
    launch(body, words, out, blocks=2, threads=256, order=order, seed=seed)
    return bool((out == np.arange(512) ^ 32).all())


def test_a_removed_barrier_shows_in_random_order_alone() -> None:
    """In global memory, where no race is looked for."""
    assert all(neighbours("bar.sync 0;", order, seed) for order in ORDERS for seed in range(9))
    assert all(neighbours("", order, 0) for order in ("forward", "reversed", "together"))
    assert not all(neighbours("", "random", seed) for seed in range(3))


def test_a_seed_is_an_order() -> None:
    def tickets(seed: int) -> list[int]:
        out = np.zeros(96, "u4")
        body = ELEMENT + "atom.global.add.u32 %r5, [%d2], 1; st.global.u32 [%d10], %r5;"
        launch(body, out, np.zeros(1, "u4"), threads=32, blocks=3, order="random", seed=seed)
        return out.tolist()

    assert tickets(1) == tickets(1)
    assert tickets(1) != tickets(2)


def test_loops_and_branches() -> None:
    """The number of steps to 1 in Collatz's sequence: every thread goes its own way."""
    out = np.zeros(200, "u4")
    body = (
        ELEMENT
        + """
    add.s32 %r4, %r0, 1; mov.u32 %r5, 0;
    again: setp.eq.s32 %p1, %r4, 1; @%p1 bra done;
    add.s32 %r5, %r5, 1; and.b32 %r6, %r4, 1; setp.ne.s32 %p2, %r6, 0;
    @%p2 mad.lo.s32 %r4, %r4, 3, 1; @!%p2 shr.u32 %r4, %r4, 1; bra again;
    done: st.global.u32 [%d10], %r5;"""
    )
    for order in ORDERS:
        out[:] = 0
        launch(body, out, threads=50, blocks=4, order=order)
        assert out[:10].tolist() == [0, 1, 7, 2, 5, 8, 16, 3, 19, 6]
        assert out[96] == 118


def test_vectors_and_parts_of_registers() -> None:
    source, out = aligned(8), aligned(8)
    source[:] = np.arange(8) * 0x01010101
    body = """ld.global.v4.u32 {%r4, _, %r5, %r6}, [%d1+16]; mov.b64 %d4, {%r4, %r5}; mov.b64 {%r7, %r8}, %d4;
    mov.b32 {%h4, %h5}, %r6; mov.b32 %r9, {%h5, %h4}; st.global.v2.u64 [%d2], {%d4, %d4};
    st.global.v4.u32 [%d2+16], {%r8, %r7, %r9, %r9}; st.global.u8 [%d2], %r6;"""
    launch(body, source, out)
    four, six, seven = (int(source[i]) for i in (4, 6, 7))
    assert out.tolist() == [four & ~0xFF | seven & 0xFF, six, four, six, six, four, seven, seven]


def test_bytes_are_extended_by_their_sign() -> None:
    source, out = np.array([-3], "i1"), np.zeros(3, "i8")
    body = "ld.global.s8 %r4, [%d1]; ld.global.u8 %r5, [%d1]; ld.global.s8 %d6, [%d1]; ld.global.s8 %h1, [%d1];\n"
    body += "cvt.s64.s32 %d4, %r4; cvt.s64.s32 %d5, %r5; st.global.u64 [%d2], %d4; st.global.u64 [%d2+8], %d5;\n"
    launch(body + "st.global.u64 [%d2+16], %d6;", source, out)
    assert out.tolist() == [-3, 253, -3]


def test_traffic_is_counted() -> None:
    words = np.zeros(64, "u4")
    body = "setp.lt.s32 %p1, %r0, 9; ld.global.u32 %r4, [%d10]; @%p1 st.global.u8 [%d10], %r4;"
    memory = launch(ELEMENT + body, words, threads=64)
    assert memory.traffic(words.ctypes.data) == (256, 9)


def test_ranges_do_not_overlap() -> None:
    words, memory = np.zeros(8, "u4"), Memory()
    address = memory.add(words[2:6])
    for part in (words, words[:3], words[5:], words[3:4], words[2:6]):
        with pytest.raises(ValueError, match="the range overlaps another"):
            memory.add(part)
    memory.add(words[:2])
    memory.add(words[6:])
    memory.remove(address)
    memory.add(words[2:6])


@pytest.mark.parametrize("strided", [np.zeros(8)[::2], torch.zeros(3, 4).t()], ids=["array", "tensor"])
def test_memory_is_contiguous(strided: Any) -> None:
    with pytest.raises(ValueError, match="memory is not contiguous"):
        Memory().add(strided)


def test_launches_are_checked() -> None:
    kernel = Module(kernel_text("").replace(")\n{", ")\n.maxntid 64, 1, 1\n{", 1)).kernel("test")
    kernel.launch(Memory(), [np.uint64(0)], grid=1, block=64)
    with pytest.raises(ValueError, match="a block is too large"):
        kernel.launch(Memory(), [np.uint64(0)], grid=1, block=(13, 5))
    with pytest.raises(ValueError, match="arguments do not fit"):
        kernel.launch(Memory(), [np.uint32(0)], grid=1, block=1)
    with pytest.raises(ValueError, match="unknown order"):
        kernel.launch(Memory(), [np.uint64(0)], grid=1, block=1, order="chaos")


REDUCTION = """
extern "C" __global__ void __launch_bounds__(128)
sum(const unsigned* in, unsigned long long size, unsigned* partial, unsigned* ticket, unsigned* total) {
  __shared__ unsigned box[128];
  __shared__ bool last;
  unsigned own = 0;
  for (unsigned long long i = blockIdx.x * 128ull + threadIdx.x; i < size; i += gridDim.x * 128ull) own += in[i];
  box[threadIdx.x] = own;
  for (unsigned half = 64; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) box[threadIdx.x] += box[threadIdx.x + half];
  }
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = box[0];
    __threadfence();
    last = atomicAdd(ticket, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  for (unsigned i = 0; i < gridDim.x; ++i) *total += partial[i];
}
"""


@pytest.fixture(scope="module")
def reduction(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("reduction")
    (folder / "sum.cu").write_text(REDUCTION)
    return nvcc_ptx(folder / "sum.cu", folder / "sum.ptx")


def total(text: str, order: str, seed: int) -> int:
    memory, size = Memory(), 1000
    values = np.arange(size, dtype="u4")
    partial, ticket, result = np.empty(5, "u4"), np.zeros(1, "u4"), np.zeros(1, "u4")
    addresses = [memory.add(each) for each in (values, ticket, result)]
    scratch = memory.add(partial, initialised=False)
    arguments = map(np.uint64, (addresses[0], size, scratch, addresses[1], addresses[2]))
    Module(text).kernel("sum").launch(memory, arguments, grid=5, block=128, order=order, seed=seed)
    return int(result[0])


@pytest.mark.parametrize("order", ORDERS)
def test_compiled_reduction(reduction: str, order: str) -> None:
    assert total(reduction, order, 1) == 999 * 500


@pytest.mark.parametrize("order", ORDERS)
def test_compiled_reduction_without_a_barrier(reduction: str, order: str) -> None:
    parts = reduction.split("bar.sync")
    assert len(parts) > 3
    for i in range(1, len(parts)):
        text = "bar.sync".join(parts[:i]) + "//" + "bar.sync".join(parts[i:])
        with pytest.raises(Fault, match=r"data race in a shared|nobody has written"):
            total(text, order, i)
