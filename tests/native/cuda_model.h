// A model as the step kernels see it: tensors on exactly allocated memory at chosen offsets, the state, the launches;
// and the same model on the CPU's kernels. Chunks and launches are laid out here, by other code than the product's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "check_native.h"
#include "cpu/dispatch.h"
#include "cuda/state.h"
#include "elements.h"
#include "executor.h"
#include "kernels.h"
#include "schedule/evaluate.h"
#include "schedule/program.h"

namespace cuda_test {

using namespace fastlr;
using namespace fastlr::cuda;
using schedule::Program;
using standin::Execution;
using standin::Order;

// Bytes from `offset` behind a 16-byte boundary to the end of their memory, so that AddressSanitizer sees any access
// behind them; those before them must not change.
class Array {
 public:
  Array(std::vector<char> bytes, int64_t offset)
      : size_(bytes.size()),
        offset_(static_cast<std::size_t>(offset)),
        memory_(new char[offset_ + size_ + (offset_ + size_ == 0 ? 1 : 0)]) {
    CHECK(reinterpret_cast<uintptr_t>(memory_.get()) % kVectorBytes == 0);
    std::memset(memory_.get(), kFill, offset_);
    if (size_ > 0) std::memcpy(data(), bytes.data(), size_);
  }
  char* data() const { return memory_.get() + offset_; }
  bool holds(const std::vector<char>& bytes) const {
    const auto* end = memory_.get() + offset_;
    const bool kept = std::all_of(static_cast<const char*>(memory_.get()), end, [](char c) { return c == kFill; });
    return kept && bytes.size() == size_ && (size_ == 0 || std::memcmp(data(), bytes.data(), size_) == 0);
  }

 private:
  static constexpr char kFill = 0x5a;
  std::size_t size_, offset_;
  std::unique_ptr<char[]> memory_;
};

struct Follows {
  const Program* program = nullptr;
  double at(int64_t t, double constant) const {
    return program == nullptr ? constant : base::schedule::evaluate(program->view(), t);
  }
};

struct GroupCase {
  SgdHyper hyper;
  Follows lr, momentum, weight_decay;
  double lr_scale = 1.0;
  int64_t clock = 0;
  bool held = false;

  SgdHyper now() const {
    SgdHyper values = hyper;
    values.lr = lr.program == nullptr ? hyper.lr : lr.at(clock, 0.0) * lr_scale;
    values.momentum = momentum.at(clock, hyper.momentum);
    values.weight_decay = weight_decay.at(clock, hyper.weight_decay);
    return values;
  }
};

// In elements behind a 16-byte boundary.
struct Offsets {
  int64_t param, grad, buffer;
};

class Tensor {
 public:
  Tensor(DType dtype, int64_t size, const Offsets& at, int32_t group, bool first)
      : dtype_(dtype),
        size_(size),
        group_(group),
        first_(first),
        expected_param_(random_elements(dtype, size)),
        expected_buffer_(first ? std::vector<char>(bytes(), '\xff') : random_elements(dtype, size)),
        expected_grad_(random_elements(dtype, size)),
        param_(expected_param_, at.param * element_size(dtype)),
        grad_(expected_grad_, at.grad * element_size(dtype)),
        buffer_(expected_buffer_, at.buffer * element_size(dtype)) {}

  void new_gradient() {
    expected_grad_ = random_elements(dtype_, size_);
    if (size_ > 0) std::memcpy(grad_.data(), expected_grad_.data(), bytes());
  }
  void update_on_cpu(const SgdHyper& hyper) {
    const Kernels& table = *available_kernels().back();
    const Span span{expected_param_.data(), expected_grad_.data(), expected_buffer_.data(), size_, first_};
    table.sgd[static_cast<int>(dtype_)](hyper, span);
    first_ = first_ && hyper.momentum == 0.0;
  }
  bool agrees() const {
    return param_.holds(expected_param_) && grad_.holds(expected_grad_) && buffer_.holds(expected_buffer_);
  }

  DType dtype() const { return dtype_; }
  int32_t group() const { return group_; }
  bool first() const { return first_; }
  int64_t size() const { return size_; }
  const Array& param() const { return param_; }
  const Array& grad() const { return grad_; }
  const Array& buffer() const { return buffer_; }
  int64_t chunks(int64_t chunk_bytes) const {
    const auto skipped = static_cast<int64_t>(reinterpret_cast<uintptr_t>(param_.data()) % kVectorBytes);
    return size_ == 0 ? 0 : (skipped + size_ * element_size(dtype_) + chunk_bytes - 1) / chunk_bytes;
  }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(size_ * element_size(dtype_)); }

  DType dtype_;
  int64_t size_;
  int32_t group_;
  bool first_;
  std::vector<char> expected_param_, expected_buffer_, expected_grad_;
  Array param_, grad_, buffer_;
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

class Model {
 public:
  Model(std::vector<GroupCase> groups, std::vector<Tensor> tensors)
      : groups_(std::move(groups)),
        tensors_(std::move(tensors)),
        group_states_(groups_.size()),
        values_(2 * groups_.size()),
        updates_(tensors_.size()),
        expected_updates_(tensors_.size()) {
    for (std::size_t g = 0; g < groups_.size(); ++g) describe(g);
    // Places go the other way, so that nothing takes a tensor's number for its place.
    for (std::size_t i = 0; i < tensors_.size(); ++i) updates_[place(i)] = tensors_[i].first() ? 0 : 7;
    std::memset(static_cast<void*>(values_.data()), 0xff, values_.size() * sizeof(StepValues));
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
    run_kernel("fastlr_prepare", true, 1, arguments.get(), how);
  }

  // One step, `per_launch` tensors at a time.
  template <class Arguments>
  void launch(const std::string& kernel, std::size_t per_launch, int32_t tiles, const Execution& how) {
    CHECK(per_launch <= static_cast<std::size_t>(Arguments::kCapacity));
    const auto arguments = std::make_unique<Arguments>();
    for (std::size_t begin = 0; begin < tensors_.size(); begin += per_launch) {
      const std::size_t end = std::min(begin + per_launch, tensors_.size());
      arguments->state = &state_;
      arguments->tiles = tiles;
      arguments->last = end == tensors_.size() ? 1 : 0;
      const int64_t blocks = fill(*arguments, begin, end) + arguments->last;
      const bool is_long = Arguments::kCapacity == kLongTensors;
      if (blocks > 0) run_kernel(kernel, is_long, static_cast<int32_t>(blocks), arguments.get(), how);
      CHECK(state_.ticket == 0);
    }
  }

  // What a step should have done, to the state too.
  void expect_step() {
    std::vector<SgdHyper> used;
    for (GroupCase& group : groups_) {
      used.push_back(group.now());
      group.clock += group.held ? 0 : 1;
    }
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const SgdHyper& hyper = used[static_cast<std::size_t>(tensors_[i].group())];
      tensors_[i].update_on_cpu(hyper);
      expected_updates_[i] += hyper.momentum != 0.0 ? 1 : 0;
    }
    ++steps_;
  }

  void check(const std::vector<int64_t>& updates_at_first) const {
    CHECK(state_.count == steps_ && state_.half == steps_ % 2 && state_.ticket == 0);
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      CHECK(group_states_[g].clock == groups_[g].clock);
      check_values(values_[static_cast<std::size_t>(state_.half) * groups_.size() + g], groups_[g].now());
    }
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      CHECK(updates_[place(i)] == updates_at_first[i] + expected_updates_[i]);
    }
    check_tensors();
  }
  void check_tensors() const {
    for (const Tensor& tensor : tensors_) CHECK(tensor.agrees());
  }

  std::vector<int64_t> updates() const {
    std::vector<int64_t> all;
    for (std::size_t i = 0; i < tensors_.size(); ++i) all.push_back(updates_[place(i)]);
    return all;
  }
  void new_gradients() {
    for (Tensor& tensor : tensors_) tensor.new_gradient();
  }
  StepState& state() { return state_; }
  std::vector<GroupCase>& groups() { return groups_; }
  std::vector<GroupState>& group_states() { return group_states_; }
  void describe(std::size_t g) {
    const GroupCase& group = groups_[g];
    GroupState& state = group_states_[g];
    state = {{}, group.hyper, group.lr_scale, group.clock, group.held ? 1 : 0};
    const Program* programs[] = {group.lr.program, group.momentum.program, group.weight_decay.program};
    for (int k = 0; k < kScheduled; ++k) {
      if (programs[k] != nullptr) state.follows[k] = programs[k]->view();
    }
  }

 private:
  std::size_t place(std::size_t i) const { return tensors_.size() - 1 - i; }

  template <class Arguments>
  int64_t fill(Arguments& arguments, std::size_t begin, std::size_t end) const {
    int64_t chunks = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const Tensor& tensor = tensors_[i];
      const std::size_t to = i - begin;
      arguments.param[to] = tensor.param().data();
      arguments.grad[to] = tensor.grad().data();
      arguments.buffer[to] = tensor.buffer().data();
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

  static void check_values(const StepValues& values, const SgdHyper& want) {
    CHECK(values.hyper.lr == want.lr && values.hyper.momentum == want.momentum);
    CHECK(values.hyper.weight_decay == want.weight_decay && values.hyper.dampening == want.dampening);
    CHECK(values.hyper.nesterov == want.nesterov && values.hyper.maximize == want.maximize);
    CHECK(values.scalars.step_size == static_cast<float>(-want.lr));
    CHECK(values.scalars.gradient_weight == static_cast<float>(1.0 - want.dampening));
  }

  std::vector<GroupCase> groups_;
  std::vector<Tensor> tensors_;
  std::vector<GroupState> group_states_;
  std::vector<StepValues> values_;
  std::vector<int64_t> updates_;
  std::vector<int64_t> expected_updates_;
  StepState state_{};
  int64_t steps_ = 0;
};

}  // namespace cuda_test
