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

// What an update with a recipe takes of a tensor beside its span; of the whole tensor, where the span is a part.
struct Extra {
  void* master = nullptr;   // float32
  void* average = nullptr;  // float64 for float64 parameters, else float32
  // Element m in memory is the logical element m where rows is 1; else
  // (m / (rows * columns) * rows + m % rows) * columns + m % (rows * columns) / rows.
  int64_t rows = 1;
  int64_t columns = 1;
  int32_t place = 0;  // of the parameter among all of the optimizer's
  DType state_dtype[kMaxStates] = {};
};

// One update of one tensor, or of a part of it, with its recipe.
struct RecipeSpan {
  Span span;
  Extra extra;
  DType dtype;    // of the parameter and its gradient
  int64_t begin;  // the place in memory of the span's first element among the tensor's
  int64_t count;  // updates that the optimizer has done: the step t
  double factor;  // what the gradient is multiplied by: unscaled and clipped by norm
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
  // An update in one pass, by the rule's own loops.
  void (*update_recipe)(const RuleKernels& rule, const HyperBytes& hyper, const ScalarsBytes& scalars,
                        const RecipeSpan& what);
  // Of at most kNormChunk elements of a gradient, and of such sums: both in the order of norm/order.h.
  double (*sum_squares)(DType dtype, const void* grad, int64_t size);
  double (*sum)(const double* terms, int64_t size);
};

const Kernels& kernels();

}  // namespace fastlr
