// A plan on the CPU.
#pragma once

#include "step/plan.h"

namespace fastlr {

// Below this many elements a second thread costs more than it saves.
constexpr int64_t kThreadedElements = 1 << 16;

void run(const Plan& plan, int threads);

}  // namespace fastlr
