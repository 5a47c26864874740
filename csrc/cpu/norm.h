// Sums in the order of norm/order.h.
#pragma once

#include <cstdint>

#include "arch.h"
#include "dtype.h"
#include "norm/order.h"
#include "number.h"

namespace fastlr {
namespace FASTLR_ARCH {

// The lower half and the upper one are told apart for the vectoriser.
inline void add_half(double* __restrict lower, const double* __restrict upper, int32_t count) {
  for (int32_t l = 0; l < count; ++l) lower[l] += upper[l];
}

// add(sum, i): the sum with term i. add_rows(lanes, size): adds whole rows first, and says how many terms they were.
template <class Add, class AddRows>
double sum_in_order(int64_t size, Add add, AddRows add_rows) {
  if (size == 0) return 0.0;
  if (size == 1) return add(0.0, int64_t{0});
  double lanes[kNormLanes];
  const int32_t half = norm_first_half(size);
  for (int32_t i = 0; i < 2 * half; ++i) lanes[i] = 0.0;
  for (int64_t begin = add_rows(lanes, size); begin < size; begin += kNormLanes) {
    const int64_t rest = size - begin;
    const int64_t count = rest < kNormLanes ? rest : kNormLanes;
    for (int64_t i = 0; i < count; ++i) lanes[i] = add(lanes[i], begin + i);
  }
  for (int32_t s = half; s > 0; s /= 2) add_half(lanes, lanes + s, s);
  return lanes[0];
}

// Two rows at a time, and the two behind them asked for: with one stream of reads the memory would be waiting.
template <class T>
int64_t add_square_rows(double* __restrict lanes, const T* __restrict grad, int64_t size) {
  constexpr int32_t kLine = 64 / static_cast<int32_t>(sizeof(T));
  int64_t begin = 0;
  for (; begin + 2 * kNormLanes <= size; begin += 2 * kNormLanes) {
    const T* const row = grad + begin;
    for (int32_t line = 0; line < kNormLanes; line += kLine) {
      __builtin_prefetch(row + 2 * kNormLanes + line);
      __builtin_prefetch(row + 3 * kNormLanes + line);
      for (int32_t i = line; i < line + kLine; ++i) {
        lanes[i] = add_square(add_square(lanes[i], load(row[i])), load(row[kNormLanes + i]));
      }
    }
  }
  return begin;
}

template <class T>
double sum_squares_of(const T* __restrict grad, int64_t size) {
  return sum_in_order(
      size, [grad](double sum, int64_t i) { return add_square(sum, load(grad[i])); },
      [grad](double* lanes, int64_t of) { return add_square_rows(lanes, grad, of); });
}

inline double sum_squares(DType dtype, const void* grad, int64_t size) {
  switch (dtype) {
    case DType::float32:
      return sum_squares_of(static_cast<const float*>(grad), size);
    case DType::float64:
      return sum_squares_of(static_cast<const double*>(grad), size);
    case DType::float16:
      return sum_squares_of(static_cast<const Half*>(grad), size);
    case DType::bfloat16:
      return sum_squares_of(static_cast<const BFloat16*>(grad), size);
    case DType::unsupported:
      break;
  }
  return 0.0;
}

inline double sum(const double* terms, int64_t size) {
  return sum_in_order(
      size, [terms](double before, int64_t i) { return before + terms[i]; },
      [](double*, int64_t) { return int64_t{0}; });
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
