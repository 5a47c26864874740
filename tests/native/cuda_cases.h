// For the tests of the step kernels: the orders of blocks and threads, and groups of each rule with every form and
// traffic, constants and schedules. The first of each rule follows nothing and writes all of the rule's state.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda_model.h"
#include "fiber.h"

namespace cuda_test {

using schedule::ProgramBuilder;

#if STANDIN_TSAN
constexpr bool kThorough = false;  // some hundred times slower
#else
constexpr bool kThorough = true;
#endif

const Execution kOrders[] = {{Order::forward, Order::forward, 1, 1},
                             {Order::reverse, Order::reverse, 2, 2},
                             {Order::random, Order::random, 4, 3}};

inline Program ramp(double start, double end, double steps) {
  ProgramBuilder builder;
  builder.cosine({start, end, 0.0, steps}, 1.0);
  return builder.build();
}

// From 0 on: no momentum in the first update, so that the second is the first to write the buffer.
inline Program late_momentum() {
  ProgramBuilder builder;
  builder.table({1}, {0.0, 0.9});
  return builder.build();
}

struct Schedules {
  Program rate = ramp(0.1, 0.01, 7.0);
  Program momentum = late_momentum();
  Program decay = ramp(0.0, 0.3, 5.0);
  Program beta = ramp(0.85, 0.3, 6.0);  // from one form of torch's lerp to the other
};

// Most tensors have that many updates behind them.
constexpr int64_t kUpdates = 7;

inline std::vector<GroupCase<base::sgd::Rule>> groups_of(base::sgd::Rule, const Schedules& all) {
  const Program *rate = &all.rate, *momentum = &all.momentum, *decay = &all.decay;
  return {{{0.1, 0.9, 0.0, 0.01, true, false, false}, {}, 1.0, 0, false, kUpdates},
          {{0.1, 0.0, 0.0, 0.0, false, false, false}, {rate}, 0.5, 2, false, kUpdates},
          {{0.1, 0.0, 0.3, 0.02, false, true, false}, {rate, momentum, decay}, 1.0, 0, false, kUpdates},
          {{0.2, 0.8, 0.0, 0.0, false, true, true}, {rate, nullptr, decay}, 1.0, 3, true, kUpdates},
          {{0.0, 0.7, 0.5, 0.0, false, false, false}, {}, 1.0, 0, false, kUpdates}};
}

inline std::vector<GroupCase<base::adam::Rule>> groups_of(base::adam::Rule, const Schedules& all) {
  const Program *rate = &all.rate, *beta = &all.beta, *decay = &all.decay;
  return {{{0.01, 0.9, 0.999, 1e-8, 0.01, true, false, false}, {}, 1.0, 0, false, kUpdates},
          {{0.1, 0.9, 0.99, 1e-6, 0.0, false, true, false}, {rate}, 0.5, 2, false, kUpdates},
          {{0.1, 0.4, 0.9, 1e-8, 0.02, false, false, true}, {rate, nullptr, beta, decay}, 1.0, 0, false, kUpdates},
          {{0.2, 0.5, 0.8, 0.1, 0.1, true, true, true}, {rate, beta}, 1.0, 3, true, kUpdates},
          {{0.0, 0.0, 0.5, 1e-3, 0.3, false, true, false}, {nullptr, nullptr, nullptr, decay}, 1.0, 1, false, 0}};
}

inline std::vector<GroupCase<base::lion::Rule>> groups_of(base::lion::Rule, const Schedules& all) {
  const Program *rate = &all.rate, *beta = &all.beta, *decay = &all.decay;
  return {{{0.01, 0.9, 0.99, 0.1, false}, {}, 1.0, 0, false, kUpdates},
          {{0.1, 0.9, 0.99, 0.0, true}, {rate}, 0.5, 2, false, kUpdates},
          {{0.1, 0.5, 0.3, 0.02, false}, {rate, beta, nullptr, decay}, 1.0, 0, false, kUpdates},
          {{0.2, 0.0, 0.9, 0.1, true}, {rate, nullptr, beta}, 1.0, 3, true, kUpdates}};
}

}  // namespace cuda_test
