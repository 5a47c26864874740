// Numbers of about 100 bits, for the few values that are computed once and used many times.
#pragma once

#include <cmath>

#include "arch.h"
#include "host_device.h"

namespace fastlr {
namespace FASTLR_ARCH {

// A number as a sum of two doubles: twice the digits.
struct Wide {
  double high;
  double low;
};

FASTLR_HD inline Wide normalized(double high, double low) {
  const double sum = high + low;
  return {sum, low - (sum - high)};
}

FASTLR_HD inline Wide add(Wide a, Wide b) {
  const double sum = a.high + b.high;
  const double part = sum - a.high;
  const double lost = (a.high - (sum - part)) + (b.high - part);
  return normalized(sum, lost + a.low + b.low);
}

FASTLR_HD inline Wide multiply(Wide a, Wide b) {
  using std::fma;
  const double product = a.high * b.high;
  const double lost = fma(a.high, b.high, -product);
  return normalized(product, lost + (a.high * b.low + a.low * b.high));
}

}  // namespace FASTLR_ARCH
}  // namespace fastlr
