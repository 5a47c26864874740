// What of a rule passes through code that does not know it. Plain data.
#pragma once

#include <cstddef>

namespace fastlr {

constexpr int kMaxStates = 4;
constexpr int kMaxScheduled = 5;

// A rule's Hyper as bytes: only the rule's own code knows its members, which `fields` below names.
struct alignas(8) HyperBytes {
  static constexpr std::size_t kSize = 96;
  unsigned char bytes[kSize];
};

// A rule's Scalars<float> and Scalars<double>, one behind the other.
struct alignas(8) ScalarsBytes {
  static constexpr std::size_t kHalf = 128;
  ScalarsBytes() {}  // left as it is: written at once
  unsigned char single[kHalf];
  unsigned char exact[kHalf];
};

}  // namespace fastlr
