// Compiled once for each instruction set. Only plain data and functions in FASTLR_ARCH: no inline function of the
// standard library may be compiled here with wider instructions than the rest of the program has.
#include "cpu/kernels.h"

#include "arch.h"
#include "rules/number.h"
#include "rules/sgd.h"
#include "schedule/evaluate.h"

#define FASTLR_STRING_(x) #x
#define FASTLR_STRING(x) FASTLR_STRING_(x)

namespace fastlr {
namespace FASTLR_ARCH {
namespace {

using sgd::Momentum;

template <class T, Momentum momentum, bool nesterov>
void sgd_decay(const SgdHyper& hyper, const Span& span) {
  auto* run = hyper.weight_decay != 0.0 ? sgd::update_range<T, momentum, nesterov, true>
                                        : sgd::update_range<T, momentum, nesterov, false>;
  run(hyper, static_cast<T*>(span.param), static_cast<const T*>(span.grad), static_cast<T*>(span.state), span.size);
}

template <class T, Momentum momentum>
void sgd_nesterov(const SgdHyper& hyper, const Span& span) {
  (hyper.nesterov ? sgd_decay<T, momentum, true> : sgd_decay<T, momentum, false>)(hyper, span);
}

template <class T>
void sgd_update(const SgdHyper& hyper, const Span& span) {
  if (hyper.momentum == 0.0) {
    sgd_decay<T, Momentum::off, false>(hyper, span);
  } else {
    (span.first ? sgd_nesterov<T, Momentum::first> : sgd_nesterov<T, Momentum::later>)(hyper, span);
  }
}

void evaluate_steps(const ::fastlr::schedule::ProgramView& program, const int64_t* steps, int64_t count, double* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = schedule::evaluate(program, steps[i]);
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
                          evaluate_steps,
                          {sgd_update<float>, sgd_update<double>, sgd_update<Half>, sgd_update<BFloat16>}};

}  // namespace FASTLR_ARCH
}  // namespace fastlr
