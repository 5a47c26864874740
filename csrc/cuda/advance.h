// How the state of a step goes on: the values of the next update, and the counts once every block has read them.
#pragma once

#include "cuda/state.h"
#include "rule/power.h"
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

// Where `offset` of HyperBytes lies in a group's values.
template <class Rule>
__device__ inline void* member_at(StepValues<Rule>& values, int64_t offset) {
  constexpr auto kRecipe = static_cast<int64_t>(HyperBytes::kSize);
  return offset < kRecipe ? reinterpret_cast<char*>(&values.hyper) + offset
                          : reinterpret_cast<char*>(&values.recipe) + (offset - kRecipe);
}

// The powers that a rule's scalars ask for, in that order: collected, computed by one copy of the code, and handed out
// for each type of the arithmetic.
struct Powers {
  static constexpr int32_t kMost = 4;

  mutable double value[kMost] = {};  // the base, and then the power
  mutable int64_t exponent[kMost] = {};
  mutable int32_t count = 0;

  __device__ double operator()(double base, int64_t to) const {
    value[count] = base;
    exponent[count++] = to;
    return 0.0;
  }

  // Each turn takes the first and puts it behind the last: an index that varies would put the arrays into local memory.
  __device__ void compute() {
#pragma unroll 1
    for (int32_t turn = 0; turn < count; ++turn) {
      const double done = power(value[0], exponent[0]);
#pragma unroll
      for (int32_t k = 0; k + 1 < kMost; ++k) {
        value[k] = value[k + 1];
        exponent[k] = exponent[k + 1];
      }
#pragma unroll
      for (int32_t k = 0; k < kMost; ++k) value[k] = k == count - 1 ? done : value[k];
    }
  }
};

struct KnownPower {
  const Powers& powers;
  mutable int32_t next = 0;

  __device__ double operator()(double, int64_t) const { return powers.value[next++]; }
};

// What follows from the hyper-parameters, for tensors with that many updates behind them.
template <class Rule>
__device__ inline void complete(StepValues<Rule>& values, int64_t updates) {
  Powers powers;
  if (Rule::kCounts) Rule::template scalars<double>(values.hyper, updates, powers);
  powers.compute();
  values.single = Rule::template scalars<float>(values.hyper, updates, KnownPower{powers});
  values.exact = Rule::template scalars<double>(values.hyper, updates, KnownPower{powers});
  values.updates = updates;
  values.form = Rule::form_index(values.hyper);
  for (int32_t first = 0; first < 2; ++first) values.traffic[first] = Rule::traffic(values.hyper, first != 0);
}

template <class Rule>
__device__ inline StepValues<Rule>* values_of(StepState* state, int32_t half) {
  return static_cast<StepValues<Rule>*>(state->values) + half * state->group_count;
}

// The present values (ahead = 0), or those of the next update, of every group, into a half. By a whole block.
template <class Rule>
__device__ inline void evaluate_groups(StepState* state, int32_t half, int64_t ahead, Stacks& stacks) {
  if (threadIdx.x == 0) state->missing[half] = 0;
  __syncthreads();
  if (threadIdx.x >= kEvaluators) return;
  SharedStack<kEvaluators> stack{stacks, static_cast<int32_t>(threadIdx.x)};
#pragma unroll 1
  for (int32_t g = static_cast<int32_t>(threadIdx.x); g < state->group_count; g += kEvaluators) {
    const GroupState& group = state->groups[g];
    const int64_t t = group.clock + (group.held != 0 ? 0 : ahead);
    StepValues<Rule>& values = values_of<Rule>(state, half)[g];
    memcpy(&values.hyper, group.hyper.bytes, sizeof values.hyper);
    values.recipe = group.hyper.recipe;
    bool missing = false;
#pragma unroll 1  // one copy of the evaluator
    for (int32_t k = 0; k < kMaxScheduled; ++k) {
      const Followed& followed = group.follows[k];
      if (followed.program.code == nullptr) continue;
      const double value = schedule::evaluate(followed.program, t, stack) * followed.scale;
      memcpy(member_at(values, followed.offset), &value, sizeof value);
      missing = missing || value != value;
    }
    complete(values, group.updates + ahead);
    if (missing) atomicAdd(&state->missing[half], 1);
  }
}

// The last tensor whose first chunk is not after this one.
template <class Arguments>
__device__ inline int32_t tensor_at(const Arguments& arguments, int32_t chunk) {
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
template <class Rule, class Arguments>
__device__ inline void advance(const Arguments& arguments, StepState* state, int32_t half) {
  const StepValues<Rule>* values = values_of<Rule>(state, half);
#pragma unroll 1
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < arguments.tensors; i += kThreads) {
    if (Rule::writes(values[arguments.group[i]].traffic[0], 0)) ++state->updates[arguments.place[i]];
  }
  if (arguments.last != 0) {
#pragma unroll 1
    for (int32_t g = static_cast<int32_t>(threadIdx.x); g < state->group_count; g += kThreads) {
      ++state->groups[g].updates;
      ++state->groups[g].count;
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
