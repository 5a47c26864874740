// The kernels: index to rule. For NVRTC and nvcc, and for the host compiler with the tests' stand-in for CUDA.
#define FASTLR_ARCH device

#include "cuda/advance.h"
#include "cuda/update.h"

// 32764 or 4096: what the drivers that this image is for pass to a kernel.
#ifndef FASTLR_ARGUMENT_BYTES
#define FASTLR_ARGUMENT_BYTES 32764
#endif

namespace fastlr {
namespace FASTLR_ARCH {
namespace cuda {

constexpr bool kLong = FASTLR_ARGUMENT_BYTES >= kLongArguments;
using Step = StepArguments<kLong ? kLongTensors : kShortTensors>;
using Evaluate = EvaluateArguments<kLong ? kLongPrograms : kShortPrograms>;

// The last tensor whose first chunk is not after this one.
__device__ inline int32_t tensor_at(const Step& arguments, int32_t chunk) {
  int32_t found = 0, end = arguments.tensors;
  while (end - found > 1) {
    const int32_t middle = (found + end) / 2;
    if (arguments.first_chunk[middle] <= chunk) {
      found = middle;
    } else {
      end = middle;
    }
  }
  return found;
}

// `update(tensor, chunk, values, first)` does this block's chunk.
template <class Update>
__device__ inline void step(const Step& arguments, Update update) {
  __shared__ Stacks stacks;
  __shared__ bool last_block;
  StepState* state = arguments.state;
  const int32_t half = state->half;
  if (state->missing[half] != 0) return;
  const int32_t chunk = static_cast<int32_t>(blockIdx.x) - (arguments.last != 0 ? 1 : 0);
  if (chunk < 0) {
    evaluate_groups(state, 1 - half, 1, stacks);
  } else {
    const int32_t i = tensor_at(arguments, chunk);
    const StepValues& values = state->values[half * state->group_count + arguments.group[i]];
    update(i, chunk - arguments.first_chunk[i], values, state->updates[arguments.place[i]] == 0);
  }
  if (takes_last_ticket(state, last_block)) advance(arguments, state, half);
}

template <class T>
__device__ inline void step_of(const Step& arguments) {
  step(arguments, [&](int32_t i, int32_t chunk, const StepValues& values, bool first) {
    update_chunk<T>(arguments, i, chunk, values, first);
  });
}

__device__ inline void step_mixed(const Step& arguments) {
  step(arguments, [&](int32_t i, int32_t chunk, const StepValues& values, bool first) {
    switch (static_cast<DType>(arguments.dtype[i])) {
      case DType::float32:
        return update_chunk<float>(arguments, i, chunk, values, first);
      case DType::float64:
        return update_chunk<double>(arguments, i, chunk, values, first);
      case DType::float16:
        return update_chunk<Half>(arguments, i, chunk, values, first);
      default:
        return update_chunk<BFloat16>(arguments, i, chunk, values, first);
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

__device__ inline void prepare(const PrepareArguments& arguments) {
  __shared__ Stacks stacks;
  for (int32_t i = 0; i < arguments.writes; ++i) {
    const Write& write = arguments.write[i];
    for (int32_t word = static_cast<int32_t>(threadIdx.x); word < write.words; word += kThreads) {
      static_cast<uint64_t*>(write.to)[word] = arguments.payload[write.begin + word];
    }
    __syncthreads();  // a later write may be to the same words
  }
  if (arguments.refresh != 0) evaluate_groups(arguments.state, arguments.state->half, 0, stacks);
}

}  // namespace cuda
}  // namespace FASTLR_ARCH
}  // namespace fastlr

using namespace fastlr::FASTLR_ARCH;

// Three blocks of a step on a multiprocessor have more than enough bytes in flight; more would spill registers.
#define FASTLR_STEP(name) \
  extern "C" __global__ void __launch_bounds__(256, 3) name(const __grid_constant__ cuda::Step arguments)

FASTLR_STEP(fastlr_sgd_float32) { cuda::step_of<float>(arguments); }
FASTLR_STEP(fastlr_sgd_float64) { cuda::step_of<double>(arguments); }
FASTLR_STEP(fastlr_sgd_float16) { cuda::step_of<Half>(arguments); }
FASTLR_STEP(fastlr_sgd_bfloat16) { cuda::step_of<BFloat16>(arguments); }
FASTLR_STEP(fastlr_sgd_mixed) { cuda::step_mixed(arguments); }

extern "C" __global__ void __launch_bounds__(256, 1)
    fastlr_prepare(const __grid_constant__ fastlr::cuda::PrepareArguments arguments) {
  cuda::prepare(arguments);
}

extern "C" __global__ void __launch_bounds__(128) fastlr_evaluate(const __grid_constant__ cuda::Evaluate arguments) {
  cuda::evaluate(arguments);
}
