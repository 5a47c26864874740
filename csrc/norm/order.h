// The order in which the squares of gradients are added up, so that every CPU, every GPU and any number of threads find
// the same bits. A tensor is cut into chunks in the order of its memory. Element i of a chunk goes to lane
// i % kNormLanes, which adds its elements' squares one after another, from 0 on. The lanes are added by halves. The
// chunks' sums, in the order of the parameters, go to lanes and are added in the same way.
#pragma once

#include <cmath>
#include <cstdint>

#include "arch.h"
#include "host_device.h"

namespace fastlr {

constexpr int64_t kNormChunk = 16384;
constexpr int32_t kNormLanes = 1024;

namespace FASTLR_ARCH {

// An empty tensor has none.
FASTLR_HD inline int64_t norm_chunks(int64_t size) { return (size + kNormChunk - 1) / kNormChunk; }

// The distance between the lanes of the first addition by halves, then s / 2, down to 1: lane[l] += lane[l + s] for
// l < s. Lanes that got nothing hold +0, so distances with nothing but them are left out; 0: lane 0 holds the sum.
FASTLR_HD inline int32_t norm_first_half(int64_t size) {
  int32_t half = 0;
  while (half < kNormLanes / 2 && (half == 0 ? 1 : 2 * half) < size) half = half == 0 ? 1 : 2 * half;
  return half;
}

FASTLR_HD inline double add_square(double sum, double value) {
  using std::fma;
  return fma(value, value, sum);
}

// Of gradients that are multiplied by `inverse_scale`, from the sum of their squares before that.
FASTLR_HD inline double norm_of(double sum, double inverse_scale) {
  using std::sqrt;
  return sqrt(sum) * inverse_scale;
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
