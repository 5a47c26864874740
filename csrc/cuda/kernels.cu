// The kernels: index to rule. For NVRTC and nvcc, and for the host compiler with the tests' stand-in for CUDA.
#define FASTLR_ARCH device

#include "cuda/advance.h"
#include "cuda/norm.h"
#include "cuda/recipe.h"
#include "cuda/update.h"
#include "rules/rules.h"

// 32764 or 4096: what the drivers that this image is for pass to a kernel.
#ifndef FASTLR_ARGUMENT_BYTES
#define FASTLR_ARGUMENT_BYTES 32764
#endif

namespace fastlr {
namespace FASTLR_ARCH {
namespace cuda {

constexpr int32_t kArguments = FASTLR_ARGUMENT_BYTES;
template <class Rule>
using Step = StepArguments<Rule::kStates, kArguments>;
template <class Rule>
using RecipeStep = RecipeArguments<Rule::kStates, kArguments>;
using Norm = NormArguments<kArguments>;
using Evaluate = EvaluateArguments<kArguments >= kLongArguments ? kLongPrograms : kShortPrograms>;

// The values for one tensor: its group's, or its own where it has another count. Those are made once for the block.
template <class Rule>
__device__ inline const StepValues<Rule>& values_for(const StepValues<Rule>& group, int64_t updates,
                                                     StepValues<Rule>& own) {
  if (!Rule::kCounts || group.updates == updates) return group;
  if (threadIdx.x == 0) {
    own.hyper = group.hyper;
    own.recipe = group.recipe;
    complete(own, updates);
  }
  __syncthreads();
  return own;
}

// `update(tensor, chunk, values, first)` does this block's chunk.
template <class Rule, class Arguments, class Update>
__device__ inline void step(const Arguments& arguments, Update update) {
  __shared__ Stacks stacks;
  __shared__ StepValues<Rule> own;
  __shared__ bool last_block;
  StepState* state = arguments.state;
  const int32_t half = state->half;
  if (state->missing[half] != 0) return;
  const int32_t chunk = static_cast<int32_t>(blockIdx.x) - (arguments.last != 0 ? 1 : 0);
  if (chunk < 0) {
    evaluate_groups<Rule>(state, 1 - half, 1, stacks);
  } else {
    const int32_t i = tensor_at(arguments, chunk);
    const int64_t updates = state->updates[arguments.place[i]];
    const auto& values = values_for(values_of<Rule>(state, half)[arguments.group[i]], updates, own);
    update(i, chunk - arguments.first_chunk[i], values, updates == 0);
  }
  if (takes_last_ticket(state, last_block)) advance<Rule>(arguments, state, half);
}

template <class Rule, class T>
__device__ inline void step_of(const Step<Rule>& arguments) {
  step<Rule>(arguments, [&](int32_t i, int32_t chunk, const StepValues<Rule>& values, bool first) {
    update_chunk<Rule, T>(arguments, i, chunk, values, first);
  });
}

template <class Rule>
__device__ inline void step_mixed(const Step<Rule>& arguments) {
  step<Rule>(arguments, [&](int32_t i, int32_t chunk, const StepValues<Rule>& values, bool first) {
    switch (static_cast<DType>(arguments.dtype[i])) {
      case DType::float32:
        return update_chunk<Rule, float>(arguments, i, chunk, values, first);
      case DType::float64:
        return update_chunk<Rule, double>(arguments, i, chunk, values, first);
      case DType::float16:
        return update_chunk<Rule, Half>(arguments, i, chunk, values, first);
      default:
        return update_chunk<Rule, BFloat16>(arguments, i, chunk, values, first);
    }
  });
}

template <class Rule>
__device__ inline void step_with_recipe(const RecipeStep<Rule>& arguments) {
  if (skips(arguments)) return zero_gradients<Rule>(arguments);
  step<Rule>(arguments, [&](int32_t i, int32_t chunk, const StepValues<Rule>& values, bool first) {
    if (static_cast<DType>(arguments.dtype[i]) == DType::float64) {
      update_with_recipe<Rule, double>(arguments, i, chunk, values, first);
    } else {
      update_with_recipe<Rule, float>(arguments, i, chunk, values, first);
    }
  });
}

__device__ inline void evaluate(const Evaluate& arguments) {
  __shared__ SharedStacks<kEvaluateThreads> stacks;
  const int64_t n = static_cast<int64_t>(blockIdx.x) * kEvaluateThreads + threadIdx.x;
  if (n >= arguments.count) return;
  SharedStack<kEvaluateThreads> stack{stacks, static_cast<int32_t>(threadIdx.x)};
  const int64_t t = arguments.steps != nullptr ? arguments.steps[n] : arguments.first + n * arguments.stride;
  const double value =
      t < 0 ? schedule::double_of(schedule::kNaN) : schedule::evaluate(arguments.programs[blockIdx.y], t, stack);
  const int64_t place = blockIdx.y * arguments.row_stride + n;
  if (arguments.single != 0) {
    static_cast<float*>(arguments.out)[place] = static_cast<float>(value);
  } else {
    static_cast<double*>(arguments.out)[place] = value;
  }
}

template <class Rule>
__device__ inline void prepare(const PrepareArguments& arguments) {
  __shared__ Stacks stacks;
  for (int32_t i = 0; i < arguments.writes; ++i) {
    const Write& write = arguments.write[i];
#pragma unroll 1
    for (int32_t word = static_cast<int32_t>(threadIdx.x); word < write.words; word += kThreads) {
      static_cast<uint64_t*>(write.to)[word] = arguments.payload[write.begin + word];
    }
    __syncthreads();  // a later write may be to the same words
  }
  if (arguments.refresh != 0) evaluate_groups<Rule>(arguments.state, arguments.state->half, 0, stacks);
}

}  // namespace cuda
}  // namespace FASTLR_ARCH
}  // namespace fastlr

using namespace fastlr::FASTLR_ARCH;

// The tests' stand-in compiles this file more than once.
#ifndef FASTLR_KERNEL_NAME
#define FASTLR_KERNEL_NAME(name) name
#endif

#define FASTLR_STEP(rule, what, blocks, Arguments, ...)                                                           \
  extern "C" __global__ void __launch_bounds__(256, fastlr::cuda::blocks)                                         \
      FASTLR_KERNEL_NAME(fastlr_##rule##_##what)(const __grid_constant__ cuda::Arguments<rule::Rule> arguments) { \
    cuda::__VA_ARGS__(arguments);                                                                                 \
  }

#define FASTLR_KERNELS_OF(rule)                                                                                       \
  FASTLR_STEP(rule, float32, kBlocksOf<rule::Rule::kStates>, Step, step_of<rule::Rule, float>)                        \
  FASTLR_STEP(rule, bfloat16, kBlocksOf<rule::Rule::kStates>, Step, step_of<rule::Rule, BFloat16>)                    \
  FASTLR_STEP(rule, mixed, kBlocksOf<rule::Rule::kStates>, Step, step_mixed<rule::Rule>)                              \
  FASTLR_STEP(rule, recipe, kRecipeBlocks, RecipeStep, step_with_recipe<rule::Rule>)                                  \
  extern "C" __global__ void __launch_bounds__(256, 1)                                                                \
      FASTLR_KERNEL_NAME(fastlr_##rule##_prepare)(const __grid_constant__ fastlr::cuda::PrepareArguments arguments) { \
    cuda::prepare<rule::Rule>(arguments);                                                                             \
  }

FASTLR_RULES(FASTLR_KERNELS_OF)

extern "C" __global__ void __launch_bounds__(128)
    FASTLR_KERNEL_NAME(fastlr_evaluate)(const __grid_constant__ cuda::Evaluate arguments) {
  cuda::evaluate(arguments);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    FASTLR_KERNEL_NAME(fastlr_norm)(const __grid_constant__ cuda::Norm arguments) {
  cuda::norm(arguments);
}
