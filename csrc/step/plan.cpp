#include "step/plan.h"

#include <algorithm>

namespace fastlr {

void Plan::clear() {
  hypers_.clear();
  tasks_.clear();
  offsets_.resize(1);
}

void Plan::add(DType dtype, const Span& span) {
  tasks_.push_back({static_cast<int32_t>(hypers_.size()) - 1, dtype, span});
  offsets_.push_back(offsets_.back() + span.size);
}

size_t Plan::task_at(int64_t element) const {
  const auto after = std::upper_bound(offsets_.begin(), offsets_.end(), element);
  return static_cast<size_t>(after - offsets_.begin()) - 1;
}

Span part(const Task& task, int64_t begin, int64_t end) {
  const int64_t bytes = begin * element_size(task.dtype);
  Span span = task.span;
  span.param = static_cast<char*>(span.param) + bytes;
  span.grad = static_cast<const char*>(span.grad) + bytes;
  if (span.state != nullptr) span.state = static_cast<char*>(span.state) + bytes;
  span.size = end - begin;
  return span;
}

}  // namespace fastlr
