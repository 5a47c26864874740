// What a CPU instruction set offers: one table for each, chosen once at load.
#pragma once

#include <cstdint>

#include "dtype.h"
#include "rule/bytes.h"
#include "rule/power_memo.h"
#include "schedule/instruction.h"

namespace fastlr {

// One tensor's elements, or a part of them.
struct Span {
  void* param;
  const void* grad;
  void* state[kMaxStates];
  int64_t size;
  int64_t updates;  // that were done before, where the rule counts them
  bool first;       // the state has not been written yet
};

// Steps to evaluate: those of an array, or first + i * stride where array is null.
struct StepSpan {
  const int64_t* array;
  int64_t first;
  int64_t stride;
  int64_t count;
};

// One rule in one instruction set.
struct RuleKernels {
  void (*scalars)(const HyperBytes& hyper, int64_t updates, PowerMemo& powers, ScalarsBytes& out);
  void (*update[kDTypeCount])(const HyperBytes& hyper, const ScalarsBytes& scalars, const Span& span);
};

struct Kernels {
  const char* name;
  bool updates;  // false where fma would be a function call: such x86 uses torch's own operators
  double (*evaluate_one)(const schedule::ProgramView& program, int64_t step);
  // Both return how many of the values are NaN.
  int64_t (*evaluate)(const schedule::ProgramView& program, const StepSpan& steps, double* out);
  int64_t (*evaluate_single)(const schedule::ProgramView& program, const StepSpan& steps, float* out);
  const RuleKernels* rules;  // by their number
};

const Kernels& kernels();

}  // namespace fastlr
