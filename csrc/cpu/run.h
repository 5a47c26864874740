// A plan on the CPU.
#pragma once

#include <vector>

#include "step/plan.h"

namespace fastlr {

// Below this many elements a second thread costs more than it saves.
constexpr int64_t kThreadedElements = 1 << 16;

void run(const Plan& plan, int threads);

// Sums of the squares of the gradients as they are stored, the same bits for any number of threads.
// By norm set: the shared one, and one for each group.
std::vector<double> squares(const Plan& plan, int threads);
// By task; 0 where its group is not clipped by norm.
std::vector<double> squares_of_tasks(const Plan& plan, int threads);

}  // namespace fastlr
