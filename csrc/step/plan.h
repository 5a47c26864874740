// What one step has to do: the tensors of each group as plain memory. No arithmetic and no launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
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
  int32_t extra;  // place among the plan's, or -1: nothing but the rule's update
  Span span;
};

// Gradients are clipped by a norm over those of a set: the first is what groups without one of their own share.
constexpr int32_t kNoNorm = -1;
constexpr int32_t kSharedNorm = 0;
int32_t norm_set(const Recipe& recipe, int32_t group);
// Whether the update is more than the rule's own, for any tensor of the group.
bool is_active(const Recipe& recipe);

class Plan {
 public:
  explicit Plan(const RuleInfo& rule) : rule_(rule) {}

  const RuleInfo& rule() const { return rule_; }
  void clear();
  // `count`: updates that the optimizer has done.
  void add_group(const HyperBytes& hyper, int64_t count);
  // The tensor belongs to the group added last. `extra`: null where the update is the rule's own.
  void add(DType dtype, const Span& span, const Extra* extra);
  Task task(DType dtype, const Span& span) const {
    return {elements_, static_cast<int32_t>(hypers_.size()) - 1, static_cast<int32_t>(scalars_.size()) - 1, dtype, -1,
            span};
  }
  // What the gradients of each group are multiplied by.
  void set_factors(std::vector<double> factors) { factors_ = std::move(factors); }

  int64_t elements() const { return elements_; }
  const std::vector<Task>& tasks() const { return tasks_; }
  const HyperBytes& hyper(const Task& task) const { return hypers_[static_cast<std::size_t>(task.group)]; }
  const ScalarsBytes& scalars(const Task& task) const { return scalars_[static_cast<std::size_t>(task.scalars)]; }
  std::size_t groups() const { return hypers_.size(); }
  int32_t norm_set(int32_t group) const {
    return fastlr::norm_set(hypers_[static_cast<std::size_t>(group)].recipe, group);
  }
  bool recipes() const { return !extras_.empty(); }
  const Extra* extra(const Task& task) const {
    return task.extra < 0 ? nullptr : &extras_[static_cast<std::size_t>(task.extra)];
  }
  int64_t count(const Task& task) const { return counts_[static_cast<std::size_t>(task.group)]; }
  double factor(const Task& task) const {
    return factors_.empty() ? 1.0 : factors_[static_cast<std::size_t>(task.group)];
  }

  // The parts of the tasks that hold elements [begin, end) of all tensors laid end to end, each with the place of its
  // first element in its tensor. Inner cuts are moved down to whole cache lines of their tensor, so that neighbouring
  // parts never share one.
  template <class Visit>
  void visit(int64_t begin, int64_t end, Visit&& visit) const;

 private:
  std::size_t task_at(int64_t element) const;

  const RuleInfo& rule_;
  std::vector<HyperBytes> hypers_;
  std::vector<int64_t> counts_;
  std::vector<double> factors_;  // empty: all 1
  std::vector<Extra> extras_;
  std::vector<ScalarsBytes> scalars_;  // of a group and a number of updates, which most of its tensors share
  bool scalars_fit_ = false;           // the last ones are for what the present group has
  int64_t updates_ = 0;                // that the last ones are for
  PowerMemo powers_{};
  std::vector<Task> tasks_;
  int64_t elements_ = 0;
};

Span part(const Task& task, const Extra* extra, int64_t begin, int64_t end);

template <class Visit>
void Plan::visit(int64_t begin, int64_t end, Visit&& visit) const {
  constexpr int64_t kCut = 64;
  for (std::size_t i = task_at(begin); i < tasks_.size() && tasks_[i].before < end; ++i) {
    const Task& task = tasks_[i];
    const int64_t first = begin <= task.before ? 0 : (begin - task.before) / kCut * kCut;
    const int64_t last = end >= task.before + task.span.size ? task.span.size : (end - task.before) / kCut * kCut;
    if (first < last) visit(task, part(task, extra(task), first, last), first);
  }
}

}  // namespace fastlr
