// What a CPU instruction set offers: one table for each, chosen once at load.
#pragma once

#include <cstdint>

#include "dtype.h"
#include "rules/hyper.h"
#include "schedule/instruction.h"

namespace fastlr {

// One tensor's elements, or a part of them. `first`: the state has not been written yet.
struct Span {
  void* param;
  const void* grad;
  void* state;
  int64_t size;
  bool first;
};

// Steps to evaluate: those of an array, or first + i * stride where array is null.
struct StepSpan {
  const int64_t* array;
  int64_t first;
  int64_t stride;
  int64_t count;
};

struct Kernels {
  const char* name;
  bool updates;  // false where fma would be a function call: such x86 uses torch's own operators
  double (*evaluate_one)(const schedule::ProgramView& program, int64_t step);
  // Both return how many of the values are NaN.
  int64_t (*evaluate)(const schedule::ProgramView& program, const StepSpan& steps, double* out);
  int64_t (*evaluate_single)(const schedule::ProgramView& program, const StepSpan& steps, float* out);
  void (*sgd[kDTypeCount])(const SgdHyper& hyper, const Span& span);
};

const Kernels& kernels();

}  // namespace fastlr
