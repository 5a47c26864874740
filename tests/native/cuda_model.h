// A model as the step kernels see it: tensors, the state, the launches; and the same model on the CPU's kernels. Chunks
// and launches are laid out here, by other code than the product's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda_device_state.h"

namespace cuda_test {

template <class Rule>
class Model {
 public:
  using Hyper = typename Rule::Hyper;

  Model(std::vector<GroupCase<Rule>> groups, std::vector<Tensor<Rule>> tensors)
      : state_(std::move(groups), updates_of(tensors)), tensors_(std::move(tensors)) {}

  void refresh(const Execution& how) { state_.refresh(how); }

  // One step, `per_launch` tensors at a time, by the kernels for that many bytes of arguments.
  template <int32_t bytes>
  void launch(const std::string& part, std::size_t per_launch, int32_t tiles, const Execution& how) {
    using Arguments = StepArguments<Rule::kStates, bytes>;
    CHECK(per_launch <= static_cast<std::size_t>(Arguments::kCapacity));
    const auto arguments = std::make_unique<Arguments>();
    std::size_t begin = 0;
    do {
      const std::size_t end = std::min(begin + per_launch, tensors_.size());
      arguments->state = &state_.head();
      arguments->tiles = tiles;
      arguments->last = end == tensors_.size() ? 1 : 0;
      const int64_t blocks = std::max<int64_t>(fill(*arguments, begin, end) + arguments->last, 1);
      const bool is_long = bytes == kLongArguments;
      run_kernel(kernel_of<Rule>(part), is_long, static_cast<int32_t>(blocks), arguments.get(), how);
      CHECK(state_.head().ticket == 0);
      begin = end;
    } while (begin < tensors_.size());
  }

  // What a step should have done, to the state too.
  void expect_step() {
    for (Tensor<Rule>& tensor : tensors_) tensor.update_on_cpu(state_.group(tensor.group()).now());
    state_.expect_update();
  }

  void check() const {
    state_.check();
    for (std::size_t i = 0; i < tensors_.size(); ++i) CHECK(state_.updates(place(i)) == tensors_[i].updates());
    check_tensors();
  }
  void check_tensors() const {
    for (const Tensor<Rule>& tensor : tensors_) CHECK(tensor.agrees());
  }

  void new_gradients() {
    for (Tensor<Rule>& tensor : tensors_) tensor.new_gradient();
  }
  StepState& state() { return state_.head(); }
  std::vector<GroupCase<Rule>>& groups() { return state_.groups(); }
  void describe(std::size_t g) { state_.describe(g); }

 private:
  // Places go the other way, so that nothing takes a tensor's number for its place.
  std::size_t place(std::size_t i) const { return tensors_.size() - 1 - i; }
  static std::vector<int64_t> updates_of(const std::vector<Tensor<Rule>>& tensors) {
    std::vector<int64_t> updates;
    for (auto tensor = tensors.rbegin(); tensor != tensors.rend(); ++tensor) updates.push_back(tensor->updates());
    return updates;
  }

  template <class Arguments>
  int64_t fill(Arguments& arguments, std::size_t begin, std::size_t end) const {
    int64_t chunks = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const Tensor<Rule>& tensor = tensors_[i];
      const std::size_t to = i - begin;
      arguments.param[to] = tensor.param();
      arguments.grad[to] = tensor.grad();
      for (int k = 0; k < Rule::kStates; ++k) {
        arguments.buffer[k][to] = state_.group(tensor.group()).may_need(k) ? tensor.state(k) : nullptr;
      }
      arguments.size[to] = tensor.size();
      arguments.first_chunk[to] = static_cast<int32_t>(chunks);
      arguments.place[to] = static_cast<int32_t>(place(i));
      arguments.group[to] = static_cast<uint16_t>(tensor.group());
      arguments.dtype[to] = static_cast<uint8_t>(tensor.dtype());
      chunks += tensor.chunks(int64_t{arguments.tiles} * kTileBytes);
    }
    arguments.tensors = static_cast<int32_t>(end - begin);
    return chunks;
  }

  DeviceState<Rule> state_;
  std::vector<Tensor<Rule>> tensors_;
};

}  // namespace cuda_test
