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

template <int32_t states, int32_t bytes>
void visit(const fastlr::cuda::StepArguments<states, bytes>& arguments, const Seen& seen) {
  // Empty tensors have no address, and what an update does not write has none.
  const auto seen_if_any = [&](const void* address) {
    if (address != nullptr) seen(address);
  };
  seen(arguments.state);
  for (int32_t i = 0; i < arguments.tensors; ++i) {
    seen_if_any(arguments.param[i]);
    seen_if_any(arguments.grad[i]);
    for (const auto& buffer : arguments.buffer) seen_if_any(buffer[i]);
  }
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
  STANDIN_KERNEL(fastlr_##rule##_prepare, 256)

const std::vector<standin::Kernel>& STANDIN_VARIANT(kernels)() {
  static const std::vector<standin::Kernel> all = {FASTLR_RULES(STANDIN_KERNELS_OF)
                                                       STANDIN_KERNEL(fastlr_evaluate, 128)};
  return all;
}
