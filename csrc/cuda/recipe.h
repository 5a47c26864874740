// One block's share of a step with a recipe: a chunk of one tensor, in any mix of types. What is computed in float32
// are four elements at a time wherever the tensor's arrays are aligned alike.
#pragma once

#include "cuda/norm.h"
#include "cuda/update.h"
#include "rule/recipe.h"
#include "rule/rounding.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace cuda {

// The arrays of one tensor. The master are the weights, where there is one.
template <class Rule, class Arguments>
struct RecipeArrays {
  const Arguments& arguments;
  int32_t tensor;
  void* weights;
  void* grad;
  void* state[Rule::kStates];
  void* average;
  void* rounded;  // the parameter of a master, else null
  DType dtype, weights_dtype, state_dtype[Rule::kStates];
};

// What is the same for all elements.
template <class Rule, class C>
struct RecipeUpdate {
  typename Rule::template Scalars<C> scalars;
  typename Rule::Form form;
  int32_t traffic;
  RecipeScalars<C> recipe;
  bool averages, rounds_randomly, zeroes;
  uint64_t key;  // of the roundings
};

__device__ inline int64_t size_of(DType dtype) { return dtype == DType::float64 ? 8 : dtype == DType::float32 ? 4 : 2; }

// Elements from i on, as they are in memory.
template <class C, int32_t count>
__device__ inline Bits fetch(const void* array, DType dtype, int64_t i) {
  Bits bits = {};
  if constexpr (sizeof(C) == 8) {
    if (dtype == DType::float64) {
      load_words<8 * count>(static_cast<const double*>(array) + i, &bits);
      return bits;
    }
  }
  if (dtype == DType::float32) {
    load_words<4 * count>(static_cast<const float*>(array) + i, &bits);
  } else {
    load_words<2 * count>(static_cast<const uint16_t*>(array) + i, &bits);
  }
  return bits;
}

template <bool has_double, class C, int32_t count>
__device__ inline void unpack(const Bits& bits, DType dtype, C (&out)[count]) {
  visit_type<has_double>(dtype, [&](auto element) {
#pragma unroll
    for (int32_t lane = 0; lane < count; ++lane) {
      out[lane] = static_cast<C>(load_element(lane_of<decltype(element)>(bits, lane)));
    }
  });
}

// From double to 16 bits by way of float, as on the CPU.
template <bool has_double, class C, int32_t count>
__device__ inline Bits store_all(void* array, DType dtype, int64_t i, const C (&values)[count]) {
  Bits bits = {};
  visit_type<has_double>(dtype, [&](auto element) {
    using T = decltype(element);
#pragma unroll
    for (int32_t lane = 0; lane < count; ++lane) {
      put_lane(bits, lane, store_element<T>(static_cast<typename Compute<T>::type>(values[lane])));
    }
    store_words<count* static_cast<int32_t>(sizeof(T))>(static_cast<T*>(array) + i, bits);
  });
  return bits;
}

// Only single elements may be in another order than memory has them.
template <class Rule, class Arguments, class C, int32_t count>
__device__ inline Bits store_randomly(const RecipeUpdate<Rule, C>& by, const RecipeArrays<Rule, Arguments>& at,
                                      int64_t i, const C (&values)[count]) {
  Bits bits = {};
#pragma unroll
  for (int32_t lane = 0; lane < count; ++lane) {
    auto element = static_cast<uint64_t>(i + lane);
    if (count == 1) element = logical_element(i, at.arguments.rows[at.tensor], at.arguments.columns[at.tensor]);
    BFloat16 out;
    store_stochastic(static_cast<float>(values[lane]), rounding_bits(by.key, element), out);
    put_lane(bits, lane, out);
  }
  store_words<2 * count>(static_cast<BFloat16*>(at.weights) + i, bits);
  return bits;
}

template <class Rule, int32_t traffic, class C, int32_t count>
__device__ inline void update_values(const RecipeUpdate<Rule, C>& by, C (&p)[count], const C (&grad)[count],
                                     C (&state)[Rule::kStates][count]) {
  if constexpr (traffic + 1 < Rule::kTraffics) {
    if (by.traffic != traffic) return update_values<Rule, traffic + 1>(by, p, grad, state);
  }
#pragma unroll
  for (int32_t lane = 0; lane < count; ++lane) {
    C old[Rule::kStates];
#pragma unroll
    for (int32_t k = 0; k < Rule::kStates; ++k) old[k] = state[k][lane];
    Rule::template update<traffic>(by.scalars, by.form, p[lane], grad[lane], old);
#pragma unroll
    for (int32_t k = 0; k < Rule::kStates; ++k) state[k][lane] = old[k];
  }
}

// The elements [i, i + count), all of them loaded before the first is used.
template <class Rule, int32_t count, class C, class Arguments>
__device__ inline void update_recipe(const RecipeUpdate<Rule, C>& by, const RecipeArrays<Rule, Arguments>& at,
                                     int64_t i) {
  constexpr bool kDouble = sizeof(C) == 8;
  constexpr DType kComputed = kDouble ? DType::float64 : DType::float32;
  const DType dtype = kDouble ? DType::float64 : at.dtype, weights_dtype = kDouble ? DType::float64 : at.weights_dtype;
  Bits state[Rule::kStates] = {}, average = {};
  Bits weights = fetch<C, count>(at.weights, weights_dtype, i);
  const Bits grad = fetch<C, count>(at.grad, dtype, i);
#pragma unroll
  for (int32_t k = 0; k < Rule::kStates; ++k) {
    if (Rule::reads(by.traffic, k)) state[k] = fetch<C, count>(at.state[k], at.state_dtype[k], i);
  }
  if (by.averages) average = fetch<C, count>(at.average, kComputed, i);

  C p[count], x[count], s[Rule::kStates][count], e[count];
  unpack<kDouble>(weights, weights_dtype, p);
  unpack<kDouble>(grad, dtype, x);
#pragma unroll
  for (int32_t lane = 0; lane < count; ++lane) x[lane] = prepared_gradient(by.recipe, x[lane]);
#pragma unroll
  for (int32_t k = 0; k < Rule::kStates; ++k) unpack<kDouble>(state[k], at.state_dtype[k], s[k]);
  update_values<Rule, 0>(by, p, x, s);

#pragma unroll
  for (int32_t k = 0; k < Rule::kStates; ++k) {
    if (Rule::writes(by.traffic, k)) store_all<kDouble>(at.state[k], at.state_dtype[k], i, s[k]);
  }
  if (at.rounded != nullptr) store_all<kDouble>(at.rounded, dtype, i, p);
  weights = by.rounds_randomly ? store_randomly(by, at, i, p) : store_all<kDouble>(at.weights, weights_dtype, i, p);
  if (by.averages) {
    unpack<kDouble>(weights, weights_dtype, p);
    unpack<kDouble>(average, kComputed, e);
#pragma unroll
    for (int32_t lane = 0; lane < count; ++lane) e[lane] = averaged(by.recipe, e[lane], p[lane]);
    store_all<kDouble>(at.average, kComputed, i, e);
  }
  if (by.zeroes) {
    const C zero[count] = {};
    store_all<kDouble>(at.grad, dtype, i, zero);
  }
}

// Elements behind the last vector boundary.
__device__ inline uint32_t lanes_past(const void* array, DType dtype) {
  const auto size = static_cast<uint32_t>(dtype == DType::float64 ? 8 : dtype == DType::float32 ? 4 : 2);
  return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(array)) / size % kRecipeVector;
}

// As for float32 arithmetic.
template <class Rule, class Arguments>
__device__ inline bool aligned_alike(const RecipeArrays<Rule, Arguments>& at) {
  const uint32_t past = lanes_past(at.weights, at.weights_dtype);
  bool alike = lanes_past(at.grad, at.dtype) == past;
#pragma unroll
  for (int32_t k = 0; k < Rule::kStates; ++k) {
    alike = alike && (at.state[k] == nullptr || lanes_past(at.state[k], at.state_dtype[k]) == past);
  }
  alike = alike && (at.average == nullptr || lanes_past(at.average, DType::float32) == past);
  return alike && (at.rounded == nullptr || lanes_past(at.rounded, at.dtype) == past);
}

template <class Rule, class Arguments>
__device__ inline RecipeArrays<Rule, Arguments> recipe_arrays(const Arguments& arguments, int32_t i) {
  void* const master = arguments.master[i];
  const auto dtype = static_cast<DType>(arguments.dtype[i]);
  RecipeArrays<Rule, Arguments> at{arguments,
                                   i,
                                   master != nullptr ? master : arguments.param[i],
                                   arguments.grad[i],
                                   {},
                                   arguments.average[i],
                                   master != nullptr ? arguments.param[i] : nullptr,
                                   dtype,
                                   master != nullptr ? DType::float32 : dtype,
                                   {}};
#pragma unroll
  for (int32_t k = 0; k < Rule::kStates; ++k) {
    at.state[k] = arguments.buffer[k][i];
    at.state_dtype[k] = static_cast<DType>(arguments.state_dtype[k][i]);
  }
  return at;
}

template <class Rule, class C, class Arguments>
__device__ inline RecipeUpdate<Rule, C> recipe_update(const Arguments& arguments, int32_t i,
                                                      const StepValues<Rule>& values,
                                                      const RecipeArrays<Rule, Arguments>& at, bool first) {
  const int32_t g = arguments.group[i];
  const Recipe& recipe = values.recipe;
  const double factor = arguments.clipped != 0 ? arguments.state->clips[g].factor : inverse_scale(arguments.grad_scale);
  RecipeUpdate<Rule, C> by{scalars_as(values, C()),
                           Rule::form(values.form),
                           traffic_of(values, at, first),
                           recipe_scalars<C>(recipe, factor),
                           false,
                           false,
                           recipe.zero_grad_in_step,
                           0};
  by.averages = at.average != nullptr && recipe.ema_decay >= 0.0;
  by.rounds_randomly = recipe.stochastic_rounding && at.weights_dtype == DType::bfloat16;
  if (by.rounds_randomly) {
    by.key =
        rounding_key(static_cast<uint64_t>(recipe.rounding_seed), arguments.state->groups[g].count, arguments.place[i]);
  }
  return by;
}

// A chunk's elements, and the first of them that a vector of kRecipeVector elements begins with.
struct Part {
  int64_t begin, boundary, end;
};

template <class Arguments>
__device__ inline Part part_of(const Arguments& arguments, int32_t i, int32_t chunk) {
  const bool narrow = arguments.master[i] == nullptr;
  const DType dtype = narrow ? static_cast<DType>(arguments.dtype[i]) : DType::float32;
  const int64_t before = lanes_past(narrow ? arguments.param[i] : arguments.master[i], dtype);
  const int64_t length = int64_t{arguments.tiles} * kRecipeTile, from = chunk * length - before;
  const int64_t begin = from > 0 ? from : 0, size = arguments.size[i];
  const int64_t end = from + length < size ? from + length : size;
  const int64_t boundary = from < 0 ? from + kRecipeVector : from;
  return {begin, boundary < end ? boundary : end, end};
}

template <class Rule, class C, class Arguments>
__device__ inline void update_with_recipe(const Arguments& arguments, int32_t i, int32_t chunk,
                                          const StepValues<Rule>& values, bool first) {
  const auto at = recipe_arrays<Rule>(arguments, i);
  const RecipeUpdate<Rule, C> by = recipe_update<Rule, C>(arguments, i, values, at, first);
  const Part part = part_of(arguments, i, chunk);
  int64_t head = part.end, tail = part.end;
  if constexpr (sizeof(C) == 4) {
    const bool in_order = !by.rounds_randomly || arguments.rows[i] == 1;
    if (in_order && aligned_alike(at)) {
      head = part.boundary;
      tail = part.end - (part.end - head) % kRecipeVector;
    }
#pragma unroll 1
    for (int64_t n = head + int64_t{threadIdx.x} * kRecipeVector; n < tail; n += kThreads * kRecipeVector) {
      update_recipe<Rule, kRecipeVector>(by, at, n);
    }
  }
#pragma unroll 1
  for (int64_t n = part.begin + threadIdx.x; n < part.end - (tail - head); n += kThreads) {
    update_recipe<Rule, 1>(by, at, n < head ? n : n + (tail - head));
  }
}

// The step is skipped, by a gradient scaler or as a norm is not finite.
template <class Arguments>
__device__ inline bool skips(const Arguments& arguments) {
  return is_skipped(arguments.found_inf) || (arguments.clipped != 0 && arguments.state->nonfinite != 0);
}

// All that a skipped step does.
template <class Rule, class Arguments>
__device__ inline void zero_gradients(const Arguments& arguments) {
  StepState* state = arguments.state;
  const int32_t half = state->half;
  const int32_t chunk = static_cast<int32_t>(blockIdx.x) - (arguments.last != 0 ? 1 : 0);
  if (state->missing[half] != 0 || chunk < 0 || arguments.tensors == 0) return;
  const int32_t i = tensor_at(arguments, chunk);
  if (!values_of<Rule>(state, half)[arguments.group[i]].recipe.zero_grad_in_step) return;
  const Part part = part_of(arguments, i, chunk - arguments.first_chunk[i]);
  const DType dtype = static_cast<DType>(arguments.dtype[i]);
#pragma unroll 1
  for (int64_t n = part.begin + threadIdx.x; n < part.end; n += kThreads) {
    visit_type<true>(dtype, [&](auto zero) { static_cast<decltype(zero)*>(arguments.grad[i])[n] = zero; });
  }
}

}  // namespace cuda
}  // namespace FASTLR_ARCH
}  // namespace fastlr
