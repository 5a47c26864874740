#include "step/plan.h"

#include <algorithm>
#include <cstring>

namespace fastlr {

void Plan::clear() {
  hypers_.clear();
  scalars_.clear();
  scalars_fit_ = false;
  tasks_.clear();
  elements_ = 0;
}

void Plan::add_group(const HyperBytes& hyper) {
  const bool same = !hypers_.empty() && std::memcmp(&hypers_.back(), &hyper, sizeof hyper) == 0;
  hypers_.push_back(hyper);
  scalars_fit_ = scalars_fit_ && same;
}

void Plan::add(DType dtype, const Span& span) {
  const int64_t updates = rule_.counts ? span.updates : 0;
  if (!scalars_fit_ || updates != updates_) {
    scalars_.emplace_back();
    kernels().rules[rule_.number].scalars(hypers_.back(), updates, powers_, scalars_.back());
    scalars_fit_ = true;
    updates_ = updates;
  }
  tasks_.push_back(task(dtype, span));
  elements_ += span.size;
}

std::size_t Plan::task_at(int64_t element) const {
  const auto after = std::upper_bound(tasks_.begin(), tasks_.end(), element,
                                      [](int64_t place, const Task& task) { return place < task.before; });
  return after == tasks_.begin() ? 0 : static_cast<std::size_t>(after - tasks_.begin()) - 1;
}

Span part(const Task& task, int64_t begin, int64_t end) {
  const int64_t bytes = begin * element_size(task.dtype);
  Span span = task.span;
  span.param = static_cast<char*>(span.param) + bytes;
  span.grad = static_cast<const char*>(span.grad) + bytes;
  for (void*& state : span.state) {
    if (state != nullptr) state = static_cast<char*>(state) + bytes;
  }
  span.size = end - begin;
  return span;
}

}  // namespace fastlr
