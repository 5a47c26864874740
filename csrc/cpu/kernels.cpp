// Compiled once for each instruction set. Only plain data and functions in FASTLR_ARCH: no inline function of the
// standard library may be compiled here with wider instructions than the rest of the program has.
#include "cpu/kernels.h"

#include "arch.h"
#include "cpu/norm.h"
#include "cpu/recipe.h"
#include "cpu/update.h"
#include "rules/rules.h"
#include "schedule/block.h"

#define FASTLR_STRING_(x) #x
#define FASTLR_STRING(x) FASTLR_STRING_(x)

namespace fastlr {
namespace FASTLR_ARCH {
namespace {

const RuleKernels kRules[] = {
#define FASTLR_KERNELS_OF(name) rule_kernels<name::Rule>(),
    FASTLR_RULES(FASTLR_KERNELS_OF)
#undef FASTLR_KERNELS_OF
};

double evaluate_one(const ::fastlr::schedule::ProgramView& program, int64_t step) {
  return schedule::evaluate(program, step);
}

bool write_times(const StepSpan& steps, int64_t begin, int32_t count, int64_t* times) {
  const int64_t* array = steps.array;
  const int64_t stride = steps.stride;
  if (array == nullptr) {
    uint64_t t = static_cast<uint64_t>(steps.first + begin * stride);  // may pass the last int64 after the last step
    for (int32_t i = 0; i < count; ++i, t += static_cast<uint64_t>(stride)) times[i] = static_cast<int64_t>(t);
    return stride >= 0;
  }
  int32_t falls = 0;
  for (int32_t i = 0; i < count; ++i) times[i] = array[begin + i];
  for (int32_t i = 1; i < count; ++i) falls += times[i] < times[i - 1];
  return falls == 0;
}

int64_t count_missing(const double* values, int32_t count) {
  int64_t missing = 0;
  for (int32_t i = 0; i < count; ++i) missing += values[i] != values[i];
  return missing;
}

// Visits the steps block by block; `target` says where a block's values go, `done` what becomes of them.
template <class Target, class Done>
int64_t evaluate_blocks(const ::fastlr::schedule::ProgramView& program, const StepSpan& steps, Target target,
                        Done done) {
  schedule::Block block(program);
  int64_t missing = 0;
  for (int64_t begin = 0; begin < steps.count; begin += schedule::kLanes) {
    const int64_t rest = steps.count - begin;
    const auto count = static_cast<int32_t>(rest < schedule::kLanes ? rest : schedule::kLanes);
    const bool rising = write_times(steps, begin, count, block.times());
    double* values = target(begin);
    block.run(count, rising, values);
    if (program.partial) missing += count_missing(values, count);
    done(begin, count, values);
  }
  return missing;
}

int64_t evaluate_double(const ::fastlr::schedule::ProgramView& program, const StepSpan& steps, double* out) {
  return evaluate_blocks(
      program, steps, [out](int64_t begin) { return out + begin; }, [](int64_t, int32_t, double*) {});
}

int64_t evaluate_single(const ::fastlr::schedule::ProgramView& program, const StepSpan& steps, float* out) {
  double values[schedule::kLanes];
  return evaluate_blocks(
      program, steps, [&](int64_t) { return values; },
      [out](int64_t begin, int32_t count, const double* from) {
        for (int32_t i = 0; i < count; ++i) out[begin + i] = static_cast<float>(from[i]);
      });
}

}  // namespace

#if defined(__x86_64__) && !defined(__FMA__)
constexpr bool kUpdates = false;
#else
constexpr bool kUpdates = true;
#endif

extern const Kernels kKernels;
const Kernels kKernels = {FASTLR_STRING(FASTLR_ARCH),
                          kUpdates,
                          evaluate_one,
                          evaluate_double,
                          evaluate_single,
                          kRules,
                          update_recipe,
                          sum_squares,
                          sum};

}  // namespace FASTLR_ARCH
}  // namespace fastlr
