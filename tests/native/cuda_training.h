// What the driver layer's tests share: the stand-in's questions and answers, images for it, and a training on a device
// that the CPU's kernels do as well.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "check_native.h"
#include "cuda/device.h"
#include "cuda/images.h"
#include "cuda/step.h"
#include "cuda_cases.h"
#include "fake_image.h"

extern "C" {
const char* standin_events();
const char* standin_damage();
int standin_reset();
int standin_configure(const char* key, const char* value);
int standin_fail(const char* call, int64_t after, int64_t times, int result);
int standin_allocations();
int standin_contexts();
void* standin_stream(int device, int blocking);
int standin_finish();
int standin_begin_capture(void* stream, int mode);
int standin_end_capture(void* stream);
int standin_replay(int graph, void* stream, int times);
}

namespace cuda_test {
constexpr int kArchitectures[] = {80, 86, 90};
}

// Instead of those that the build embeds.
std::vector<fastlr::cuda::Image> fastlr::cuda::images() {
  using namespace cuda_test;
  static std::vector<std::string> kept;
  std::vector<Image> all;
  if (kept.empty()) {
    for (const int architecture : kArchitectures) {
      for (const bool is_long : {true, false}) {
        kept.push_back(machine_code(architecture, product_kernels(is_long)));
      }
    }
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const auto* data = reinterpret_cast<const unsigned char*>(kept[i].data());
    all.push_back({kArchitectures[i / 2], false, i % 2 == 0, data, kept[i].size()});
  }
  return all;
}

namespace cuda_test {

// How often this stands in the record since the last reset.
inline int count(const std::string& what) {
  const std::string events = standin_events();
  int found = 0;
  for (std::size_t at = events.find(what); at != std::string::npos; at = events.find(what, at + 1)) ++found;
  return found;
}

inline const Device& open(int ordinal = 0) {
  std::string reason;
  const Device* device = find_device(ordinal, &reason);
  if (device == nullptr) std::fprintf(stderr, "%s\n", reason.c_str());
  CHECK(device != nullptr);
  return *device;
}

inline Program falling() {
  ProgramBuilder builder;
  builder.cosine({0.1, 0.0, 0.0, 2000.0}, 1.0);
  return builder.build();
}

// The same step on a device and on the CPU. Group 0 follows a schedule; group 1 has a constant rate, and no more state
// than the rule needs. The last `twice` of the tensors are updated two times in each step.
template <class Rule>
class Training {
 public:
  Training(const Device& device, std::size_t tensors, std::size_t twice = 0)
      : step_(info_of(Rule()), device), twice_(twice) {
    groups_ = groups_of(Rule(), schedules_);
    groups_.resize(2);
    groups_[0].follows[0] = &rate_;
    groups_[1].follows[0] = nullptr;
    for (GroupCase<Rule>& group : groups_) group.clock = group.updates = 0;
    for (std::size_t i = 0; i < tensors; ++i) {
      const auto dtype = static_cast<DType>(i % 4);
      const auto size = static_cast<int64_t>(1 + i * i % 3000);
      tensors_.emplace_back(dtype, size, Offsets{0, 0, 0, 0}, i % 5 == 0 ? 1 : 0, 0);
    }
  }

  // As the host does it for an update, before the launch.
  void tell(void* stream, bool capturing) {
    std::vector<GroupSetting> settings;
    for (const GroupCase<Rule>& group : groups_) settings.push_back(setting_of(group));
    step_.clear();
    for (std::size_t i = 0; i < tensors_.size(); ++i) add(i, false);
    for (std::size_t i = tensors_.size() - twice_; i < tensors_.size(); ++i) add(i, true);
    const auto current = static_cast<Stream>(stream);
    step_.tell(settings, {}, static_cast<int32_t>(tensors_.size()), capturing ? nullptr : &current);
  }
  void launch(void* stream) { step_.launch(static_cast<Stream>(stream)); }
  void update(void* stream) {
    tell(stream, false);
    launch(stream);
    step_.count_update();
    expect_update();
  }
  void expect_update() {
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const auto hyper = group_of(tensors_[i]).now();
      for (int times = i + twice_ < tensors_.size() ? 1 : 2; times > 0; --times) tensors_[i].update_on_cpu(hyper);
    }
    for (GroupCase<Rule>& group : groups_) {
      ++group.clock;
      ++group.updates;
    }
  }
  void check() const {
    CHECK(standin_finish() == 0);
    for (const Tensor<Rule>& tensor : tensors_) CHECK(tensor.agrees());
    CHECK(std::strcmp(standin_damage(), "") == 0 && standin_contexts() == 0);
  }
  std::vector<int64_t> updates() const {
    std::vector<int64_t> all;
    for (const Tensor<Rule>& tensor : tensors_) all.push_back(tensor.updates());
    return all;
  }
  // What the device says of each tensor's updates, where they are others than the host knew.
  void check_updates(const Progress& progress, const std::vector<int64_t>& known) const {
    CHECK(progress.updates_of.size() == tensors_.size());
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      const int64_t updates = tensors_[i].updates();
      CHECK(progress.updates_of[i] == (updates == known[i] ? kSomeUpdates : updates));
    }
  }
  // Its next update is a first one, as with state of another training.
  void forget_updates(std::size_t i) { tensors_[i].forget_updates(); }
  DeviceStep& step() { return step_; }
  GroupCase<Rule>& group(std::size_t g) { return groups_[g]; }

 private:
  static GroupSetting setting_of(const GroupCase<Rule>& group) {
    GroupSetting setting{{},
                         bytes_of<Rule>(group.now()),
                         group.lr_scale,
                         group.clock,
                         group.held,
                         Rule::kCounts ? group.updates : kSomeUpdates,
                         group.updates};
    std::copy(std::begin(group.follows), std::end(group.follows), setting.follows);
    return setting;
  }
  const GroupCase<Rule>& group_of(const Tensor<Rule>& tensor) const {
    return groups_[static_cast<std::size_t>(tensor.group())];
  }
  void add(std::size_t i, bool repeated) {
    const Tensor<Rule>& tensor = tensors_[i];
    Span span{tensor.param(), tensor.grad(), {}, tensor.size(), tensor.updates(), tensor.updates() == 0};
    for (int k = 0; k < Rule::kStates; ++k) {
      span.state[k] = group_of(tensor).may_need(k) ? tensor.state(k) : nullptr;
    }
    step_.add({0, tensor.group(), 0, tensor.dtype(), -1, span}, nullptr, static_cast<int32_t>(i), repeated, false);
  }

  Program rate_ = falling();
  Schedules schedules_;
  DeviceStep step_;
  std::size_t twice_;
  std::vector<GroupCase<Rule>> groups_;
  std::vector<Tensor<Rule>> tensors_;
};

}  // namespace cuda_test
