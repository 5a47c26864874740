// 16-bit elements as bits, converted to and from float32 with one rounding to nearest even. Written with integer and
// exact float operations only, so that host, device and every instruction set give the same bits.
#pragma once

#include <cstdint>
#include <cstring>

#include "arch.h"
#include "host_device.h"

namespace fastlr {
namespace FASTLR_ARCH {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

FASTLR_HD inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

FASTLR_HD inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// What a value is computed in: 16-bit elements in float32, the others as they are.
template <class T>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};

FASTLR_HD inline float load(float value) { return value; }
FASTLR_HD inline double load(double value) { return value; }
FASTLR_HD inline float load(BFloat16 value) { return float_of(static_cast<uint32_t>(value.bits) << 16); }

FASTLR_HD inline float load(Half value) {
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  const uint32_t exponent = magnitude & 0x0f800000u;
  const uint32_t rebias = 112u << 23;
  const float normal = float_of(magnitude + rebias + (exponent == 0x0f800000u ? rebias : 0u));
  // A subnormal half is put below the hidden bit of 2^-14, which is then subtracted: exact.
  const float subnormal = float_of(magnitude + (113u << 23)) - float_of(113u << 23);
  const float unsigned_value = exponent == 0u ? subnormal : normal;
  return float_of(bits_of(unsigned_value) | (static_cast<uint32_t>(value.bits & 0x8000u) << 16));
}

FASTLR_HD inline void store(float value, float& out) { out = value; }
FASTLR_HD inline void store(double value, double& out) { out = value; }

FASTLR_HD inline void store(float value, BFloat16& out) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet_nan = (bits >> 16) | 0x0040u;
  out.bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
}

FASTLR_HD inline void store(float value, Half& out) {
  const uint32_t sign = (bits_of(value) >> 16) & 0x8000u;
  const uint32_t magnitude = bits_of(value) & 0x7fffffffu;
  const uint32_t odd = (magnitude >> 13) & 1u;
  const uint32_t normal = (magnitude - (112u << 23) + 0xfffu + odd) >> 13;
  // Adding 0.5 shifts a subnormal result's bits into place and rounds them once.
  const uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - (126u << 23);
  const uint32_t special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
  out.bits = static_cast<uint16_t>(sign | (magnitude >= (143u << 23) ? special : finite));
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
