// A tensor as the step kernels see it: arrays on exactly allocated memory at chosen offsets; and what the CPU's kernels
// make of the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "check_native.h"
#include "cuda/state.h"
#include "each_rule.h"
#include "elements.h"

namespace cuda_test {

using namespace fastlr;
using namespace fastlr::cuda;

// Bytes from `offset` behind a 16-byte boundary to the end of their memory, so that AddressSanitizer sees any access
// behind them; those before them must not change.
class Array {
 public:
  Array(const std::vector<char>& bytes, int64_t offset)
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

// In elements behind a 16-byte boundary. `later`: of the state's arrays but the first.
struct Offsets {
  int64_t param, grad, state, later;
};

template <class Rule>
class Tensor {
 public:
  // updates: those that have written its state.
  Tensor(DType dtype, int64_t size, const Offsets& at, int32_t group, int64_t updates)
      : dtype_(dtype),
        size_(size),
        group_(group),
        updates_(updates),
        expected_param_(random_elements(dtype, size)),
        expected_grad_(random_elements(dtype, size)),
        param_(expected_param_, at.param * element_size(dtype)),
        grad_(expected_grad_, at.grad * element_size(dtype)) {
    for (int k = 0; k < Rule::kStates; ++k) {
      expected_state_.push_back(initial_state(k));
      state_.emplace_back(expected_state_.back(), (k == 0 ? at.state : at.later) * element_size(dtype));
    }
  }

  void new_gradient() {
    expected_grad_ = random_elements(dtype_, size_);
    if (size_ > 0) std::memcpy(grad_.data(), expected_grad_.data(), bytes());
  }
  void update_on_cpu(const typename Rule::Hyper& hyper) {
    Span span{expected_param_.data(), expected_grad_.data(), {}, size_, updates_, updates_ == 0};
    for (std::size_t k = 0; k < Rule::kStates; ++k) span.state[k] = expected_state_[k].data();
    update_with<Rule>(*available_kernels().back(), hyper, dtype_, span);
    updates_ += Rule::writes(Rule::traffic(hyper, false), 0) ? 1 : 0;
  }
  // As state that no update has written.
  void forget_updates() {
    updates_ = 0;
    for (int k = 0; k < Rule::kStates; ++k) {
      std::vector<char>& expected = expected_state_[static_cast<std::size_t>(k)];
      expected = initial_state(k);
      if (size_ > 0) std::memcpy(state(k), expected.data(), bytes());
    }
  }
  bool agrees() const {
    bool same = param_.holds(expected_param_) && grad_.holds(expected_grad_);
    for (std::size_t k = 0; k < Rule::kStates; ++k) same = same && state_[k].holds(expected_state_[k]);
    return same;
  }

  DType dtype() const { return dtype_; }
  int32_t group() const { return group_; }
  int64_t updates() const { return updates_; }
  int64_t size() const { return size_; }
  void* param() const { return param_.data(); }
  const void* grad() const { return grad_.data(); }
  void* state(int k) const { return state_[static_cast<std::size_t>(k)].data(); }
  int64_t chunks(int64_t chunk_bytes) const {
    const auto skipped = static_cast<int64_t>(reinterpret_cast<uintptr_t>(param()) % kVectorBytes);
    return size_ == 0 ? 0 : (skipped + size_ * element_size(dtype_) + chunk_bytes - 1) / chunk_bytes;
  }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(size_ * element_size(dtype_)); }

  // Later ones are averages of squares.
  std::vector<char> initial_state(int k) const {
    if (updates_ == 0) return std::vector<char>(bytes(), Rule::kWritesFirst ? '\xff' : '\0');
    return k == 0 ? random_elements(dtype_, size_) : magnitudes(dtype_, random_elements(dtype_, size_));
  }

  DType dtype_;
  int64_t size_;
  int32_t group_;
  int64_t updates_;
  std::vector<char> expected_param_, expected_grad_;
  std::vector<std::vector<char>> expected_state_;
  Array param_, grad_;
  std::vector<Array> state_;
};

}  // namespace cuda_test
