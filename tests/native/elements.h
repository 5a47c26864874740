// Random elements of every type, as bytes.
#pragma once

#include <cmath>
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

// The value of an element, decoded by other code than the kernels'. Not for infinities and NaN.
inline double element(const std::vector<char>& bytes, fastlr::DType dtype, int64_t i) {
  using fastlr::DType;
  if (dtype == DType::float64) return reinterpret_cast<const double*>(bytes.data())[i];
  if (dtype == DType::float32) return reinterpret_cast<const float*>(bytes.data())[i];
  const uint16_t bits = reinterpret_cast<const uint16_t*>(bytes.data())[i];
  const int exponent_bits = dtype == DType::bfloat16 ? 8 : 5;
  const int fraction_bits = 15 - exponent_bits;
  const int exponent = (bits & 0x7fff) >> fraction_bits;
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, 1 - bias - fraction_bits)
                                         : std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}
