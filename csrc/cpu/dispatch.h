// Which tables of kernels this machine can run.
#pragma once

#include <vector>

#include "cpu/kernels.h"

namespace fastlr {

// The widest first; `base` is always among them.
std::vector<const Kernels*> available_kernels();

}  // namespace fastlr
