// From a step's gradients to the launches that measure them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "cuda/step.h"
#include "norm/order.h"

namespace fastlr {
namespace cuda {

bool DeviceStep::clips(int32_t group) const {
  return norm_set(told_[static_cast<std::size_t>(group)].hyper.recipe, group) != kNoNorm;
}

// Kept for graphs that were recorded with it, where larger is needed.
void DeviceStep::make_room(std::size_t chunks) {
  const std::size_t groups = told_.size();
  if (chunks <= chunk_room_ && groups <= group_room_) return;
  chunk_room_ = std::max(chunks, 2 * chunk_room_) + chunks % 2;
  group_room_ = std::max(groups, group_room_);
  const std::size_t sums = chunk_room_ * sizeof(double), members = chunk_room_ * sizeof(int32_t);
  Memory larger(device_, sums + members + group_room_ * sizeof(ChunkRange));
  if (norms_.address() != 0) retired_.push_back(std::move(norms_));
  norms_ = std::move(larger);
}

bool DeviceStep::launch_norms(Stream stream) {
  for (std::size_t g = 0; g < told_.size(); ++g) clipped_ = clipped_ || clips(static_cast<int32_t>(g));
  clipped_ = clipped_ && !tasks_.empty();
  if (!clipped_) return false;
  std::size_t chunks = 0;
  measured_.clear();
  for (const DeviceTask& item : tasks_) {
    if (!clips(item.task.group)) continue;
    measured_.push_back(&item.task);
    chunks += static_cast<std::size_t>(base::norm_chunks(item.task.span.size));
  }
  make_room(chunks);
  const Current current(device_);
  if (device_.long_arguments()) {
    launch_norm_parts<NormArguments<kLongArguments>>(stream);
  } else {
    launch_norm_parts<NormArguments<kShortArguments>>(stream);
  }
  return true;
}

template <class Arguments>
void DeviceStep::launch_norm_parts(Stream stream) const {
  static thread_local const auto arguments = std::make_unique<Arguments>();
  const Address groups = norms_.address() + chunk_room_ * sizeof(double);
  arguments->state = reinterpret_cast<StepState*>(head_.address());
  arguments->sums = reinterpret_cast<double*>(norms_.address());
  arguments->groups = reinterpret_cast<int32_t*>(groups);
  arguments->ranges = reinterpret_cast<ChunkRange*>(groups + chunk_room_ * sizeof(int32_t));
  arguments->grad_scale = grad_scale_;
  arguments->found_inf = found_inf_;
  arguments->before = 0;
  std::size_t first = 0;
  do {
    const std::size_t last = std::min(first + Arguments::kCapacity, measured_.size());
    arguments->chunks = 0;
    for (std::size_t i = first; i < last; ++i) {
      const Task& task = *measured_[i];
      const std::size_t to = i - first;
      arguments->grad[to] = task.span.grad;
      arguments->size[to] = task.span.size;
      arguments->first_chunk[to] = arguments->chunks;
      arguments->group[to] = static_cast<uint16_t>(task.group);
      arguments->dtype[to] = static_cast<uint8_t>(task.dtype);
      arguments->chunks += static_cast<int32_t>(base::norm_chunks(task.span.size));
    }
    arguments->tensors = static_cast<int32_t>(last - first);
    arguments->last = last == measured_.size() ? 1 : 0;
    // Without elements there is no chunk, but a norm.
    const int32_t blocks = std::max(arguments->chunks, 1);
    device_.launch(Kernel::norm(), static_cast<unsigned>(blocks), 1, kThreads, stream, arguments.get());
    arguments->before += arguments->chunks;
    first = last;
  } while (first < measured_.size());
}

bool DeviceStep::norms_finite() const {
  if (!clipped_) return true;
  StepState head;
  device_.wait();
  device_.download(&head, head_.address(), sizeof head);
  return head.nonfinite == 0;
}

std::vector<double> DeviceStep::norms() const {
  StepState head;
  std::vector<Clip> clips(told_.size());
  device_.wait();
  device_.download(&head, head_.address(), sizeof head);
  device_.download(clips.data(), reinterpret_cast<Address>(head.clips), clips.size() * sizeof(Clip));
  std::vector<double> norms(told_.size() + 1, std::numeric_limits<double>::quiet_NaN());
  if (clips.front().norm == kNeverMeasured) return {};
  for (std::size_t g = 0; g < told_.size(); ++g) {
    // The limit may have been taken away since.
    const std::size_t set = told_[g].hyper.recipe.norm_per_group ? 1 + g : std::size_t{kSharedNorm};
    if (!std::isnan(clips[g].norm)) norms[set] = clips[g].norm;
  }
  return norms;
}

}  // namespace cuda
}  // namespace fastlr
