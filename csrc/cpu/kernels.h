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

struct Kernels {
  const char* name;
  bool updates;  // false where fma would be a function call: such x86 uses torch's own operators
  void (*evaluate)(const schedule::ProgramView& program, const int64_t* steps, int64_t count, double* out);
  void (*sgd[kDTypeCount])(const SgdHyper& hyper, const Span& span);
};

const Kernels& kernels();

}  // namespace fastlr
