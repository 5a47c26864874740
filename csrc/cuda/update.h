// One block's share of a step: a chunk of one tensor, 16 bytes at a time wherever its arrays are aligned alike.
#pragma once

#include "cuda/element.h"
#include "cuda/state.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace cuda {

using namespace ::fastlr::cuda;

// The arrays of one tensor.
template <class Rule, class T>
struct Arrays {
  T* param;
  const T* grad;
  T* state[Rule::kStates];
};

// What is the same for all of them.
template <class Rule, class T>
struct Update {
  using C = typename Compute<T>::type;

  typename Rule::template Scalars<C> scalars;
  typename Rule::Form form;
};

// `count` vectors, kThreads apart, all of them loaded before the first is used.
template <class Rule, int32_t traffic, int32_t count, class T>
__device__ inline void update_vectors(const Update<Rule, T>& by, const Arrays<Rule, T>& at, int64_t element) {
  using C = typename Compute<T>::type;
  constexpr int64_t kStride = int64_t{kThreads} * kLanes<T>;
  Bits param[count], grad[count], state[Rule::kStates][count] = {};
#pragma unroll
  for (int32_t v = 0; v < count; ++v) {
    const int64_t i = element + v * kStride;
    param[v] = *reinterpret_cast<const Bits*>(at.param + i);
    grad[v] = *reinterpret_cast<const Bits*>(at.grad + i);
#pragma unroll
    for (int32_t k = 0; k < Rule::kStates; ++k) {
      if (Rule::reads(traffic, k)) state[k][v] = *reinterpret_cast<const Bits*>(at.state[k] + i);
    }
  }
#pragma unroll
  for (int32_t v = 0; v < count; ++v) {
    const int64_t i = element + v * kStride;
    Bits new_param = {}, new_state[Rule::kStates] = {};
#pragma unroll
    for (int32_t lane = 0; lane < kLanes<T>; ++lane) {
      C p = load_element(lane_of<T>(param[v], lane)), old[Rule::kStates];
#pragma unroll
      for (int32_t k = 0; k < Rule::kStates; ++k) {
        old[k] = Rule::reads(traffic, k) ? load_element(lane_of<T>(state[k][v], lane)) : C(0);
      }
      Rule::template update<traffic>(by.scalars, by.form, p, load_element(lane_of<T>(grad[v], lane)), old);
      put_lane(new_param, lane, store_element<T>(p));
#pragma unroll
      for (int32_t k = 0; k < Rule::kStates; ++k) {
        if (Rule::writes(traffic, k)) put_lane(new_state[k], lane, store_element<T>(old[k]));
      }
    }
    store_bits(at.param + i, new_param);
#pragma unroll
    for (int32_t k = 0; k < Rule::kStates; ++k) {
      if (Rule::writes(traffic, k)) store_bits(at.state[k] + i, new_state[k]);
    }
  }
}

// The elements [begin, end) without [head, tail).
template <class Rule, int32_t traffic, class T>
__device__ inline void update_elements(const Update<Rule, T>& by, const Arrays<Rule, T>& at, int64_t begin,
                                       int64_t head, int64_t tail, int64_t end) {
  using C = typename Compute<T>::type;
#pragma unroll 1
  for (int64_t n = begin + threadIdx.x; n < end - (tail - head); n += kThreads) {
    const int64_t i = n < head ? n : n + (tail - head);
    C p = load_element(at.param[i]), state[Rule::kStates];
#pragma unroll
    for (int32_t k = 0; k < Rule::kStates; ++k) {
      state[k] = Rule::reads(traffic, k) ? load_element(at.state[k][i]) : C(0);
    }
    Rule::template update<traffic>(by.scalars, by.form, p, load_element(at.grad[i]), state);
    at.param[i] = store_element<T>(p);
#pragma unroll
    for (int32_t k = 0; k < Rule::kStates; ++k) {
      if (Rule::writes(traffic, k)) at.state[k][i] = store_element<T>(state[k]);
    }
  }
}

template <class Rule, int32_t traffic, class T>
__device__ inline bool aligned_alike(const Arrays<Rule, T>& at, int64_t begin) {
  const uint32_t offset = misalignment(at.param + begin);
  bool alike = misalignment(at.grad + begin) == offset;
#pragma unroll
  for (int32_t k = 0; k < Rule::kStates; ++k) {
    if (Rule::writes(traffic, k)) alike = alike && misalignment(at.state[k] + begin) == offset;
  }
  return alike;
}

// Elements [begin, end) of a tensor: the vectors between its first and its last 16-byte boundary, and what is left.
template <class Rule, int32_t traffic, class T>
__device__ inline void update_range(const Update<Rule, T>& by, const Arrays<Rule, T>& at, int64_t begin, int64_t end) {
  const uint32_t offset = misalignment(at.param + begin);
  const int64_t boundary = offset == 0 ? begin : begin + (kVectorBytes - offset) / static_cast<int64_t>(sizeof(T));
  const int64_t head = aligned_alike<Rule, traffic>(at, begin) && boundary < end ? boundary : end;
  const int64_t tail = end - (end - head) % kLanes<T>;
  constexpr int32_t kTogether = kVectorsOf<Rule::kStates>;
  constexpr int64_t kStride = int64_t{kThreads} * kLanes<T>;
  int64_t tile = head;
  if constexpr (kTogether > 1) {
#pragma unroll 1
    for (; tail - tile >= kTogether * kStride; tile += kTogether * kStride) {
      update_vectors<Rule, traffic, kTogether>(by, at, tile + int64_t{threadIdx.x} * kLanes<T>);
    }
  }
#pragma unroll 1
  for (int64_t i = tile + int64_t{threadIdx.x} * kLanes<T>; i < tail; i += kStride) {
    update_vectors<Rule, traffic, 1>(by, at, i);
  }
  update_elements<Rule, traffic>(by, at, begin, head, tail, end);
}

template <class Rule, int32_t traffic, class T>
__device__ inline void update_as(int32_t wanted, const Update<Rule, T>& by, const Arrays<Rule, T>& at, int64_t begin,
                                 int64_t end) {
  if constexpr (traffic + 1 < Rule::kTraffics) {
    if (wanted != traffic) return update_as<Rule, traffic + 1>(wanted, by, at, begin, end);
  }
  update_range<Rule, traffic>(by, at, begin, end);
}

// The scalars in the type of the arithmetic.
template <class Rule>
__device__ inline const auto& scalars_as(const StepValues<Rule>& values, float) {
  return values.single;
}
template <class Rule>
__device__ inline const auto& scalars_as(const StepValues<Rule>& values, double) {
  return values.exact;
}

// What the update reads and writes. A graph that was recorded without some state has no arrays for what comes later.
template <class Rule, class Arrays>
__device__ inline int32_t traffic_of(const StepValues<Rule>& values, const Arrays& at, bool first) {
  const int32_t wanted = values.traffic[first ? 1 : 0];
  bool complete = true;
#pragma unroll
  for (int32_t k = 0; k < Rule::kStates; ++k)
    complete = complete && (at.state[k] != nullptr || !Rule::writes(wanted, k));
  return complete ? wanted : 0;
}

// The chunk of tensor i that holds its bytes [chunk * bytes, (chunk + 1) * bytes), from its first 16-byte boundary on.
template <class Rule, class T, class Arguments>
__device__ inline void update_chunk(const Arguments& arguments, int32_t i, int32_t chunk,
                                    const StepValues<Rule>& values, bool first) {
  Arrays<Rule, T> at{static_cast<T*>(arguments.param[i]), static_cast<const T*>(arguments.grad[i]), {}};
#pragma unroll
  for (int32_t k = 0; k < Rule::kStates; ++k) at.state[k] = static_cast<T*>(arguments.buffer[k][i]);
  const int64_t length = int64_t{arguments.tiles} * kTileBytes / static_cast<int64_t>(sizeof(T));
  const int64_t before = misalignment(at.param) / static_cast<int64_t>(sizeof(T));
  const int64_t from = chunk * length - before;
  const int64_t begin = from > 0 ? from : 0;
  const int64_t end = from + length < arguments.size[i] ? from + length : arguments.size[i];
  const Update<Rule, T> by{scalars_as(values, typename Compute<T>::type()), Rule::form(values.form)};
  update_as<Rule, 0>(traffic_of(values, at, first), by, at, begin, end);
}

}  // namespace cuda
}  // namespace FASTLR_ARCH
}  // namespace fastlr
