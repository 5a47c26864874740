// Which table of kernels this process uses: the widest the CPU runs, or what FASTLR_CPU_CAPABILITY names.
#include <cstdlib>
#include <string>

#include "check.h"
#include "cpu/kernels.h"

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

bool runs_here(const Kernels& table) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (&table == &avx2::kKernels) return v3;
  if (&table == &avx512::kKernels) return v3 && v4;
#endif
  return &table == &base::kKernels;
}

const Kernels& choose() {
#if defined(__x86_64__)
  const Kernels* tables[] = {&avx512::kKernels, &avx2::kKernels, &base::kKernels};
#else
  const Kernels* tables[] = {&base::kKernels};
#endif
  const char* wanted = std::getenv("FASTLR_CPU_CAPABILITY");
  std::string names;
  for (const Kernels* table : tables) {
    if (!runs_here(*table)) continue;
    if (wanted == nullptr || *wanted == '\0' || std::string(wanted) == table->name) return *table;
    names += std::string(names.empty() ? "" : ", ") + table->name;
  }
  raise(ErrorKind::value, "FASTLR_CPU_CAPABILITY names no instruction set of this machine", wanted,
        "Unset it, or use one of: " + names + ".");
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace fastlr
