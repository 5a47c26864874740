// What of an optimizer the kernels keep on the device: its groups, their values and counts; and what a step should make
// of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cuda_tensor.h"
#include "executor.h"
#include "kernels.h"
#include "schedule/evaluate.h"
#include "schedule/program.h"

namespace cuda_test {

using schedule::Program;
using standin::Execution;
using standin::Order;

template <class Rule>
struct GroupCase {
  using Hyper = typename Rule::Hyper;

  Hyper hyper;
  const Program* follows[kMaxScheduled] = {};  // in the order of the rule's description
  double lr_scale = 1.0;
  int64_t clock = 0;
  bool held = false;
  int64_t updates = 0;  // of most tensors
  Recipe recipe = no_recipe();
  const Program* averages_by = nullptr;  // instead of the recipe's constant
  int64_t count = 0;                     // updates done

  Hyper now() const {
    Hyper values = hyper;
    for (std::size_t k = 0; k < scheduled_of<Rule>().size(); ++k) {
      if (follows[k] == nullptr) continue;
      const double value = base::schedule::evaluate(follows[k]->view(), clock);
      values.*scheduled_of<Rule>()[k] = k == 0 ? value * lr_scale : value;
    }
    return values;
  }
  Recipe recipe_now() const {
    Recipe values = recipe;
    if (averages_by != nullptr) values.ema_decay = base::schedule::evaluate(averages_by->view(), clock);
    return values;
  }
  // Some update of the group writes that state.
  bool may_need(int k) const {
    Hyper possible = hyper;
    for (std::size_t i = 0; i < scheduled_of<Rule>().size(); ++i) {
      if (follows[i] != nullptr) possible.*scheduled_of<Rule>()[i] = 1.0;
    }
    return Rule::writes(Rule::traffic(possible, false), k);
  }
  GroupState described() const {
    GroupState state{};
    state.hyper = bytes_of<Rule>(hyper, recipe);
    state.clock = clock;
    state.held = held ? 1 : 0;
    state.updates = updates;
    state.count = count;
    for (std::size_t k = 0; k < scheduled_of<Rule>().size(); ++k) {
      if (follows[k] == nullptr) continue;
      const auto* member = reinterpret_cast<const char*>(&(hyper.*scheduled_of<Rule>()[k]));
      const auto offset = static_cast<int64_t>(member - reinterpret_cast<const char*>(&hyper));
      state.follows[k] = {follows[k]->view(), k == 0 ? lr_scale : 1.0, offset};
    }
    if (averages_by != nullptr) {
      constexpr std::size_t kOffset = offsetof(HyperBytes, recipe) + offsetof(Recipe, ema_decay);
      state.follows[kMaxScheduled - 1] = {averages_by->view(), 1.0, static_cast<int64_t>(kOffset)};
    }
    return state;
  }
};

inline void run_kernel(const std::string& name, bool long_arguments, int32_t grid, const void* arguments,
                       const Execution& how, unsigned rows = 1) {
  const standin::Kernel* kernel = standin::find_kernel(name, long_arguments);
  CHECK(kernel != nullptr);
  const auto blocks = static_cast<unsigned>(grid);
  const std::string problem =
      execute({blocks, rows, 1}, {kernel->threads, 1, 1}, [&] { kernel->call(arguments); }, how);
  if (!problem.empty()) std::fprintf(stderr, "%s: %s\n", name.c_str(), problem.c_str());
  CHECK(problem.empty());
}

template <class Rule>
std::string kernel_of(const std::string& part) {
  return "fastlr_" + info_of(Rule()).name + "_" + part;
}

template <class Rule>
class DeviceState {
 public:
  using Hyper = typename Rule::Hyper;
  using Values = StepValues<Rule>;

  // `updates`: of each parameter, by its place.
  DeviceState(std::vector<GroupCase<Rule>> groups, std::vector<int64_t> updates)
      : groups_(std::move(groups)),
        group_states_(groups_.size()),
        values_(2 * groups_.size()),
        updates_(std::move(updates)),
        clips_(groups_.size()) {
    for (std::size_t g = 0; g < groups_.size(); ++g) describe(g);
    std::memset(static_cast<void*>(values_.data()), 0xff, values_.size() * sizeof(Values));
    state_ = {group_states_.data(),
              values_.data(),
              updates_.data(),
              clips_.data(),
              0,
              static_cast<int32_t>(groups_.size()),
              0,
              {},
              0,
              0};
  }
  DeviceState(const DeviceState&) = delete;
  DeviceState& operator=(const DeviceState&) = delete;

  // The present values, from the kernel that the host launches when it has changed something.
  void refresh(const Execution& how) {
    const auto arguments = std::make_unique<PrepareArguments>();
    arguments->state = &state_;
    arguments->refresh = 1;
    run_kernel(kernel_of<Rule>("prepare"), true, 1, arguments.get(), how);
  }
  // What an update does to the counts.
  void expect_update() {
    for (GroupCase<Rule>& group : groups_) {
      group.clock += group.held ? 0 : 1;
      ++group.updates;
      ++group.count;
    }
    ++steps_;
  }
  void check() const {
    CHECK(state_.count == steps_ && state_.half == steps_ % 2 && state_.ticket == 0);
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      CHECK(group_states_[g].clock == groups_[g].clock && group_states_[g].updates == groups_[g].updates);
      CHECK(group_states_[g].count == groups_[g].count);
      check_values(values_[static_cast<std::size_t>(state_.half) * groups_.size() + g], groups_[g]);
    }
  }

  StepState& head() { return state_; }
  std::vector<GroupCase<Rule>>& groups() { return groups_; }
  const std::vector<GroupCase<Rule>>& groups() const { return groups_; }
  const GroupCase<Rule>& group(int32_t g) const { return groups_[static_cast<std::size_t>(g)]; }
  const Clip& clip(int32_t g) const { return clips_[static_cast<std::size_t>(g)]; }
  int64_t updates(std::size_t place) const { return updates_[place]; }
  void describe(std::size_t g) { group_states_[g] = groups_[g].described(); }

 private:
  static void check_values(const Values& values, const GroupCase<Rule>& group) {
    const Hyper want = group.now();
    const HyperBytes found = bytes_of<Rule>(values.hyper, values.recipe);
    const HyperBytes expected = bytes_of<Rule>(want, group.recipe_now());
    for (const Field& field : info_of(Rule()).fields) {
      const std::size_t size = field.kind == Field::Kind::flag ? 1 : sizeof(double);
      const auto *one = reinterpret_cast<const char*>(&found), *other = reinterpret_cast<const char*>(&expected);
      CHECK(std::memcmp(one + field.offset, other + field.offset, size) == 0);
    }
    const ScalarsBytes scalars = scalars_of<Rule>(*available_kernels().back(), want, group.updates);
    CHECK(std::memcmp(&values.single, scalars.single, sizeof values.single) == 0);
    CHECK(std::memcmp(&values.exact, scalars.exact, sizeof values.exact) == 0);
    CHECK(values.updates == group.updates && values.form == Rule::form_index(want));
    CHECK(values.traffic[0] == Rule::traffic(want, false) && values.traffic[1] == Rule::traffic(want, true));
  }

  std::vector<GroupCase<Rule>> groups_;
  std::vector<GroupState> group_states_;
  std::vector<Values> values_;
  std::vector<int64_t> updates_;
  std::vector<Clip> clips_;
  StepState state_{};
  int64_t steps_ = 0;
};

}  // namespace cuda_test
