// Stochastic rounding to bfloat16 by a counter-based generator: its bits depend on the seed, the number of updates, the
// parameter's place and the element's logical index alone, not on the layout, the device or the number of threads.
#pragma once

#include <cstdint>

#include "arch.h"
#include "host_device.h"
#include "number.h"

namespace fastlr {
namespace FASTLR_ARCH {

// The finaliser of splitmix64.
FASTLR_HD inline uint64_t mix64(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Of one update of one parameter. `count`: updates of the optimizer before; `place`: the parameter's among all.
FASTLR_HD inline uint64_t rounding_key(uint64_t seed, int64_t count, int32_t place) {
  const uint64_t of_step = mix64(mix64(seed + 0x9e3779b97f4a7c15u) + static_cast<uint64_t>(count));
  return mix64(of_step + static_cast<uint64_t>(place));
}

// 16 random bits for an element.
FASTLR_HD inline uint32_t rounding_bits(uint64_t key, uint64_t element) {
  uint32_t x = static_cast<uint32_t>(element) * 0x9e3779b1u + static_cast<uint32_t>(key);
  x ^= static_cast<uint32_t>(element >> 32) * 0x85ebca77u + static_cast<uint32_t>(key >> 32);
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  x ^= x >> 16;
  return x >> 16;
}

// The logical index of the element at `place` in memory, where each matrix of rows x columns lies transposed.
FASTLR_HD inline uint64_t logical_element(int64_t place, int64_t rows, int64_t columns) {
  if (rows == 1) return static_cast<uint64_t>(place);
  const int64_t matrix = place / (rows * columns), in_matrix = place % (rows * columns);
  return static_cast<uint64_t>((matrix * rows + in_matrix % rows) * columns + in_matrix / rows);
}

// Away from 0 with the probability of the dropped bits. `random`: 16 bits.
FASTLR_HD inline void store_stochastic(float value, uint32_t random, BFloat16& out) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + random) >> 16;  // an infinity has no bits to drop
  const uint32_t quiet_nan = (bits >> 16) | 0x0040u;
  out.bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
