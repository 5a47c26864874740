// Logarithms of about 100 bits, for what is computed once when a program is built.
#pragma once

#include <cmath>

#include "schedule/wide_number.h"

namespace fastlr {
namespace schedule {

using FASTLR_ARCH::add;
using FASTLR_ARCH::multiply;
using FASTLR_ARCH::normalized;
using FASTLR_ARCH::Wide;

inline Wide divide(Wide a, Wide b) {
  const double quotient = a.high / b.high;
  const double rest = std::fma(-quotient, b.high, a.high) + (a.low - quotient * b.low);
  return normalized(quotient, rest / b.high);
}

// log2(x) for x > 0, so that n * log2(gamma) is exact enough for any number of steps.
inline Wide wide_log2(double x) {
  int exponent = 0;
  double m = std::frexp(x, &exponent);
  if (m < 0x1.6a09e667f3bcdp-1) {
    m *= 2.0;
    exponent -= 1;
  }
  const Wide s = divide({m - 1.0, 0.0}, add({m, 0.0}, {1.0, 0.0}));
  const Wide square = multiply(s, s);
  Wide series = {0.0, 0.0};
  for (int k = 20; k >= 0; --k) {
    series = add(multiply(series, square), divide({1.0, 0.0}, {2.0 * k + 1.0, 0.0}));
  }
  const Wide two_over_ln2 = {0x1.71547652b82fep+1, 0x1.777d0ffda0d24p-55};
  return add({static_cast<double>(exponent), 0.0}, multiply(two_over_ln2, multiply(s, series)));
}

}  // namespace schedule
}  // namespace fastlr
