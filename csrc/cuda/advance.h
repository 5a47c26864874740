// How the state of a step goes on: the values of the next update, and the counts once every block has read them.
#pragma once

#include "cuda/state.h"
#include "rules/sgd.h"
#include "schedule/evaluate.h"

namespace fastlr {
namespace FASTLR_ARCH {
namespace cuda {

using namespace ::fastlr::cuda;

// The evaluator's stacks side by side in shared memory, a column for each thread.
template <int32_t threads>
struct SharedStacks {
  double values[schedule::kValueDepth][threads];
  int64_t times[schedule::kTimeDepth][threads];
};

template <int32_t threads>
struct SharedStack {
  SharedStacks<threads>& all;
  int32_t thread;

  __device__ double& value(int32_t at) { return all.values[at][thread]; }
  __device__ int64_t& time(int32_t at) { return all.times[at][thread]; }
};

using Stacks = SharedStacks<kEvaluators>;

// The present values (ahead = 0), or those of the next update, of every group, into a half. By a whole block.
__device__ inline void evaluate_groups(StepState* state, int32_t half, int64_t ahead, Stacks& stacks) {
  if (threadIdx.x == 0) state->missing[half] = 0;
  __syncthreads();
  if (threadIdx.x >= kEvaluators) return;
  SharedStack<kEvaluators> stack{stacks, static_cast<int32_t>(threadIdx.x)};
  for (int32_t g = static_cast<int32_t>(threadIdx.x); g < state->group_count; g += kEvaluators) {
    const GroupState& group = state->groups[g];
    const int64_t t = group.clock + (group.held != 0 ? 0 : ahead);
    StepValues& values = state->values[half * state->group_count + g];
    SgdHyper& hyper = values.hyper;
    hyper = group.hyper;
#pragma unroll 1  // one copy of the evaluator
    for (int32_t k = 0; k < kScheduled; ++k) {
      if (group.follows[k].code == nullptr) continue;
      const double value = schedule::evaluate(group.follows[k], t, stack);
      if (k == kRate) hyper.lr = value * group.lr_scale;
      if (k == kMomentum) hyper.momentum = value;
      if (k == kWeightDecay) hyper.weight_decay = value;
    }
    values.scalars = sgd::scalars<float>(hyper);
    values.decay = hyper.weight_decay != 0.0 ? 1 : 0;
    const bool complete =
        hyper.lr == hyper.lr && hyper.momentum == hyper.momentum && hyper.weight_decay == hyper.weight_decay;
    if (!complete) atomicAdd(&state->missing[half], 1);
  }
}

// Whether this block is the last of the launch to come here. By then every block has read what the state held.
__device__ inline bool takes_last_ticket(StepState* state, bool& shared) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    shared = atomicAdd(&state->ticket, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  return shared;
}

// By the last block: counts, and after the step's last launch the other half becomes the present one.
template <class Arguments>
__device__ inline void advance(const Arguments& arguments, StepState* state, int32_t half) {
  const StepValues* values = state->values + half * state->group_count;
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < arguments.tensors; i += kThreads) {
    if (values[arguments.group[i]].hyper.momentum != 0.0) ++state->updates[arguments.place[i]];
  }
  if (arguments.last != 0) {
    for (int32_t g = static_cast<int32_t>(threadIdx.x); g < state->group_count; g += kThreads) {
      if (state->groups[g].held == 0) ++state->groups[g].clock;
    }
  }
  if (threadIdx.x != 0) return;
  state->ticket = 0;
  if (arguments.last == 0) return;
  ++state->count;
  state->half = 1 - half;
}

}  // namespace cuda
}  // namespace FASTLR_ARCH
}  // namespace fastlr
