// Included once by a source file that defines FASTLR_ARGUMENT_BYTES and STANDIN_VARIANT(name), which makes every name
// of kernels.cu that the other variant has too its own.
#include "cuda/state.h"
#include "kernels.h"
#include "shim.h"

// What kernels.cu calls its namespace.
#define device STANDIN_VARIANT(device)
#define FASTLR_KERNEL_NAME(name) STANDIN_VARIANT(name)

namespace by_reference {
constexpr bool kLong = FASTLR_ARGUMENT_BYTES == ::fastlr::cuda::kLongArguments;
namespace cuda {
template <class Rule>
using Step = const ::fastlr::cuda::StepArguments<Rule::kStates, FASTLR_ARGUMENT_BYTES>&;
template <class Rule>
using RecipeStep = const ::fastlr::cuda::RecipeArguments<Rule::kStates, FASTLR_ARGUMENT_BYTES>&;
using Norm = const ::fastlr::cuda::NormArguments<FASTLR_ARGUMENT_BYTES>&;
using Evaluate =
    const ::fastlr::cuda::EvaluateArguments<kLong ? ::fastlr::cuda::kLongPrograms : ::fastlr::cuda::kShortPrograms>&;
}  // namespace cuda
namespace fastlr {
namespace cuda {
using PrepareArguments = const ::fastlr::cuda::PrepareArguments&;
}  // namespace cuda
}  // namespace fastlr
}  // namespace by_reference

#include "cuda/kernels.cu"

namespace {

using Seen = std::function<void(const void*)>;

// Empty tensors have no address, and what an update does not write has none.
void visit_if_any(const void* address, const Seen& seen) {
  if (address != nullptr) seen(address);
}

template <class Arguments>
void visit_tensors(const Arguments& arguments, const Seen& seen) {
  seen(arguments.state);
  for (int32_t i = 0; i < arguments.tensors; ++i) {
    visit_if_any(arguments.param[i], seen);
    visit_if_any(arguments.grad[i], seen);
    for (const auto& buffer : arguments.buffer) visit_if_any(buffer[i], seen);
  }
}

template <int32_t states, int32_t bytes>
void visit(const fastlr::cuda::StepArguments<states, bytes>& arguments, const Seen& seen) {
  visit_tensors(arguments, seen);
}

template <int32_t states, int32_t bytes>
void visit(const fastlr::cuda::RecipeArguments<states, bytes>& arguments, const Seen& seen) {
  visit_tensors(arguments, seen);
  visit_if_any(arguments.grad_scale, seen);
  visit_if_any(arguments.found_inf, seen);
  for (int32_t i = 0; i < arguments.tensors; ++i) {
    visit_if_any(arguments.master[i], seen);
    visit_if_any(arguments.average[i], seen);
  }
}

template <int32_t bytes>
void visit(const fastlr::cuda::NormArguments<bytes>& arguments, const Seen& seen) {
  seen(arguments.state);
  seen(arguments.sums);
  visit_if_any(arguments.grad_scale, seen);
  visit_if_any(arguments.found_inf, seen);
  for (int32_t i = 0; i < arguments.tensors; ++i) visit_if_any(arguments.grad[i], seen);
}

void visit(const fastlr::cuda::PrepareArguments& arguments, const Seen& seen) {
  if (arguments.refresh != 0) seen(arguments.state);
  for (int32_t i = 0; i < arguments.writes; ++i) seen(arguments.write[i].to);
}

template <int32_t capacity>
void visit(const fastlr::cuda::EvaluateArguments<capacity>& arguments, const Seen& seen) {
  seen(arguments.out);
  if (arguments.steps != nullptr) seen(arguments.steps);
}

template <auto function>
struct Erased;

template <class Arguments, void (*function)(const Arguments&)>
struct Erased<function> {
  static void call(const void* arguments) { function(*static_cast<const Arguments*>(arguments)); }
  static standin::Kernel named(const char* name, unsigned threads) {
    return {name, sizeof(Arguments), threads, &Erased::call, &Erased::visit_all};
  }
  static void visit_all(const void* arguments, const Seen& seen) {
    visit(*static_cast<const Arguments*>(arguments), seen);
  }
};

}  // namespace

#define STANDIN_KERNEL(name, threads) Erased<&STANDIN_VARIANT(name)>::named(#name, threads),
#define STANDIN_KERNELS_OF(rule)                \
  STANDIN_KERNEL(fastlr_##rule##_float32, 256)  \
  STANDIN_KERNEL(fastlr_##rule##_bfloat16, 256) \
  STANDIN_KERNEL(fastlr_##rule##_mixed, 256)    \
  STANDIN_KERNEL(fastlr_##rule##_recipe, 256)   \
  STANDIN_KERNEL(fastlr_##rule##_prepare, 256)

const std::vector<standin::Kernel>& STANDIN_VARIANT(kernels)() {
  static const std::vector<standin::Kernel> all = {FASTLR_RULES(STANDIN_KERNELS_OF) STANDIN_KERNEL(fastlr_evaluate, 128)
                                                       STANDIN_KERNEL(fastlr_norm, 256)};
  return all;
}
