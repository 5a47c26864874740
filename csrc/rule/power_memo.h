// The last powers that were asked for: the groups and parameters of a model share theirs. Plain data.
#pragma once

#include <cstdint>

namespace fastlr {

struct PowerMemo {
  static constexpr int kKept = 4;

  double base[kKept];
  int64_t exponent[kKept];
  double value[kKept];
  int kept;
  int next;
};

}  // namespace fastlr
