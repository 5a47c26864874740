// Random elements of every type, as bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "dtype.h"

inline std::mt19937_64 random_bits(7);

// Finite elements of the type, most of them near 1.
inline std::vector<char> random_elements(fastlr::DType dtype, int64_t count) {
  using fastlr::DType;
  std::normal_distribution<double> normal;
  std::vector<char> bytes(static_cast<std::size_t>(count * element_size(dtype)));
  for (int64_t i = 0; i < count; ++i) {
    const double wide = normal(random_bits);
    const auto narrow = static_cast<float>(wide);
    uint32_t bits;
    std::memcpy(&bits, &narrow, sizeof bits);
    const uint16_t bfloat = static_cast<uint16_t>(bits >> 16);
    const uint16_t half = static_cast<uint16_t>(random_bits() % 0x5000u | (random_bits() & 0x8000u));
    const void* source = dtype == DType::float64    ? static_cast<const void*>(&wide)
                         : dtype == DType::float32  ? static_cast<const void*>(&narrow)
                         : dtype == DType::bfloat16 ? static_cast<const void*>(&bfloat)
                                                    : static_cast<const void*>(&half);
    std::memcpy(bytes.data() + i * element_size(dtype), source, static_cast<std::size_t>(element_size(dtype)));
  }
  return bytes;
}

// The same without their signs.
inline std::vector<char> magnitudes(fastlr::DType dtype, std::vector<char> bytes) {
  const auto size = static_cast<std::size_t>(element_size(dtype));
  for (std::size_t last = size; last <= bytes.size(); last += size) bytes[last - 1] &= 0x7f;
  return bytes;
}
