// Which table of kernels this process uses: the widest the CPU runs, or what FASTLR_CPU_CAPABILITY names.
#include "cpu/dispatch.h"

#include <cstdlib>
#include <string>
#include <vector>

#include "check.h"

namespace fastlr {

namespace base {
extern const Kernels kKernels;
}
#if defined(__x86_64__)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#endif

namespace {

#if defined(__x86_64__)
bool runs_here(const Kernels& table) {
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v3 && (v4 || &table != &avx512::kKernels);
}
#endif

const Kernels& choose() {
  const char* wanted = std::getenv("FASTLR_CPU_CAPABILITY");
  std::string names;
  for (const Kernels* table : available_kernels()) {
    if (wanted == nullptr || *wanted == '\0' || std::string(wanted) == table->name) return *table;
    names += std::string(names.empty() ? "" : ", ") + table->name;
  }
  raise(ErrorKind::value, "FASTLR_CPU_CAPABILITY names no instruction set of this machine", wanted,
        "Unset it, or use one of: " + names + ".");
}

}  // namespace

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> tables;
#if defined(__x86_64__)
  if (runs_here(avx512::kKernels)) tables.push_back(&avx512::kKernels);
  if (runs_here(avx2::kKernels)) tables.push_back(&avx2::kKernels);
#endif
  tables.push_back(&base::kKernels);
  return tables;
}

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace fastlr
