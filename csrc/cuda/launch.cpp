// From a step's tensors to the arguments of its launches.
#include <algorithm>
#include <memory>

#include "cuda/step.h"

namespace fastlr {
namespace cuda {
namespace {

// Blocks that a multiprocessor gets of a large step: enough to even out their ends, few enough that looking up their
// tensors costs nothing.
constexpr int64_t kBlocksEach = 24;
constexpr int64_t kMostTiles = 16;

constexpr int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }

// Chunks of so many tiles, from the 16-byte boundary at or before the first element on.
template <int32_t states, int32_t bytes>
int64_t chunks_of(const StepArguments<states, bytes>*, const Task& task, const Extra&, int64_t tiles) {
  const auto offset = static_cast<int64_t>(reinterpret_cast<uintptr_t>(task.span.param) % kVectorBytes);
  const int64_t whole = task.span.size == 0 ? 0 : offset + task.span.size * element_size(task.dtype);
  return pieces(whole, tiles * kTileBytes);
}

template <int32_t states, int32_t bytes>
int64_t chunks_of(const RecipeArguments<states, bytes>*, const Task& task, const Extra& extra, int64_t tiles) {
  const auto weights = reinterpret_cast<uintptr_t>(extra.master != nullptr ? extra.master : task.span.param);
  const int size = extra.master != nullptr ? element_size(DType::float32) : element_size(task.dtype);
  const auto offset = static_cast<int64_t>(weights / static_cast<uintptr_t>(size) % kRecipeVector);
  return pieces(task.span.size == 0 ? 0 : offset + task.span.size, tiles * kRecipeTile);
}

template <int32_t states, int32_t bytes>
void add_extra(StepArguments<states, bytes>&, std::size_t, const Extra&) {}

template <int32_t states, int32_t bytes>
void add_extra(RecipeArguments<states, bytes>& arguments, std::size_t to, const Extra& extra) {
  arguments.master[to] = extra.master;
  arguments.average[to] = extra.average;
  arguments.rows[to] = extra.rows;
  arguments.columns[to] = extra.columns;
  for (int32_t k = 0; k < states; ++k) arguments.state_dtype[k][to] = static_cast<uint8_t>(extra.state_dtype[k]);
}

}  // namespace

template <class Arguments>
int32_t DeviceStep::tiles_in_a_chunk() const {
  const Arguments* kind = nullptr;
  int64_t tiles = 0;
  for (const DeviceTask& item : tasks_) tiles += chunks_of(kind, item.task, item.extra, 1);
  const int64_t wanted = tiles / (device_.multiprocessors() * kBlocksEach);
  return static_cast<int32_t>(std::clamp<int64_t>(wanted, 1, kMostTiles));
}

// Tasks [first, last) as the arguments of one launch. Returns the number of chunks.
template <class Arguments>
int32_t DeviceStep::fill(Arguments& arguments, std::size_t first, std::size_t last) const {
  int32_t chunks = 0;
  for (std::size_t i = first; i < last; ++i) {
    const auto& [task, extra, place, repeated, made] = tasks_[i];
    const std::size_t to = i - first;
    arguments.param[to] = task.span.param;
    arguments.grad[to] = const_cast<void*>(task.span.grad);
    for (int32_t k = 0; k < Arguments::kStates; ++k) arguments.buffer[k][to] = task.span.state[k];
    arguments.size[to] = task.span.size;
    arguments.first_chunk[to] = chunks;
    arguments.place[to] = place;
    arguments.group[to] = static_cast<uint16_t>(task.group);
    arguments.dtype[to] = static_cast<uint8_t>(task.dtype);
    add_extra(arguments, to, extra);
    chunks += static_cast<int32_t>(chunks_of(&arguments, task, extra, arguments.tiles));
  }
  arguments.tensors = static_cast<int32_t>(last - first);
  return chunks;
}

std::size_t DeviceStep::end_of_launch(std::size_t first, std::size_t capacity) const {
  const std::size_t end = std::min(first + capacity, tasks_.size());
  std::size_t last = std::min(first + 1, end);
  while (last < end && !tasks_[last].repeated) ++last;
  return last;
}

template <class Arguments>
void DeviceStep::launch_parts(Stream stream, Arguments* arguments) const {
  arguments->state = reinterpret_cast<StepState*>(head_.address());
  arguments->tiles = tiles_in_a_chunk<Arguments>();
  std::size_t first = 0;
  do {
    const std::size_t last = end_of_launch(first, Arguments::kCapacity);
    arguments->last = last == tasks_.size() ? 1 : 0;
    // Tensors without elements have no chunk, but their updates count.
    const int32_t blocks = std::max(fill(*arguments, first, last) + arguments->last, 1);
    const Kernel kernel = Kernel::of(rule_, part_for(first, last));
    device_.launch(kernel, static_cast<unsigned>(blocks), 1, kThreads, stream, arguments);
    first = last;
  } while (first < tasks_.size());
}

// That of the tensors' common dtype, if it has one.
Part DeviceStep::part_for(std::size_t first, std::size_t last) const {
  if (has_recipe()) return Part::recipe;
  if (first == last) return Part::float32;
  const DType dtype = tasks_[first].task.dtype;
  for (std::size_t i = first; i < last; ++i) {
    if (tasks_[i].task.dtype != dtype) return Part::mixed;
  }
  return dtype == DType::float32 ? Part::float32 : dtype == DType::bfloat16 ? Part::bfloat16 : Part::mixed;
}

template <int32_t states, int32_t bytes>
void DeviceStep::launch_as(Stream stream) const {
  if (!has_recipe()) {
    static thread_local const auto arguments = std::make_unique<StepArguments<states, bytes>>();
    return launch_parts(stream, arguments.get());
  }
  static thread_local const auto arguments = std::make_unique<RecipeArguments<states, bytes>>();
  arguments->grad_scale = grad_scale_;
  arguments->found_inf = found_inf_;
  arguments->clipped = clipped_ ? 1 : 0;
  launch_parts(stream, arguments.get());
}

template <int32_t states>
void DeviceStep::launch_with(Stream stream) const {
  if constexpr (states < kMaxStates) {
    if (rule_.states.size() > states) return launch_with<states + 1>(stream);
  }
  if (device_.long_arguments()) {
    launch_as<states, kLongArguments>(stream);
  } else {
    launch_as<states, kShortArguments>(stream);
  }
}

void DeviceStep::launch(Stream stream) const {
  const Current current(device_);
  launch_with<1>(stream);
}

}  // namespace cuda
}  // namespace fastlr
