// An update with its recipe, block by block: what the rule's own loops do not read as it is stands on the stack, in the
// type of the arithmetic, while the block is in the cache.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "arch.h"
#include "cpu/kernels.h"
#include "number.h"
#include "rule/recipe.h"
#include "rule/rounding.h"

namespace fastlr {
namespace FASTLR_ARCH {

constexpr int32_t kRecipeBlock = 256;

template <class T>
constexpr bool kIsBFloat16 = false;
template <>
constexpr bool kIsBFloat16<BFloat16> = true;

// Calls visit with the array's elements from `begin` on, in their type.
template <class Visit>
void with_elements(DType dtype, void* array, int64_t begin, Visit visit) {
  switch (dtype) {
    case DType::float32:
      return visit(static_cast<float*>(array) + begin);
    case DType::float64:
      return visit(static_cast<double*>(array) + begin);
    case DType::float16:
      return visit(static_cast<Half*>(array) + begin);
    case DType::bfloat16:
      return visit(static_cast<BFloat16*>(array) + begin);
    case DType::unsupported:
      break;
  }
}

template <class T, class C>
void load_elements(const T* __restrict from, C* __restrict to, int32_t count) {
  for (int32_t i = 0; i < count; ++i) to[i] = static_cast<C>(load(from[i]));
}

// From double to 16 bits by way of float, as torch.
template <class T, class C>
void store_elements(const C* __restrict from, T* __restrict to, int32_t count) {
  using Rounded = typename Compute<T>::type;
  for (int32_t i = 0; i < count; ++i) store(static_cast<Rounded>(from[i]), to[i]);
}

template <class T, class C>
void prepare_gradient(const RecipeScalars<C>& s, const T* __restrict from, C* __restrict to, int32_t count) {
  for (int32_t i = 0; i < count; ++i) to[i] = prepared_gradient(s, load(from[i]));
}

template <class T, class C>
void average_elements(const RecipeScalars<C>& s, const T* __restrict weights, C* __restrict average, int32_t count) {
  for (int32_t i = 0; i < count; ++i) average[i] = averaged(s, average[i], load(weights[i]));
}

// The logical indices of the elements from `place` on, which in memory lie in runs of `rows`.
inline void write_logical(const Extra& extra, int64_t place, int32_t count, uint64_t* __restrict out) {
  if (extra.rows == 1) {
    for (int32_t i = 0; i < count; ++i) out[i] = static_cast<uint64_t>(place + i);
    return;
  }
  const int64_t rows = extra.rows, columns = extra.columns, matrix = rows * columns;
  int64_t before = place / matrix * matrix, column = place % matrix / rows, row = place % rows;
  for (int32_t done = 0; done < count; row = 0) {
    const auto first = static_cast<uint64_t>(before + row * columns + column);
    const int64_t rest = count - done;
    const auto length = static_cast<int32_t>(rows - row < rest ? rows - row : rest);
    for (int32_t i = 0; i < length; ++i) out[done + i] = first + static_cast<uint64_t>(i * columns);
    done += length;
    column = column + 1 < columns ? column + 1 : 0;
    before += column == 0 ? matrix : 0;
  }
}

inline void round_elements(uint64_t key, const uint64_t* __restrict index, const float* __restrict from,
                           BFloat16* __restrict to, int32_t count) {
  for (int32_t i = 0; i < count; ++i) store_stochastic(from[i], rounding_bits(key, index[i]), to[i]);
}

// Of a tensor whose elements are stored as T.
template <class T>
class RecipeUpdate {
 public:
  using C = typename Compute<T>::type;

  RecipeUpdate(const RuleKernels& rule, const HyperBytes& hyper, const ScalarsBytes& scalars, const RecipeSpan& what)
      : rule_(rule),
        hyper_(hyper),
        scalars_(scalars),
        what_(what),
        by_(recipe_scalars<C>(hyper.recipe, what.factor)),
        prepares_(what.factor != 1.0 || by_.limit < C(INFINITY)) {
    if (rounds_randomly()) {
      key_ = rounding_key(static_cast<uint64_t>(hyper.recipe.rounding_seed), what.count, what.extra.place);
    }
  }

  void run() {
    for (int64_t begin = 0; begin < what_.span.size; begin += kRecipeBlock) {
      const int64_t rest = what_.span.size - begin;
      update_block(begin, static_cast<int32_t>(rest < kRecipeBlock ? rest : kRecipeBlock));
    }
  }

 private:
  static constexpr DType kComputed = sizeof(C) == 8 ? DType::float64 : DType::float32;
  static constexpr bool kNarrow = sizeof(T) == 2;

  bool has_master() const { return kNarrow && what_.extra.master != nullptr; }
  bool rounds_randomly() const { return kIsBFloat16<T> && !has_master() && hyper_.recipe.stochastic_rounding; }

  void update_block(int64_t begin, int32_t count) {
    T* const param = static_cast<T*>(what_.span.param) + begin;
    T* const grad = static_cast<T*>(const_cast<void*>(what_.span.grad)) + begin;
    C* const weights = load_weights(param, begin, count);
    Span block{weights, load_gradient(grad, count), {}, count, what_.span.updates, what_.span.first};
    for (int k = 0; k < kMaxStates; ++k) block.state[k] = load_state(k, begin, count);
    rule_.update[static_cast<int>(kComputed)](hyper_, scalars_, block);
    for (int k = 0; k < kMaxStates; ++k) store_state(k, begin, count);
    if constexpr (kNarrow) store_param(weights, param, begin, count);
    if (what_.extra.average != nullptr) average(weights, param, begin, count);
    if (hyper_.recipe.zero_grad_in_step) memset(grad, 0, static_cast<std::size_t>(count) * sizeof(T));
  }

  C* load_weights(T* param, int64_t begin, int32_t count) {
    if constexpr (kNarrow) {
      if (has_master()) return static_cast<C*>(what_.extra.master) + what_.begin + begin;
      load_elements(param, param_, count);
      return param_;
    } else {
      return param;
    }
  }

  const void* load_gradient(const T* grad, int32_t count) {
    if (!kNarrow && !prepares_) return grad;
    prepare_gradient(by_, grad, grad_, count);
    return grad_;
  }

  bool stages(int k) const { return what_.span.state[k] != nullptr && what_.extra.state_dtype[k] != kComputed; }

  void* load_state(int k, int64_t begin, int32_t count) {
    if (!stages(k)) return what_.span.state[k] == nullptr ? nullptr : static_cast<C*>(what_.span.state[k]) + begin;
    with_elements(what_.extra.state_dtype[k], what_.span.state[k], begin,
                  [&](auto* from) { load_elements(from, state_[k], count); });
    return state_[k];
  }

  void store_state(int k, int64_t begin, int32_t count) {
    if (!stages(k)) return;
    with_elements(what_.extra.state_dtype[k], what_.span.state[k], begin,
                  [&](auto* to) { store_elements(state_[k], to, count); });
  }

  void store_param(const C* weights, T* param, int64_t begin, int32_t count) {
    if constexpr (kIsBFloat16<T>) {
      if (rounds_randomly()) {
        uint64_t index[kRecipeBlock];
        write_logical(what_.extra, what_.begin + begin, count, index);
        return round_elements(key_, index, weights, param, count);
      }
    }
    store_elements(weights, param, count);
  }

  // Of the weights as they are stored.
  void average(const C* weights, const T* param, int64_t begin, int32_t count) {
    C* const to = static_cast<C*>(what_.extra.average) + what_.begin + begin;
    if (has_master()) {
      average_elements(by_, weights, to, count);
    } else {
      average_elements(by_, param, to, count);
    }
  }

  const RuleKernels& rule_;
  const HyperBytes& hyper_;
  const ScalarsBytes& scalars_;
  const RecipeSpan& what_;
  const RecipeScalars<C> by_;
  const bool prepares_;  // the rule sees another gradient than the stored one
  uint64_t key_ = 0;
  C param_[kRecipeBlock], grad_[kRecipeBlock], state_[kMaxStates][kRecipeBlock];
};

inline void update_recipe(const RuleKernels& rule, const HyperBytes& hyper, const ScalarsBytes& scalars,
                          const RecipeSpan& what) {
  switch (what.dtype) {
    case DType::float32:
      return RecipeUpdate<float>(rule, hyper, scalars, what).run();
    case DType::float64:
      return RecipeUpdate<double>(rule, hyper, scalars, what).run();
    case DType::float16:
      return RecipeUpdate<Half>(rule, hyper, scalars, what).run();
    case DType::bfloat16:
      return RecipeUpdate<BFloat16>(rule, hyper, scalars, what).run();
    case DType::unsupported:
      break;
  }
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
