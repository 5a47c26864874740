"""An interpreter for the PTX of the project's kernels: the compiler's code without a GPU.

It runs all threads of a launch over NumPy arrays, on real memory, and knows the instructions that those kernels consist
of and no others: what it does not know, it refuses. An access out of bounds or misaligned, to memory or a register that
nobody has written, a race in shared or in watched global memory, a barrier that is not reached by a whole block are
faults, reported with the instruction and the thread.

    memory = Memory()
    address = memory.add(array)
    kernel = Module(text).kernel("name")
    kernel.launch(memory, [np.uint64(address)], grid=2, block=256, order="random", seed=1)

What it is not: a model of weak memory order (every run is sequentially consistent), of time, or of the machine code.
"""

from ptx.faults import Fault, Unsupported
from ptx.kernel import Kernel, Module
from ptx.memory import Memory
from ptx.run import ORDERS

__all__ = ["ORDERS", "Fault", "Kernel", "Memory", "Module", "Unsupported"]
