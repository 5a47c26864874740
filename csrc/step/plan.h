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
  int32_t group;
  DType dtype;
  Span span;
};

class Plan {
 public:
  void clear();
  void add_group(const SgdHyper& hyper) { hypers_.push_back(hyper); }
  // The tensor belongs to the group added last.
  void add(DType dtype, const Span& span);

  int64_t elements() const { return offsets_.back(); }
  const std::vector<Task>& tasks() const { return tasks_; }
  std::vector<Task>& tasks() { return tasks_; }
  const SgdHyper& hyper(const Task& task) const { return hypers_[static_cast<std::size_t>(task.group)]; }

  // The parts of the tasks that hold elements [begin, end) of all tensors laid end to end. Inner cuts are moved down to
  // whole cache lines of their tensor, so that neighbouring parts never share one.
  template <class Visit>
  void visit(int64_t begin, int64_t end, Visit&& visit) const;

 private:
  std::size_t task_at(int64_t element) const;

  std::vector<SgdHyper> hypers_;
  std::vector<Task> tasks_;
  std::vector<int64_t> offsets_{0};  // offsets_[i] = elements in the tasks before task i
};

Span part(const Task& task, int64_t begin, int64_t end);

template <class Visit>
void Plan::visit(int64_t begin, int64_t end, Visit&& visit) const {
  constexpr int64_t kCut = 64;
  for (std::size_t i = task_at(begin); i < tasks_.size() && offsets_[i] < end; ++i) {
    const int64_t size = tasks_[i].span.size;
    const int64_t first = begin <= offsets_[i] ? 0 : (begin - offsets_[i]) / kCut * kCut;
    const int64_t last = end >= offsets_[i + 1] ? size : (end - offsets_[i]) / kCut * kCut;
    if (first < last) visit(tasks_[i], part(tasks_[i], first, last));
  }
}

}  // namespace fastlr
