// Many schedules at many steps, on several threads where that pays.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "schedule/program.h"

namespace fastlr {

// Row k of the values starts at values + k * row_stride (in elements).
struct ValueTable {
  void* values;
  int64_t row_stride;
  bool single;  // float32 instead of float64
};

// out[k, n] = programs[k](steps[n]). Returns the number of values that are NaN: steps at which a schedule has none.
int64_t evaluate(const std::vector<const schedule::Program*>& programs, const StepSpan& steps, const ValueTable& out,
                 int threads);

}  // namespace fastlr
