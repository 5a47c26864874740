// The words of CUDA C++ that the kernels use, for the host compiler. Include it before any of their headers.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "executor.h"

#define __host__
#define __device__
#define __global__
#define __launch_bounds__(...)
// One host thread runs one block at a time.
#define __shared__ static thread_local
// A parameter of type T is declared with by_reference::T, a reference: a copy of the arguments for each thread, as the
// language would have it, would cost more than the kernel.
#define __grid_constant__ by_reference::

#define threadIdx (::standin::here().thread)
#define blockIdx (*::standin::here().block)
#define blockDim (*::standin::here().block_dim)
#define gridDim (*::standin::here().grid_dim)

inline void __syncthreads() { ::standin::barrier(); }

// ThreadSanitizer does not know fences: the next atomic operations order what came before them instead.
inline void __threadfence() { ::standin::here().fenced = true; }

// As on the device it orders nothing by itself.
template <class T>
T atomicAdd(T* address, T value) {
  return ::standin::here().fenced ? __atomic_fetch_add(address, value, __ATOMIC_ACQ_REL)
                                  : __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
