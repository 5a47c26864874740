// What one step has to do: the tensors of each group as plain memory. No arithmetic and no launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/kernels.h"
#include "dtype.h"
#include "rule/info.h"
#include "rule/power_memo.h"

namespace fastlr {

struct Task {
  int64_t before;  // elements in the tasks before this one
  int32_t group;
  int32_t scalars;  // place among the plan's
  DType dtype;
  Span span;
};

class Plan {
 public:
  explicit Plan(const RuleInfo& rule) : rule_(rule) {}

  const RuleInfo& rule() const { return rule_; }
  void clear();
  void add_group(const HyperBytes& hyper);
  // The tensor belongs to the group added last.
  void add(DType dtype, const Span& span);
  Task task(DType dtype, const Span& span) const {
    return {elements_, static_cast<int32_t>(hypers_.size()) - 1, static_cast<int32_t>(scalars_.size()) - 1, dtype,
            span};
  }

  int64_t elements() const { return elements_; }
  const std::vector<Task>& tasks() const { return tasks_; }
  const HyperBytes& hyper(const Task& task) const { return hypers_[static_cast<std::size_t>(task.group)]; }
  const ScalarsBytes& scalars(const Task& task) const { return scalars_[static_cast<std::size_t>(task.scalars)]; }

  // The parts of the tasks that hold elements [begin, end) of all tensors laid end to end. Inner cuts are moved down to
  // whole cache lines of their tensor, so that neighbouring parts never share one.
  template <class Visit>
  void visit(int64_t begin, int64_t end, Visit&& visit) const;

 private:
  std::size_t task_at(int64_t element) const;

  const RuleInfo& rule_;
  std::vector<HyperBytes> hypers_;
  std::vector<ScalarsBytes> scalars_;  // of a group and a number of updates, which most of its tensors share
  bool scalars_fit_ = false;           // the last ones are for what the present group has
  int64_t updates_ = 0;                // that the last ones are for
  PowerMemo powers_{};
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
