// Updates with a recipe: a tensor's memory, and what its elements become, pass by pass over whole arrays. Of the
// product only the rule's plain update is used; numbers are rounded here by other code.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "check_native.h"
#include "cpu/dispatch.h"
#include "each_rule.h"
#include "elements.h"

namespace recipe_test {

using namespace fastlr;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

inline bool is_narrow(DType dtype) { return element_size(dtype) == 2; }
// Of the arithmetic.
inline DType computed(DType dtype) { return dtype == DType::float64 ? dtype : DType::float32; }

constexpr int64_t kCount = 1234567;
constexpr int32_t kPlace = 77;

struct Case {
  DType dtype = DType::float32;
  DType state = DType::float32;
  double factor = 1.0;
  Recipe recipe = no_recipe();
  int64_t rows = 1, columns = 1;
  int64_t updates = 5;
  int64_t count = kCount;
  int32_t place = kPlace;

  bool has_master() const { return is_narrow(dtype) && recipe.master_weights; }
  bool averages() const { return recipe.ema_decay >= 0.0; }
};

// Every combination of the options that the type has.
inline std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (int dtype = 0; dtype < kDTypeCount; ++dtype) {
    for (int state = 0; state < kDTypeCount; ++state) {
      for (int options = 0; options < 128; ++options) {
        Case c;
        c.dtype = static_cast<DType>(dtype);
        c.state = static_cast<DType>(state);
        c.factor = (options & 1) != 0 ? 0.37 : 1.0;
        if ((options & 2) != 0) c.recipe.max_grad_value = 0.5;
        if ((options & 4) != 0) c.recipe.ema_decay = (options & 1) != 0 ? 0.99 : 0.3;
        c.recipe.zero_grad_in_step = (options & 8) != 0;
        c.updates = (options & 16) != 0 ? 0 : 5;
        c.recipe.master_weights = options / 32 % 2 == 1;
        c.recipe.stochastic_rounding = options / 32 >= 2;
        c.recipe.rounding_seed = options;
        const bool random_too = !c.recipe.stochastic_rounding || c.dtype == DType::bfloat16;
        const bool master_too = !c.recipe.master_weights || is_narrow(c.dtype);
        if (random_too && master_too && (c.state != DType::float64 || c.dtype == DType::float64)) cases.push_back(c);
      }
    }
  }
  return cases;
}

struct Memory {
  std::vector<char> param, grad, master, average;
  std::vector<std::vector<char>> state;

  bool operator==(const Memory& other) const {
    return param == other.param && grad == other.grad && master == other.master && average == other.average &&
           state == other.state;
  }
};

template <class Rule>
Memory random_memory(const Case& c, int64_t size) {
  Memory memory{random_elements(c.dtype, size), random_elements(c.dtype, size), {}, {}, {}};
  if (c.has_master()) memory.master = random_elements(DType::float32, size);
  if (c.averages()) memory.average = random_elements(computed(c.dtype), size);
  for (int k = 0; k < Rule::kStates; ++k) {
    std::vector<char> state = random_elements(c.state, size);
    memory.state.push_back(k > 0 ? magnitudes(c.state, std::move(state)) : std::move(state));
  }
  return memory;
}

inline int64_t size_of(const Case& c, const Memory& memory) {
  return static_cast<int64_t>(memory.param.size()) / element_size(c.dtype);
}

inline void* at_or_null(std::vector<char>& bytes) { return bytes.empty() ? nullptr : bytes.data(); }

// The whole tensor as the kernels are given it.
inline RecipeSpan described(const Case& c, Memory& memory) {
  RecipeSpan what{};
  what.span = {memory.param.data(), memory.grad.data(), {}, size_of(c, memory), c.updates, c.updates == 0};
  for (std::size_t k = 0; k < memory.state.size(); ++k) {
    what.span.state[k] = memory.state[k].data();
    what.extra.state_dtype[k] = c.state;
  }
  what.extra.master = at_or_null(memory.master);
  what.extra.average = at_or_null(memory.average);
  what.extra.rows = c.rows;
  what.extra.columns = c.columns;
  what.extra.place = c.place;
  what.dtype = c.dtype;
  what.count = c.count;
  what.factor = c.factor;
  return what;
}

template <class Rule>
void update_recipe_with(const Kernels& table, const Case& c, const typename Rule::Hyper& hyper,
                        const RecipeSpan& what) {
  table.update_recipe(table.rules[info_of(Rule()).number], bytes_of<Rule>(hyper, c.recipe),
                      scalars_of<Rule>(table, hyper, what.span.updates), what);
}

// To the nearest number of a type with so many bits behind the leading one, from an exponent on.
inline double rounded(double value, int fraction_bits, int smallest_exponent, double largest) {
  if (value == 0.0 || !std::isfinite(value)) return value;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(value), smallest_exponent) - fraction_bits);
  const double near = std::nearbyint(value / unit) * unit;
  return std::fabs(near) > largest ? std::copysign(kInfinity, value) : near;
}

inline double rounded(double value, DType dtype) {
  const auto single = static_cast<double>(static_cast<float>(value));
  if (dtype == DType::float16) return rounded(single, 10, -14, 65504.0);
  if (dtype == DType::bfloat16) return rounded(single, 7, -126, 0x1.fep127);
  return dtype == DType::float32 ? single : value;
}

// The generator, with arithmetic modulo 2^32 and 2^64 written out.
inline uint64_t finalised(uint64_t x) {
  const unsigned __int128 first = static_cast<unsigned __int128>(x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = static_cast<uint64_t>(first);
  const unsigned __int128 second = static_cast<unsigned __int128>(x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x = static_cast<uint64_t>(second);
  return x ^ (x >> 31);
}

inline uint64_t key_of(double seed, int64_t count, int32_t place) {
  uint64_t key = finalised(static_cast<uint64_t>(seed) + 0x9e3779b97f4a7c15u);
  for (const int64_t part : {count, static_cast<int64_t>(place)}) key = finalised(key + static_cast<uint64_t>(part));
  return key;
}

inline uint32_t random_of(uint64_t key, uint64_t element) {
  constexpr uint64_t kMask = 0xffffffffu;
  uint64_t x = ((element & kMask) * 0x9e3779b1u + (key & kMask)) & kMask;
  x ^= ((element >> 32) * 0x85ebca77u + (key >> 32)) & kMask;
  x ^= x >> 16;
  x = x * 0x7feb352du & kMask;
  x ^= x >> 15;
  x = x * 0x846ca68bu & kMask;
  return static_cast<uint32_t>((x ^ (x >> 16)) >> 16);
}

// Between the two neighbours of a finite value: away from 0 where `random` reaches what is left of the way there.
inline double rounded_randomly(double value, uint32_t random) {
  if (value == 0.0) return value;
  const double unit = std::ldexp(1.0, std::max(std::ilogb(value), -126) - 7);
  const double whole = std::floor(std::fabs(value) / unit);
  const double part = std::fabs(value) / unit - whole;
  return std::copysign((whole + (part * 65536.0 + random >= 65536.0 ? 1.0 : 0.0)) * unit, value);
}

// The logical index of each element in memory, counted out.
inline std::vector<uint64_t> logical_order(int64_t size, int64_t rows, int64_t columns) {
  std::vector<uint64_t> order;
  for (int64_t matrix = 0; static_cast<int64_t>(order.size()) < size; ++matrix) {
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = 0; row < rows; ++row) {
        order.push_back(static_cast<uint64_t>(matrix * rows * columns + row * columns + column));
      }
    }
  }
  return order;
}

template <class C>
std::vector<C> values_of(const std::vector<char>& bytes, DType dtype) {
  std::vector<C> values;
  const auto size = static_cast<int64_t>(bytes.size()) / element_size(dtype);
  for (int64_t i = 0; i < size; ++i) values.push_back(static_cast<C>(element(bytes, dtype, i)));
  return values;
}

// What the arrays hold after an update, as values.
template <class C>
struct Values {
  std::vector<C> param, grad, master, average;
  std::vector<std::vector<C>> state;

  bool operator==(const Values& other) const {
    return param == other.param && grad == other.grad && master == other.master && average == other.average &&
           state == other.state;
  }
};

template <class C>
Values<C> values_of(const Case& c, const Memory& memory) {
  Values<C> values{values_of<C>(memory.param, c.dtype),
                   values_of<C>(memory.grad, c.dtype),
                   values_of<C>(memory.master, DType::float32),
                   values_of<C>(memory.average, computed(c.dtype)),
                   {}};
  for (const std::vector<char>& state : memory.state) values.state.push_back(values_of<C>(state, c.state));
  return values;
}

template <class C>
void prepare(const Case& c, std::vector<C>& grad) {
  const C factor = static_cast<C>(c.factor), limit = static_cast<C>(c.recipe.max_grad_value);
  for (C& x : grad) x = std::max(-limit, std::min(limit, factor * x));
}

template <class C>
void round_weights(const Case& c, std::vector<C>& weights) {
  const bool randomly = c.dtype == DType::bfloat16 && c.recipe.stochastic_rounding && !c.has_master();
  const auto order = logical_order(static_cast<int64_t>(weights.size()), c.rows, c.columns);
  const uint64_t key = key_of(c.recipe.rounding_seed, c.count, c.place);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double value = weights[i];
    weights[i] = static_cast<C>(randomly ? rounded_randomly(value, random_of(key, order[i])) : rounded(value, c.dtype));
  }
}

template <class Rule, class C>
Values<C> expected(const Case& c, const typename Rule::Hyper& hyper, const Memory& before) {
  Values<C> now = values_of<C>(c, before);
  std::vector<C> weights = c.has_master() ? now.master : now.param, grad = now.grad;
  prepare(c, grad);
  Span span{weights.data(), grad.data(), {}, size_of(c, before), c.updates, c.updates == 0};
  for (std::size_t k = 0; k < now.state.size(); ++k) span.state[k] = now.state[k].data();
  update_with<Rule>(*available_kernels().back(), hyper, computed(c.dtype), span);
  for (std::vector<C>& state : now.state) {
    for (C& value : state) value = static_cast<C>(rounded(value, c.state));
  }
  now.param = weights;
  round_weights(c, now.param);
  if (c.has_master()) now.master = weights;
  const C weight = static_cast<C>(1.0 - c.recipe.ema_decay);
  for (std::size_t i = 0; i < now.average.size(); ++i) {
    const C from = now.average[i], to = c.has_master() ? now.master[i] : now.param[i];
    now.average[i] = weight < C(0.5) ? std::fma(weight, to - from, from) : std::fma(weight - C(1), to - from, to);
  }
  if (c.recipe.zero_grad_in_step) std::fill(now.grad.begin(), now.grad.end(), C(0));
  return now;
}

}  // namespace recipe_test
