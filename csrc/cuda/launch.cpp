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

// From the 16-byte boundary at or before the first element on.
int64_t bytes_of(const Task& task) {
  const auto offset = static_cast<int64_t>(reinterpret_cast<uintptr_t>(task.span.param) % kVectorBytes);
  return task.span.size == 0 ? 0 : offset + task.span.size * element_size(task.dtype);
}

constexpr int64_t pieces(int64_t bytes, int64_t piece) { return (bytes + piece - 1) / piece; }

}  // namespace

int32_t DeviceStep::tiles_in_a_chunk() const {
  int64_t tiles = 0;
  for (const DeviceTask& item : tasks_) tiles += pieces(bytes_of(item.task), kTileBytes);
  const int64_t wanted = tiles / (device_.multiprocessors() * kBlocksEach);
  return static_cast<int32_t>(std::clamp<int64_t>(wanted, 1, kMostTiles));
}

// Tasks [first, last) as the arguments of one launch. Returns the number of chunks.
template <class Arguments>
int32_t DeviceStep::fill(Arguments& arguments, std::size_t first, std::size_t last) const {
  int32_t chunks = 0;
  for (std::size_t i = first; i < last; ++i) {
    const Task& task = tasks_[i].task;
    const std::size_t to = i - first;
    arguments.param[to] = task.span.param;
    arguments.grad[to] = task.span.grad;
    for (int32_t k = 0; k < Arguments::kStates; ++k) arguments.buffer[k][to] = task.span.state[k];
    arguments.size[to] = task.span.size;
    arguments.first_chunk[to] = chunks;
    arguments.place[to] = tasks_[i].place;
    arguments.group[to] = static_cast<uint16_t>(task.group);
    arguments.dtype[to] = static_cast<uint8_t>(task.dtype);
    chunks += static_cast<int32_t>(pieces(bytes_of(task), int64_t{arguments.tiles} * kTileBytes));
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
void DeviceStep::launch_parts(Stream stream) const {
  static thread_local const auto arguments = std::make_unique<Arguments>();
  arguments->state = reinterpret_cast<StepState*>(head_.address());
  arguments->tiles = tiles_in_a_chunk();
  std::size_t first = 0;
  do {
    const std::size_t last = end_of_launch(first, Arguments::kCapacity);
    arguments->last = last == tasks_.size() ? 1 : 0;
    // Tensors without elements have no chunk, but their updates count.
    const int32_t blocks = std::max(fill(*arguments, first, last) + arguments->last, 1);
    const Kernel kernel = Kernel::of(rule_, part_for(first, last));
    device_.launch(kernel, static_cast<unsigned>(blocks), 1, kThreads, stream, arguments.get());
    first = last;
  } while (first < tasks_.size());
}

// That of the tensors' common dtype, if it has one.
Part DeviceStep::part_for(std::size_t first, std::size_t last) const {
  if (first == last) return Part::float32;
  const DType dtype = tasks_[first].task.dtype;
  for (std::size_t i = first; i < last; ++i) {
    if (tasks_[i].task.dtype != dtype) return Part::mixed;
  }
  return dtype == DType::float32 ? Part::float32 : dtype == DType::bfloat16 ? Part::bfloat16 : Part::mixed;
}

template <int32_t states>
void DeviceStep::launch_with(Stream stream) const {
  if constexpr (states < kMaxStates) {
    if (rule_.states.size() > states) return launch_with<states + 1>(stream);
  }
  if (device_.long_arguments()) {
    launch_parts<StepArguments<states, kLongArguments>>(stream);
  } else {
    launch_parts<StepArguments<states, kShortArguments>>(stream);
  }
}

void DeviceStep::launch(Stream stream) const {
  const Current current(device_);
  launch_with<1>(stream);
}

}  // namespace cuda
}  // namespace fastlr
