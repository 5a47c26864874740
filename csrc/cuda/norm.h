// The norms of a step's gradients: each block adds up the squares of one chunk, and the last one to end makes norms of
// the sums, in the order of norm/order.h.
#pragma once

#include "cuda/advance.h"
#include "cuda/element.h"
#include "cuda/state.h"
#include "norm/order.h"
#include "rule/recipe.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace cuda {

// Neighbouring lanes of each row belong to one thread.
constexpr int32_t kThreadLanes = kNormLanes / kThreads;
// Bytes that a thread has in flight.
constexpr int32_t kNormBytes = 4 * kVectorBytes;

struct NormLanes {
  double sum[kNormLanes];
};

// What gradients are multiplied by to unscale them.
__device__ inline double inverse_scale(const float* grad_scale) {
  return grad_scale == nullptr ? 1.0 : 1.0 / static_cast<double>(*grad_scale);
}

// By a gradient scaler: gradients that were scaled do not fit their type.
__device__ inline bool is_skipped(const float* found_inf) { return found_inf != nullptr && *found_inf != 0.0f; }

// Of `size` lanes that hold something; in lane 0. By a whole block.
__device__ inline double add_lanes(NormLanes& lanes, int64_t size) {
  __syncthreads();
#pragma unroll 1
  for (int32_t half = norm_first_half(size); half > 0; half /= 2) {
#pragma unroll 1
    for (int32_t l = static_cast<int32_t>(threadIdx.x); l < half; l += kThreads) lanes.sum[l] += lanes.sum[l + half];
    __syncthreads();
  }
  return lanes.sum[0];
}

// `count` rows from a thread's lanes of the first on, all of them loaded before the first is used.
template <int32_t count, class T>
__device__ inline void add_rows(double (&sum)[kThreadLanes], const T* lanes) {
  constexpr int32_t kBytes = kThreadLanes * static_cast<int32_t>(sizeof(T));
  Bits rows[count][kBytes > kVectorBytes ? kBytes / kVectorBytes : 1];
#pragma unroll
  for (int32_t row = 0; row < count; ++row) load_words<kBytes>(lanes + row * kNormLanes, rows[row]);
#pragma unroll
  for (int32_t row = 0; row < count; ++row) {
#pragma unroll
    for (int32_t lane = 0; lane < kThreadLanes; ++lane) {
      const T value = lane_of<T>(rows[row][lane / kLanes<T>], lane % kLanes<T>);
      sum[lane] = add_square(sum[lane], load_element(value));
    }
  }
}

// A row of which only the elements before the end count, or one that cannot be read as vectors.
template <class T>
__device__ inline void add_elements(double (&sum)[kThreadLanes], const T* lanes, int32_t end) {
  T values[kThreadLanes] = {};
#pragma unroll
  for (int32_t lane = 0; lane < kThreadLanes; ++lane) {
    if (lane < end) values[lane] = lanes[lane];
  }
#pragma unroll
  for (int32_t lane = 0; lane < kThreadLanes; ++lane) sum[lane] = add_square(sum[lane], load_element(values[lane]));
}

template <class T>
__device__ inline void add_chunk(double (&sum)[kThreadLanes], const T* chunk, int32_t size) {
  constexpr int32_t kBytes = kThreadLanes * static_cast<int32_t>(sizeof(T));
  constexpr int32_t kRow = kNormLanes, kTogether = kNormBytes / kBytes;
  const bool vectors = misalignment(chunk) % (kBytes < kVectorBytes ? kBytes : kVectorBytes) == 0;
  const int32_t whole = vectors ? size / kRow * kRow : 0;
  const int32_t first = kThreadLanes * static_cast<int32_t>(threadIdx.x);
  int32_t row = 0;
#pragma unroll 1
  for (; row + kTogether * kRow <= whole; row += kTogether * kRow) add_rows<kTogether>(sum, chunk + row + first);
#pragma unroll 1
  for (; row < whole; row += kRow) add_rows<1>(sum, chunk + row + first);
#pragma unroll 1
  for (; row < size; row += kRow) add_elements(sum, chunk + row + first, size - row - first);
}

// The squares of a chunk's elements.
template <class Arguments>
__device__ inline double sum_of_chunk(const Arguments& arguments, int32_t i, int32_t chunk, NormLanes& lanes) {
  const int64_t begin = chunk * kNormChunk, rest = arguments.size[i] - begin;
  const auto size = static_cast<int32_t>(rest < kNormChunk ? rest : kNormChunk);
  double sum[kThreadLanes] = {};
  visit_type<true>(static_cast<DType>(arguments.dtype[i]), [&](auto element) {
    add_chunk(sum, static_cast<const decltype(element)*>(arguments.grad[i]) + begin, size);
  });
#pragma unroll
  for (int32_t lane = 0; lane < kThreadLanes; ++lane) {
    lanes.sum[kThreadLanes * static_cast<int32_t>(threadIdx.x) + lane] = sum[lane];
  }
  return add_lanes(lanes, size);
}

// Which chunks are whose. The groups' chunks follow one another, but not every group has some.
template <class Arguments>
__device__ inline void find_ranges(const Arguments& arguments, int32_t chunks) {
#pragma unroll 1
  for (int32_t g = static_cast<int32_t>(threadIdx.x); g < arguments.state->group_count; g += kThreads) {
    arguments.ranges[g] = {0, 0};
  }
  __syncthreads();
#pragma unroll 1
  for (int32_t c = static_cast<int32_t>(threadIdx.x); c < chunks; c += kThreads) {
    const int32_t g = arguments.groups[c];
    if (c == 0 || arguments.groups[c - 1] != g) arguments.ranges[g].begin = c;
    if (c + 1 == chunks || arguments.groups[c + 1] != g) arguments.ranges[g].end = c + 1;
  }
  __syncthreads();
}

__device__ inline bool clips(const Recipe& recipe) { return recipe.max_grad_norm - recipe.max_grad_norm == 0.0; }

// The chunks of the groups [begin, end) that are clipped by a norm of their own, or by the one that they share.
template <class Arguments>
__device__ inline double sum_of_groups(const Arguments& arguments, int32_t begin, int32_t end, bool own,
                                       NormLanes& lanes) {
  double sum[kThreadLanes] = {};
  int32_t before = 0;
#pragma unroll 1
  for (int32_t g = begin; g < end; ++g) {
    const Recipe& recipe = arguments.state->groups[g].hyper.recipe;
    if (!clips(recipe) || recipe.norm_per_group != own) continue;
    const ChunkRange range = arguments.ranges[g];
#pragma unroll
    for (int32_t k = 0; k < kThreadLanes; ++k) {
      const int32_t lane = static_cast<int32_t>(threadIdx.x) + k * kThreads;
      const int32_t first = static_cast<int32_t>(static_cast<uint32_t>(lane - before) % kNormLanes);
#pragma unroll 1
      for (int32_t c = range.begin + first; c < range.end; c += kNormLanes) sum[k] += arguments.sums[c];
    }
    before += range.end - range.begin;
  }
  __syncthreads();  // the lanes may still be read
#pragma unroll
  for (int32_t k = 0; k < kThreadLanes; ++k) lanes.sum[threadIdx.x + k * kThreads] = sum[k];
  return add_lanes(lanes, before);
}

__device__ inline void write_clip(StepState* state, int32_t g, double sum, double inverse) {
  const Recipe& recipe = state->groups[g].hyper.recipe;
  const double norm = clips(recipe) ? norm_of(sum, inverse) : schedule::double_of(schedule::kNaN);
  state->clips[g] = {norm, gradient_factor(recipe, inverse, norm)};
  if (clips(recipe) && !(norm - norm == 0.0)) atomicAdd(&state->nonfinite, 1);
}

// By the last block.
template <class Arguments>
__device__ inline void find_norms(const Arguments& arguments, NormLanes& lanes) {
  StepState* state = arguments.state;
  const double inverse = inverse_scale(arguments.grad_scale);
  if (threadIdx.x == 0) state->nonfinite = 0;
  find_ranges(arguments, arguments.before + arguments.chunks);
  // Before the first group the norm that groups share.
#pragma unroll 1
  for (int32_t turn = -1; turn < state->group_count; ++turn) {
    const bool own = turn >= 0;
    if (own && !state->groups[turn].hyper.recipe.norm_per_group) continue;
    const int32_t begin = own ? turn : 0, end = own ? turn + 1 : state->group_count;
    const double sum = sum_of_groups(arguments, begin, end, own, lanes);
#pragma unroll 1
    for (int32_t g = begin + static_cast<int32_t>(threadIdx.x); g < end; g += kThreads) {
      if (state->groups[g].hyper.recipe.norm_per_group == own) write_clip(state, g, sum, inverse);
    }
  }
}

template <class Arguments>
__device__ inline void norm(const Arguments& arguments) {
  __shared__ NormLanes lanes;
  __shared__ bool last_block;
  const auto chunk = static_cast<int32_t>(blockIdx.x);
  if (is_skipped(arguments.found_inf)) {  // the norms stay those of the step before
    if (chunk == 0 && threadIdx.x == 0) arguments.state->nonfinite = 0;
    return;
  }
  if (chunk < arguments.chunks) {
    const int32_t i = tensor_at(arguments, chunk);
    const double sum = sum_of_chunk(arguments, i, chunk - arguments.first_chunk[i], lanes);
    if (threadIdx.x == 0) {
      arguments.sums[arguments.before + chunk] = sum;
      arguments.groups[arguments.before + chunk] = arguments.group[i];
    }
  }
  if (!takes_last_ticket(arguments.state, last_block)) return;
  if (threadIdx.x == 0) {
    __threadfence();  // other blocks' sums are read from here on
    arguments.state->ticket = 0;
  }
  __syncthreads();
  if (arguments.last != 0) find_norms(arguments, lanes);
}

}  // namespace cuda
}  // namespace FASTLR_ARCH
}  // namespace fastlr
