// The product's kernels, compiled by the host compiler from the same source as the images.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace standin {

struct Kernel {
  const char* name;
  std::size_t argument_bytes;
  unsigned threads;  // of a block, no more and no less
  void (*call)(const void* arguments);
  // Visits the addresses that a launch with these arguments uses.
  void (*visit)(const void* arguments, const std::function<void(const void*)>& seen);
};

// For drivers that take 32764 bytes of arguments, or 4096.
const std::vector<Kernel>& kernels(bool long_arguments);
const Kernel* find_kernel(const std::string& name, bool long_arguments);

}  // namespace standin
