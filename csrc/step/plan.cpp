#include "step/plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fastlr {

int32_t norm_set(const Recipe& recipe, int32_t group) {
  if (std::isinf(recipe.max_grad_norm)) return kNoNorm;
  return recipe.norm_per_group ? 1 + group : kSharedNorm;
}

bool is_active(const Recipe& recipe) {
  return recipe.ema_decay >= 0.0 || !std::isinf(recipe.max_grad_norm) || !std::isinf(recipe.max_grad_value) ||
         recipe.master_weights || recipe.stochastic_rounding || recipe.zero_grad_in_step;
}

void Plan::clear() {
  hypers_.clear();
  counts_.clear();
  factors_.clear();
  extras_.clear();
  scalars_.clear();
  scalars_fit_ = false;
  tasks_.clear();
  elements_ = 0;
}

void Plan::add_group(const HyperBytes& hyper, int64_t count) {
  const bool same = !hypers_.empty() && std::memcmp(&hypers_.back(), &hyper, sizeof hyper) == 0;
  hypers_.push_back(hyper);
  counts_.push_back(count);
  scalars_fit_ = scalars_fit_ && same;
}

void Plan::add(DType dtype, const Span& span, const Extra* extra) {
  const int64_t updates = rule_.counts ? span.updates : 0;
  if (!scalars_fit_ || updates != updates_) {
    scalars_.emplace_back();
    kernels().rules[rule_.number].scalars(hypers_.back(), updates, powers_, scalars_.back());
    scalars_fit_ = true;
    updates_ = updates;
  }
  tasks_.push_back(task(dtype, span));
  if (extra != nullptr) {
    tasks_.back().extra = static_cast<int32_t>(extras_.size());
    extras_.push_back(*extra);
  }
  elements_ += span.size;
}

std::size_t Plan::task_at(int64_t element) const {
  const auto after = std::upper_bound(tasks_.begin(), tasks_.end(), element,
                                      [](int64_t place, const Task& task) { return place < task.before; });
  return after == tasks_.begin() ? 0 : static_cast<std::size_t>(after - tasks_.begin()) - 1;
}

Span part(const Task& task, const Extra* extra, int64_t begin, int64_t end) {
  const int64_t bytes = begin * element_size(task.dtype);
  Span span = task.span;
  span.param = static_cast<char*>(span.param) + bytes;
  span.grad = static_cast<const char*>(span.grad) + bytes;
  for (int k = 0; k < kMaxStates; ++k) {
    if (span.state[k] == nullptr) continue;
    const int64_t before = extra == nullptr ? bytes : begin * element_size(extra->state_dtype[k]);
    span.state[k] = static_cast<char*>(span.state[k]) + before;
  }
  span.size = end - begin;
  return span;
}

}  // namespace fastlr
