#include "kernels.h"

const std::vector<standin::Kernel>& kernels_long();
const std::vector<standin::Kernel>& kernels_short();

namespace standin {

const std::vector<Kernel>& kernels(bool long_arguments) { return long_arguments ? kernels_long() : kernels_short(); }

const Kernel* find_kernel(const std::string& name, bool long_arguments) {
  for (const Kernel& kernel : kernels(long_arguments)) {
    if (name == kernel.name) return &kernel;
  }
  return nullptr;
}

}  // namespace standin
