// Where memory for a device is made while its current stream is captured: what is allocated on that one is the graph's.
#pragma once

#include <cstdint>
#include <optional>

#include "cuda/device.h"

namespace fastlr {

class Aside {
 public:
  // Null: nothing is captured.
  explicit Aside(const cuda::Device* captured) : captured_(captured) {
    if (captured != nullptr) relaxed_.emplace(captured->driver());
  }
  // 0: the current one.
  uintptr_t stream() const { return captured_ == nullptr ? 0 : reinterpret_cast<uintptr_t>(captured_->own_stream()); }

 private:
  const cuda::Device* captured_;
  std::optional<cuda::Relaxed> relaxed_;
};

}  // namespace fastlr
