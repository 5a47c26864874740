// Which table of kernels this process uses: the widest the CPU runs, or what FASTLR_CPU_CAPABILITY names.
#include "cpu/dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

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
constexpr bool has(unsigned value, unsigned bits) { return (value & bits) == bits; }

// 3 or 4 where the CPU and the system run x86-64-v3 or v4, else 2. Asked of the CPU itself, since
// __builtin_cpu_supports needs a runtime that not every compiler brings: zig's answers no to everything.
int x86_level() {
  unsigned a = 0, b = 0, c = 0, d = 0, extended = 0;
  if (!__get_cpuid(0x80000001, &a, &b, &extended, &d) || !has(extended, bit_LZCNT)) return 2;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C)) return 2;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(b, bit_AVX2 | bit_BMI | bit_BMI2)) return 2;
  unsigned saved = 0, unused = 0;  // which registers the system saves: 0x6 for AVX, 0xe6 for AVX-512
  __asm__("xgetbv" : "=a"(saved), "=d"(unused) : "c"(0));
  if (!has(saved, 0x6)) return 2;
  return has(saved, 0xe6) && has(b, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL) ? 4 : 3;
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
  const int level = x86_level();
  if (level >= 4) tables.push_back(&avx512::kKernels);
  if (level >= 3) tables.push_back(&avx2::kKernels);
#endif
  tables.push_back(&base::kKernels);
  return tables;
}

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace fastlr
