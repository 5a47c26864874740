#include "step/plan.h"

#include <algorithm>

namespace fastlr {

void Plan::clear() {
  hypers_.clear();
  tasks_.clear();
  elements_ = 0;
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
  if (span.state != nullptr) span.state = static_cast<char*>(span.state) + bytes;
  span.size = end - begin;
  return span;
}

}  // namespace fastlr
