// Elementary functions from IEEE operations and written fma only: the same bits on every CPU and GPU.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "arch.h"
#include "host_device.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace schedule {

using std::fma;
using std::sqrt;

constexpr uint64_t kNaN = 0x7ff8000000000000u;

FASTLR_HD inline uint64_t bits_of(double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

FASTLR_HD inline double double_of(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// t >= 0, correctly rounded. The second form vectorises where the machine has no such conversion for lanes.
FASTLR_HD inline double to_double(int64_t t) {
#ifdef __AVX512DQ__
  return static_cast<double>(t);
#else
  const uint64_t bits = static_cast<uint64_t>(t);
  const double high = double_of((bits >> 32) | 0x4530000000000000u) - 0x1.00000001p84;
  return high + double_of((bits & 0xffffffffu) | 0x4330000000000000u);
#endif
}

FASTLR_HD inline double horner(double, double last) { return last; }

// c0 + x*(c1 + x*(c2 + ...)), unrolled when compiled.
template <class... Rest>
FASTLR_HD inline double horner(double x, double first, Rest... rest) {
  return fma(x, horner(x, rest...), first);
}

// sin^2(pi/2 v) for v in [0, 1/2]; relative error below 1e-15, also where v is tiny.
FASTLR_HD inline double sin_squared(double v) {
  const double sine =
      v * horner(v * v, 0x1.921fb54442d18p+0, -0x1.4abbce625be41p-1, 0x1.466bc677587f8p-4, -0x1.32d2cce2e5b19p-8,
                 0x1.50782fda12d96p-13, -0x1.e30071afc3e59p-19, 0x1.e3f38399551bfp-25);
  return sine * sine;
}

// Adding 1.5 * 2^52 rounds to the nearest integer and leaves it in the low bits.
constexpr double kRound = 0x1.8p52;

// 2^n for a whole n in [-1022, 1023].
FASTLR_HD inline double power_of_two(double n) {
  return double_of((bits_of(n + kRound) - bits_of(kRound) + 1023u) << 52);
}

// (2^x - 1) / x for x in [-1/2, 1/2].
FASTLR_HD inline double exp2_slope(double x) {
  return horner(x, 0x1.62e42fefa39efp-1, 0x1.ebfbdff82c598p-3, 0x1.c6b08d704a0c2p-5, 0x1.3b2ab6fba1ddap-7,
                0x1.5d87fe78a5276p-10, 0x1.430913096fe6bp-13, 0x1.ffcbfc670dd82p-17, 0x1.62bfd4774c4c2p-20,
                0x1.b524fae606540p-24, 0x1.e6063fbfea44dp-28, 0x1.e9d3fe7bb0db4p-32);
}

// 2^(high + low) for a |low| far below 1; 0, subnormals and infinity come out as IEEE rounding has them.
FASTLR_HD inline double exp2(double high, double low) {
  const double limited = high > 1100.0 ? 1100.0 : (high < -1100.0 ? -1100.0 : high);
  const double n = (limited + kRound) - kRound;
  const double fraction = (limited - n) + (limited == high ? low : 0.0);
  const double mantissa = fma(fraction, exp2_slope(fraction), 1.0);
  // In two factors, so that only the last product can round or overflow.
  const double half = (n * 0.5 + kRound) - kRound;
  return mantissa * power_of_two(half) * power_of_two(n - half);
}

// log2((1 + s) / (1 - s)) for |s| <= 3 - 2 * sqrt(2).
FASTLR_HD inline double log2_ratio(double s) {
  return s * horner(s * s, 0x1.71547652b82fep+1, 0x1.ec709dc3a047dp-1, 0x1.2776c50ee39a4p-1, 0x1.a61762d699b46p-2,
                    0x1.484afb77d8797p-2, 0x1.0ca160eda205bp-2, 0x1.c46df723fd2ebp-3, 0x1.b594042f590e9p-3);
}

struct Log2 {
  double high;
  double low;
};

// log2(x) for a positive normal x: the exponent and 2/ln2 * atanh((m-1)/(m+1)) with m in [sqrt(1/2), sqrt(2)).
FASTLR_HD inline Log2 log2(double x) {
  const uint64_t root_half = 0x3fe6a09e667f3bcdu;
  const uint64_t exponent = (bits_of(x) - root_half + 0x3ff0000000000000u) >> 52;  // plus 1023
  const double m = double_of(bits_of(x) - ((exponent - 1023u) << 52));
  const double part = log2_ratio((m - 1.0) / (m + 1.0));
  const double whole = to_double(static_cast<int64_t>(exponent)) - 1023.0;
  const double high = whole + part;
  return {high, part - (high - whole)};
}

// x^power for x >= 0 and power > 0; a subnormal x counts as 0.
FASTLR_HD inline double pow(double x, double power) {
  const bool normal = x >= 0x1p-1022;
  const Log2 log = log2(normal ? x : 1.0);
  const double high = power * log.high;
  const double value = exp2(high, fma(power, log.high, -high) + power * log.low);
  return normal ? value : 0.0;
}

// 1 - (1 - x)^power for x in [0, 1/2], which keeps the digits of a small x.
FASTLR_HD inline double pow_complement(double x, double power) {
  const double exponent = power * log2_ratio(x / (x - 2.0));
  const bool near = x <= 0.25 && exponent >= -0.5;
  return near ? -(exponent * exp2_slope(exponent)) : 1.0 - pow(1.0 - x, power);
}

}  // namespace schedule
}  // namespace FASTLR_ARCH
}  // namespace fastlr
