// One block's share of a step: a chunk of one tensor, 16 bytes at a time wherever the three arrays are aligned alike.
#pragma once

#include "cuda/element.h"
#include "cuda/state.h"
#include "rules/sgd.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace cuda {

using namespace ::fastlr::cuda;
using sgd::Form;
using sgd::Momentum;

// The arrays of one tensor.
template <class T>
struct Arrays {
  T* param;
  const T* grad;
  T* buffer;
};

template <class T>
struct Rule {
  using C = typename Compute<T>::type;

  SgdScalars<C> scalars;
  Form form;

  template <Momentum momentum>
  __device__ sgd::Updated<C> update(T param, T grad, T buffer) const {
    const C old = momentum == Momentum::later ? load_element(buffer) : C(0);
    return sgd::update<momentum, C>(scalars, form, load_element(param), load_element(grad), old);
  }
};

// `count` vectors, kThreads apart, all of them loaded before the first is used.
template <Momentum momentum, int32_t count, class T>
__device__ inline void update_vectors(const Rule<T>& rule, const Arrays<T>& at, int64_t element) {
  constexpr int64_t kStride = int64_t{kThreads} * kLanes<T>;
  Bits param[count], grad[count], buffer[count] = {};
#pragma unroll
  for (int32_t v = 0; v < count; ++v) {
    const int64_t i = element + v * kStride;
    param[v] = *reinterpret_cast<const Bits*>(at.param + i);
    grad[v] = *reinterpret_cast<const Bits*>(at.grad + i);
    if (momentum == Momentum::later) buffer[v] = *reinterpret_cast<const Bits*>(at.buffer + i);
  }
#pragma unroll
  for (int32_t v = 0; v < count; ++v) {
    const int64_t i = element + v * kStride;
    Bits new_param = {}, new_buffer = {};
#pragma unroll
    for (int32_t lane = 0; lane < kLanes<T>; ++lane) {
      const auto now = rule.template update<momentum>(lane_of<T>(param[v], lane), lane_of<T>(grad[v], lane),
                                                      lane_of<T>(buffer[v], lane));
      put_lane(new_param, lane, store_element<T>(now.param));
      if (momentum != Momentum::off) put_lane(new_buffer, lane, store_element<T>(now.buffer));
    }
    store_bits(at.param + i, new_param);
    if (momentum != Momentum::off) store_bits(at.buffer + i, new_buffer);
  }
}

template <Momentum momentum, class T>
__device__ inline void update_elements(const Rule<T>& rule, const Arrays<T>& at, int64_t begin, int64_t end) {
#pragma unroll 1
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    T buffer = {};
    if (momentum == Momentum::later) buffer = at.buffer[i];
    const auto now = rule.template update<momentum>(at.param[i], at.grad[i], buffer);
    at.param[i] = store_element<T>(now.param);
    if (momentum != Momentum::off) at.buffer[i] = store_element<T>(now.buffer);
  }
}

__device__ inline uint32_t misalignment(const void* address) {
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(address)) % kVectorBytes;
}

// Elements [begin, end) of a tensor: the vectors between its first and its last 16-byte boundary, and what is left.
template <Momentum momentum, class T>
__device__ inline void update_range(const Rule<T>& rule, const Arrays<T>& at, int64_t begin, int64_t end) {
  const uint32_t offset = misalignment(at.param + begin);
  const bool alike = misalignment(at.grad + begin) == offset &&
                     (momentum == Momentum::off || misalignment(at.buffer + begin) == offset);
  if (!alike) return update_elements<momentum>(rule, at, begin, end);
  const int64_t head = offset == 0 ? begin : begin + (kVectorBytes - offset) / static_cast<int64_t>(sizeof(T));
  if (head >= end) return update_elements<momentum>(rule, at, begin, end);
  const int64_t tail = end - (end - head) % kLanes<T>;
  constexpr int64_t kTile = kTileBytes / static_cast<int64_t>(sizeof(T));
  int64_t tile = head;
#pragma unroll 1
  for (; tail - tile >= kTile; tile += kTile) {
    update_vectors<momentum, kVectors>(rule, at, tile + int64_t{threadIdx.x} * kLanes<T>);
  }
#pragma unroll 1
  for (int64_t i = tile + int64_t{threadIdx.x} * kLanes<T>; i < tail; i += int64_t{kThreads} * kLanes<T>) {
    update_vectors<momentum, 1>(rule, at, i);
  }
  update_elements<momentum>(rule, at, begin, head);
  update_elements<momentum>(rule, at, tail, end);
}

// The scalars in the type of the arithmetic.
__device__ inline SgdScalars<float> scalars_as(const StepValues& values, float) { return values.scalars; }
__device__ inline SgdScalars<double> scalars_as(const StepValues& values, double) {
  return sgd::scalars<double>(values.hyper);
}

// The chunk of tensor i that holds its bytes [chunk * bytes, (chunk + 1) * bytes), from its first 16-byte boundary on.
template <class T, class Arguments>
__device__ inline void update_chunk(const Arguments& arguments, int32_t i, int32_t chunk, const StepValues& values,
                                    bool first) {
  const Arrays<T> at{static_cast<T*>(arguments.param[i]), static_cast<const T*>(arguments.grad[i]),
                     static_cast<T*>(arguments.buffer[i])};
  const int64_t length = int64_t{arguments.tiles} * kTileBytes / static_cast<int64_t>(sizeof(T));
  const int64_t before = misalignment(at.param) / static_cast<int64_t>(sizeof(T));
  const int64_t from = chunk * length - before;
  const int64_t begin = from > 0 ? from : 0;
  const int64_t end = from + length < arguments.size[i] ? from + length : arguments.size[i];
  const Rule<T> rule{scalars_as(values, typename Compute<T>::type()), {values.hyper.nesterov, values.decay != 0}};
  // A graph that was recorded without momentum has no buffers for one that comes later.
  if (values.hyper.momentum == 0.0 || at.buffer == nullptr) {
    update_range<Momentum::off>(rule, at, begin, end);
  } else if (first) {
    update_range<Momentum::first>(rule, at, begin, end);
  } else {
    update_range<Momentum::later>(rule, at, begin, end);
  }
}

}  // namespace cuda
}  // namespace FASTLR_ARCH
}  // namespace fastlr
