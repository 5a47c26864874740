// Powers of a decay rate, as bias corrections need them: the same bits on every CPU and GPU, and those of the exactly
// rounded power for all but about one case in 2^30.
#pragma once

#include <cstdint>

#include "arch.h"
#include "host_device.h"
#include "schedule/math.h"
#include "schedule/wide_number.h"

namespace fastlr {
namespace FASTLR_ARCH {

// value * 2^exponent with one rounding, for value.high in [1, 2) and exponent >= -1075.
FASTLR_HD inline double scaled(Wide value, int exponent) {
  if (exponent >= -1022) return value.high * schedule::double_of(static_cast<uint64_t>(exponent + 1023) << 52);
  // A subnormal's bits count its units of 2^-1074. value.low decides ties only, so its sign is enough.
  const uint64_t exact = (static_cast<uint64_t>(value.high * 0x1p52) << 10) + (value.low > 0.0) - (value.low < 0.0);
  const int shift = -1012 - exponent;
  const uint64_t odd = exact >> shift & 1;
  return schedule::double_of((exact + (uint64_t{1} << (shift - 1)) - 1 + odd) >> shift);
}

// base^exponent for base >= 0 and exponent >= 0; power(0, 0) is 1. Relative error before the one rounding: below 2^-90
// for base <= 1, and exponent * 2^-102 above. Beyond the range of double the result is 0 or infinity.
FASTLR_HD inline double power(double base, int64_t exponent) {
  if (exponent == 0) return 1.0;
  if (exponent == 1) return base;
  if (!(base < 0x1p512)) return base * base;
  // The power is (one + value) * 2^scale. Near 1 the difference from 1 is kept, whose relative error grows with the
  // number of squarings; that of the power itself would grow with the exponent.
  const bool near = base >= 0.5 && base <= 1.0;
  const double offset = near ? base - 1.0 : 0.0;
  double one = near ? 1.0 : 0.0;
  Wide value = {near ? offset : base, 0.0};
  int scale = 0;
  int bit = 62;
  while ((exponent >> bit & 1) == 0) --bit;
  while (true) {
    if (one != 0.0 && value.high < -0.5) {
      value = add({1.0, 0.0}, value);
      one = 0.0;
    }
    if (one == 0.0) {
      const int drift = static_cast<int>(schedule::bits_of(value.high) >> 52) - 1023;
      const double factor = schedule::double_of(static_cast<uint64_t>(1023 - drift) << 52);
      value = {value.high * factor, value.low * factor};
      scale += drift;
      if (scale < -1075) return 0.0;
      if (scale > 1023) return schedule::double_of(uint64_t{0x7ff} << 52);
    }
    if (--bit < 0) break;
    value = multiply(value, add({2.0 * one, 0.0}, value));
    scale *= 2;
    if ((exponent >> bit & 1) != 0) {
      value = add(multiply(value, {base, 0.0}), {one * offset, 0.0});
    }
  }
  return one != 0.0 ? add({1.0, 0.0}, value).high : scaled(value, scale);
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
