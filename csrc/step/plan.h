// What one step has to do: the tensors of each group as plain memory. No arithmetic and no launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "dtype.h"
#include "rules/hyper.h"

namespace fastlr {

struct Task {
  int64_t before;  // elements in the tasks before this one
  int32_t group;
  DType dtype;
  Span span;
};

class Plan {
 public:
  void clear();
  void add_group(const SgdHyper& hyper) { hypers_.push_back(hyper); }
  // The tensor belongs to the group added last.
  void add(DType dtype, const Span& span) {
    tasks_.push_back(task(dtype, span));
    elements_ += span.size;
  }
  Task task(DType dtype, const Span& span) const {
    return {elements_, static_cast<int32_t>(hypers_.size()) - 1, dtype, span};
  }

  int64_t elements() const { return elements_; }
  const std::vector<Task>& tasks() const { return tasks_; }
  const SgdHyper& hyper(const Task& task) const { return hypers_[static_cast<std::size_t>(task.group)]; }

  // The parts of the tasks that hold elements [begin, end) of all tensors laid end to end. Inner cuts are moved down to
  // whole cache lines of their tensor, so that neighbouring parts never share one.
  template <class Visit>
  void visit(int64_t begin, int64_t end, Visit&& visit) const;

 private:
  std::size_t task_at(int64_t element) const;

  std::vector<SgdHyper> hypers_;
  std::vector<Task> tasks_;
  int64_t elements_ = 0;
};

Span part(const Task& task, int64_t begin, int64_t end);

template <class Visit>
void Plan::visit(int64_t begin, int64_t end, Visit&& visit) const {
  constexpr int64_t kCut = 64;
  for (std::size_t i = task_at(begin); i < tasks_.size() && tasks_[i].before < end; ++i) {
    const Task& task = tasks_[i];
    const int64_t first = begin <= task.before ? 0 : (begin - task.before) / kCut * kCut;
    const int64_t last = end >= task.before + task.span.size ? task.span.size : (end - task.before) / kCut * kCut;
    if (first < last) visit(task, part(task, first, last));
  }
}

}  // namespace fastlr
