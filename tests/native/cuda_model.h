// A model as the step kernels see it: tensors, the state, the launches; and the same model on the CPU's kernels. Chunks
// and launches are laid out here, by other code than the product's.
#pragma once

#include <algorithm>
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

  Hyper now() const {
    Hyper values = hyper;
    for (std::size_t k = 0; k < scheduled_of<Rule>().size(); ++k) {
      if (follows[k] == nullptr) continue;
      const double value = base::schedule::evaluate(follows[k]->view(), clock);
      values.*scheduled_of<Rule>()[k] = k == 0 ? value * lr_scale : value;
    }
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
    state.hyper = bytes_of<Rule>(hyper);
    state.clock = clock;
    state.held = held ? 1 : 0;
    state.updates = updates;
    for (std::size_t k = 0; k < scheduled_of<Rule>().size(); ++k) {
      if (follows[k] == nullptr) continue;
      const auto* member = reinterpret_cast<const char*>(&(hyper.*scheduled_of<Rule>()[k]));
      const auto offset = static_cast<int64_t>(member - reinterpret_cast<const char*>(&hyper));
      state.follows[k] = {follows[k]->view(), k == 0 ? lr_scale : 1.0, offset};
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
class Model {
 public:
  using Hyper = typename Rule::Hyper;
  using Values = StepValues<Rule>;

  Model(std::vector<GroupCase<Rule>> groups, std::vector<Tensor<Rule>> tensors)
      : groups_(std::move(groups)),
        tensors_(std::move(tensors)),
        group_states_(groups_.size()),
        values_(2 * groups_.size()),
        updates_(tensors_.size()) {
    for (std::size_t g = 0; g < groups_.size(); ++g) describe(g);
    // Places go the other way, so that nothing takes a tensor's number for its place.
    for (std::size_t i = 0; i < tensors_.size(); ++i) updates_[place(i)] = tensors_[i].updates();
    std::memset(static_cast<void*>(values_.data()), 0xff, values_.size() * sizeof(Values));
    state_ = {
        group_states_.data(), values_.data(), updates_.data(), 0, static_cast<int32_t>(groups_.size()), 0, {}, 0, 0};
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // The present values, from the kernel that the host launches when it has changed something.
  void refresh(const Execution& how) {
    const auto arguments = std::make_unique<PrepareArguments>();
    arguments->state = &state_;
    arguments->refresh = 1;
    run_kernel(kernel_of<Rule>("prepare"), true, 1, arguments.get(), how);
  }

  // One step, `per_launch` tensors at a time, by the kernels for that many bytes of arguments.
  template <int32_t bytes>
  void launch(const std::string& part, std::size_t per_launch, int32_t tiles, const Execution& how) {
    using Arguments = StepArguments<Rule::kStates, bytes>;
    CHECK(per_launch <= static_cast<std::size_t>(Arguments::kCapacity));
    const auto arguments = std::make_unique<Arguments>();
    std::size_t begin = 0;
    do {
      const std::size_t end = std::min(begin + per_launch, tensors_.size());
      arguments->state = &state_;
      arguments->tiles = tiles;
      arguments->last = end == tensors_.size() ? 1 : 0;
      const int64_t blocks = std::max<int64_t>(fill(*arguments, begin, end) + arguments->last, 1);
      const bool is_long = bytes == kLongArguments;
      run_kernel(kernel_of<Rule>(part), is_long, static_cast<int32_t>(blocks), arguments.get(), how);
      CHECK(state_.ticket == 0);
      begin = end;
    } while (begin < tensors_.size());
  }

  // What a step should have done, to the state too.
  void expect_step() {
    std::vector<Hyper> used;
    for (GroupCase<Rule>& group : groups_) {
      used.push_back(group.now());
      group.clock += group.held ? 0 : 1;
      ++group.updates;
    }
    for (Tensor<Rule>& tensor : tensors_) tensor.update_on_cpu(used[static_cast<std::size_t>(tensor.group())]);
    ++steps_;
  }

  void check() const {
    CHECK(state_.count == steps_ && state_.half == steps_ % 2 && state_.ticket == 0);
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      CHECK(group_states_[g].clock == groups_[g].clock && group_states_[g].updates == groups_[g].updates);
      check_values(values_[static_cast<std::size_t>(state_.half) * groups_.size() + g], groups_[g]);
    }
    for (std::size_t i = 0; i < tensors_.size(); ++i) CHECK(updates_[place(i)] == tensors_[i].updates());
    check_tensors();
  }
  void check_tensors() const {
    for (const Tensor<Rule>& tensor : tensors_) CHECK(tensor.agrees());
  }

  void new_gradients() {
    for (Tensor<Rule>& tensor : tensors_) tensor.new_gradient();
  }
  StepState& state() { return state_; }
  std::vector<GroupCase<Rule>>& groups() { return groups_; }
  void describe(std::size_t g) { group_states_[g] = groups_[g].described(); }

 private:
  std::size_t place(std::size_t i) const { return tensors_.size() - 1 - i; }

  template <class Arguments>
  int64_t fill(Arguments& arguments, std::size_t begin, std::size_t end) const {
    int64_t chunks = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const Tensor<Rule>& tensor = tensors_[i];
      const auto group = static_cast<std::size_t>(tensor.group());
      const std::size_t to = i - begin;
      arguments.param[to] = tensor.param();
      arguments.grad[to] = tensor.grad();
      for (int k = 0; k < Rule::kStates; ++k) {
        arguments.buffer[k][to] = groups_[group].may_need(k) ? tensor.state(k) : nullptr;
      }
      arguments.size[to] = tensor.size();
      arguments.first_chunk[to] = static_cast<int32_t>(chunks);
      arguments.place[to] = static_cast<int32_t>(place(i));
      arguments.group[to] = static_cast<uint16_t>(group);
      arguments.dtype[to] = static_cast<uint8_t>(tensor.dtype());
      chunks += tensor.chunks(int64_t{arguments.tiles} * kTileBytes);
    }
    arguments.tensors = static_cast<int32_t>(end - begin);
    return chunks;
  }

  static void check_values(const Values& values, const GroupCase<Rule>& group) {
    const Hyper want = group.now();
    const HyperBytes found = bytes_of<Rule>(values.hyper), expected = bytes_of<Rule>(want);
    for (const Field& field : info_of(Rule()).fields) {
      const std::size_t size = field.kind == Field::Kind::flag ? 1 : sizeof(double);
      CHECK(std::memcmp(found.bytes + field.offset, expected.bytes + field.offset, size) == 0);
    }
    const ScalarsBytes scalars = scalars_of<Rule>(*available_kernels().back(), want, group.updates);
    CHECK(std::memcmp(&values.single, scalars.single, sizeof values.single) == 0);
    CHECK(std::memcmp(&values.exact, scalars.exact, sizeof values.exact) == 0);
    CHECK(values.updates == group.updates && values.form == Rule::form_index(want));
    CHECK(values.traffic[0] == Rule::traffic(want, false) && values.traffic[1] == Rule::traffic(want, true));
  }

  std::vector<GroupCase<Rule>> groups_;
  std::vector<Tensor<Rule>> tensors_;
  std::vector<GroupState> group_states_;
  std::vector<Values> values_;
  std::vector<int64_t> updates_;
  StepState state_{};
  int64_t steps_ = 0;
};

}  // namespace cuda_test
