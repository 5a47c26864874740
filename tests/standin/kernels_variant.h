// Included once by a source file that defines FASTLR_ARGUMENT_BYTES and STANDIN_VARIANT(name), which makes every name
// of kernels.cu that the other variant has too its own.
#include "cuda/state.h"
#include "kernels.h"
#include "shim.h"

// What kernels.cu calls its namespace.
#define device STANDIN_VARIANT(device)
#define fastlr_sgd_float32 STANDIN_VARIANT(fastlr_sgd_float32)
#define fastlr_sgd_float64 STANDIN_VARIANT(fastlr_sgd_float64)
#define fastlr_sgd_float16 STANDIN_VARIANT(fastlr_sgd_float16)
#define fastlr_sgd_bfloat16 STANDIN_VARIANT(fastlr_sgd_bfloat16)
#define fastlr_sgd_mixed STANDIN_VARIANT(fastlr_sgd_mixed)
#define fastlr_prepare STANDIN_VARIANT(fastlr_prepare)
#define fastlr_evaluate STANDIN_VARIANT(fastlr_evaluate)

namespace by_reference {
constexpr bool kLong = FASTLR_ARGUMENT_BYTES == ::fastlr::cuda::kLongArguments;
namespace cuda {
using Step = const ::fastlr::cuda::StepArguments<kLong ? ::fastlr::cuda::kLongTensors : ::fastlr::cuda::kShortTensors>&;
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

template <int32_t capacity>
void visit(const fastlr::cuda::StepArguments<capacity>& arguments, const Seen& seen) {
  seen(arguments.state);
  for (int32_t i = 0; i < arguments.tensors; ++i) {
    for (const void* address : {static_cast<const void*>(arguments.param[i]), arguments.grad[i],
                                static_cast<const void*>(arguments.buffer[i])}) {
      if (address != nullptr) seen(address);
    }
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

const std::vector<standin::Kernel>& STANDIN_VARIANT(kernels)() {
  static const std::vector<standin::Kernel> all = {
      Erased<&fastlr_sgd_float32>::named("fastlr_sgd_float32", 256),
      Erased<&fastlr_sgd_float64>::named("fastlr_sgd_float64", 256),
      Erased<&fastlr_sgd_float16>::named("fastlr_sgd_float16", 256),
      Erased<&fastlr_sgd_bfloat16>::named("fastlr_sgd_bfloat16", 256),
      Erased<&fastlr_sgd_mixed>::named("fastlr_sgd_mixed", 256),
      Erased<&fastlr_prepare>::named("fastlr_prepare", 256),
      Erased<&fastlr_evaluate>::named("fastlr_evaluate", 128),
  };
  return all;
}
