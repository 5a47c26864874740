// What the host and the kernels share: the state of an optimizer on its device, and the kernels' arguments. Plain data.
#pragma once

#include <cstdint>

#include "dtype.h"
#include "rule/bytes.h"
#include "schedule/instruction.h"

namespace fastlr {
namespace cuda {

// What one update of a group's tensors takes, evaluated before it.
template <class Rule>
struct StepValues {
  typename Rule::Hyper hyper;
  typename Rule::template Scalars<float> single;
  typename Rule::template Scalars<double> exact;
  Recipe recipe;
  int64_t updates;     // that a tensor has behind it, for which the scalars are
  int32_t form;        // Rule::form_index()
  int32_t traffic[2];  // Rule::traffic(), later and at a tensor's first update
};

// A hyper-parameter that may follow a schedule.
struct Followed {
  schedule::ProgramView program;  // without code: the constant is used
  double scale;                   // of the schedule
  int64_t offset;                 // in HyperBytes
};

// One parameter group, as the host described it last. The device changes the last three, which no write of the host's
// to the others touches.
struct GroupState {
  Followed follows[kMaxScheduled];
  HyperBytes hyper;  // constants
  int64_t held;      // not 0: the clock stands
  int64_t clock;     // updates that count for the schedules: the step that the next update evaluates them at
  int64_t updates;   // of most of its tensors
  int64_t count;     // updates that the optimizer has done
};

// What the norm of the gradients makes of a group: its norm after unscaling, NaN without one, and what each gradient is
// multiplied by.
struct Clip {
  double norm;
  double factor;
};
constexpr double kNeverMeasured = -1.0;  // as a norm

// The head of the state. Everything else is reached through it, so that a captured graph needs this address alone.
struct StepState {
  GroupState* groups;
  void* values;      // StepValues<Rule> [2, group_count]: the half that the present update reads, and the next one's
  int64_t* updates;  // for each parameter, those that wrote its state
  Clip* clips;       // of each group, by the norm kernel
  int64_t count;     // updates done
  int32_t group_count;
  int32_t half;        // the present one
  int32_t missing[2];  // hyper-parameters in each half without a value, which stop every update
  uint32_t ticket;     // blocks of the present launch that have read what they need
  int32_t nonfinite;   // not 0: a norm is not finite, and the update is skipped
};

constexpr int32_t kThreads = 256;
constexpr int32_t kVectorBytes = 16;
// Vectors of each array that a thread has in flight: one where there are more arrays, which are as many bytes.
constexpr int32_t kVectors = 2;
template <int32_t states>
constexpr int32_t kVectorsOf = states > 1 ? 1 : kVectors;
// Blocks of a step on a multiprocessor that have more than enough bytes in flight; with more of them registers would be
// spilled.
template <int32_t states>
constexpr int32_t kBlocksOf = states > 1 ? 2 : 3;
constexpr int32_t kRecipeBlocks = 2;
// What a block updates at a time, in bytes of each array.
constexpr int32_t kTileBytes = kThreads * kVectors * kVectorBytes;
// Threads of a block that evaluate schedules, each for one group; their stacks lie in shared memory.
constexpr int32_t kEvaluators = 64;

// The most that a launch takes: long on drivers of CUDA 12.1 or later, short before.
constexpr int32_t kLongArguments = 32764;
constexpr int32_t kShortArguments = 4096;

// As many tensors as fit, in whole multiples of 8, so that no array of the struct needs padding.
constexpr int32_t step_tensors(int32_t bytes, int32_t states) { return (bytes - 24) / (8 * (3 + states) + 11) / 8 * 8; }

// Tensors in one launch. Chunk c of tensor i is block first_chunk[i] + c; its elements are counted from the 16-byte
// boundary at or before the tensor's first element.
template <int32_t states, int32_t bytes>
struct StepArguments {
  static constexpr int32_t kStates = states;
  static constexpr int32_t kCapacity = step_tensors(bytes, states);

  StepState* state;
  int32_t tensors;
  int32_t tiles;  // in a chunk
  int32_t last;   // not 0: of the step's launches; its block 0 evaluates the next update's values
  int32_t unused;
  void* param[kCapacity];
  const void* grad[kCapacity];
  void* buffer[states][kCapacity];  // of the state; null where an update needs none
  int64_t size[kCapacity];
  int32_t first_chunk[kCapacity];
  int32_t place[kCapacity];  // in StepState::updates
  uint16_t group[kCapacity];
  uint8_t dtype[kCapacity];
};

constexpr int32_t kMaxGroups = 1 << 16;
static_assert(sizeof(StepArguments<kMaxStates, kLongArguments>) <= kLongArguments, "more than a launch takes");
static_assert(sizeof(StepArguments<1, kShortArguments>) <= kShortArguments, "more than a launch takes");

// Elements from one multiple of which to the next the arrays of a tensor are aligned alike or not at all.
constexpr int32_t kRecipeVector = 4;
constexpr int32_t kRecipeTile = kThreads * kRecipeVector * kVectors;
constexpr int32_t recipe_tensors(int32_t bytes, int32_t states) {
  return (bytes - 40) / (8 * (7 + states) + 11 + states) / 8 * 8;
}

// As StepArguments, for updates with a recipe, in any mix of types. Chunk c of tensor i holds the elements
// [c * tiles * kRecipeTile, (c + 1) * tiles * kRecipeTile), counted from the multiple of kRecipeVector elements in
// memory at or before its weights' first one.
template <int32_t states, int32_t bytes>
struct RecipeArguments {
  static constexpr int32_t kStates = states;
  static constexpr int32_t kCapacity = recipe_tensors(bytes, states);

  StepState* state;
  const float* grad_scale;  // null: 1
  const float* found_inf;   // null: 0
  int32_t tensors;
  int32_t tiles;    // in a chunk
  int32_t last;     // not 0: of the step's launches; its block 0 evaluates the next update's values
  int32_t clipped;  // not 0: StepState::clips are those of this step's gradients
  void* param[kCapacity];
  void* grad[kCapacity];
  void* buffer[states][kCapacity];  // of the state; null where an update needs none
  void* master[kCapacity];          // or null
  void* average[kCapacity];         // or null
  int64_t size[kCapacity];
  int64_t rows[kCapacity];  // as in Extra
  int64_t columns[kCapacity];
  int32_t first_chunk[kCapacity];
  int32_t place[kCapacity];
  uint16_t group[kCapacity];
  uint8_t dtype[kCapacity];
  uint8_t state_dtype[states][kCapacity];
};
static_assert(sizeof(RecipeArguments<kMaxStates, kLongArguments>) <= kLongArguments, "more than a launch takes");
static_assert(sizeof(RecipeArguments<kMaxStates, kShortArguments>) <= kShortArguments, "more than a launch takes");

// Chunks of a group's gradients among those of a step.
struct ChunkRange {
  int32_t begin;
  int32_t end;
};

constexpr int32_t norm_tensors(int32_t bytes) { return (bytes - 64) / 23 / 8 * 8; }

// Gradients whose squares are added up, a chunk of kNormChunk elements in each block. The block of the last launch that
// ends last makes norms of the sums.
template <int32_t bytes>
struct NormArguments {
  static constexpr int32_t kCapacity = norm_tensors(bytes);

  StepState* state;
  double* sums;        // of the chunks of all launches
  int32_t* groups;     // that they belong to
  ChunkRange* ranges;  // of each group
  const float* grad_scale;
  const float* found_inf;
  int32_t tensors;
  int32_t before;  // chunks of the launches before
  int32_t chunks;  // of this launch
  int32_t last;    // not 0: of the step's launches
  const void* grad[kCapacity];
  int64_t size[kCapacity];
  int32_t first_chunk[kCapacity];
  uint16_t group[kCapacity];
  uint8_t dtype[kCapacity];
};
static_assert(sizeof(NormArguments<kLongArguments>) <= kLongArguments, "more than a launch takes");
static_assert(sizeof(NormArguments<kShortArguments>) <= kShortArguments, "more than a launch takes");

// Writes of the host's to the state, in the order of the stream.
struct Write {
  void* to;
  int32_t begin;  // in the payload, in words of 8 bytes
  int32_t words;
};

struct PrepareArguments {
  static constexpr int32_t kWrites = 96;
  static constexpr int32_t kWords = 312;

  StepState* state;
  int32_t writes;
  int32_t refresh;  // not 0: evaluate the present values of every group afterwards
  Write write[kWrites];
  uint64_t payload[kWords];
};
static_assert(sizeof(PrepareArguments) <= kShortArguments, "more than a launch takes");

constexpr int32_t kEvaluateThreads = 128;

// out[k, n] = programs[k](steps[n]), or of first + n * stride where steps is null. NaN where there is no value.
template <int32_t capacity>
struct EvaluateArguments {
  static constexpr int32_t kCapacity = capacity;

  void* out;
  int64_t row_stride;  // in elements
  const int64_t* steps;
  int64_t first;
  int64_t stride;
  int64_t count;
  int64_t single;  // not 0: float32 instead of float64
  schedule::ProgramView programs[capacity];
};

constexpr int32_t kLongPrograms = 816;
constexpr int32_t kShortPrograms = 100;
static_assert(sizeof(EvaluateArguments<kLongPrograms>) <= kLongArguments, "more than a launch takes");
static_assert(sizeof(EvaluateArguments<kShortPrograms>) <= kShortArguments, "more than a launch takes");

}  // namespace cuda
}  // namespace fastlr
