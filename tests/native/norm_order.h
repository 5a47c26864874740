// Sums of squares in lanes, by loops over whole arrays.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "dtype.h"
#include "elements.h"

namespace norm_test {

using namespace fastlr;

constexpr std::size_t kChunk = 16384, kLanes = 1024;

// All lanes, whatever the size, added by halves.
inline double combined(std::vector<double> lanes) {
  for (std::size_t s = kLanes / 2; s > 0; s /= 2) {
    for (std::size_t l = 0; l < s; ++l) lanes[l] += lanes[l + s];
  }
  return lanes[0];
}

inline double sum_in_lanes(const std::vector<double>& terms) {
  std::vector<double> lanes(kLanes);
  for (std::size_t i = 0; i < terms.size(); ++i) lanes[i % kLanes] += terms[i];
  return combined(lanes);
}

inline std::vector<double> values_of(const std::vector<char>& bytes, DType dtype) {
  std::vector<double> values;
  const auto size = static_cast<int64_t>(bytes.size()) / element_size(dtype);
  for (int64_t i = 0; i < size; ++i) values.push_back(element(bytes, dtype, i));
  return values;
}

inline double squares_in_lanes(const std::vector<double>& values, std::size_t begin, std::size_t end) {
  std::vector<double> lanes(kLanes);
  for (std::size_t i = begin; i < end; ++i) {
    double& lane = lanes[(i - begin) % kLanes];
    lane = std::fma(values[i], values[i], lane);
  }
  return combined(lanes);
}

// The sums of a tensor's chunks.
inline std::vector<double> chunks_of(const std::vector<double>& values) {
  std::vector<double> sums;
  for (std::size_t begin = 0; begin < values.size(); begin += kChunk) {
    sums.push_back(squares_in_lanes(values, begin, std::min(begin + kChunk, values.size())));
  }
  return sums;
}

}  // namespace norm_test
