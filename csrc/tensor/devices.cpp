#include "tensor/devices.h"

#include <algorithm>
#include <utility>

namespace fastlr {

bool Devices::usable(PyObject* param, const TensorView& view) {
  const auto at = static_cast<std::size_t>(view.device_id);
  if (uses_.size() <= at) uses_.resize(at + 1);
  Use& use = uses_[at];
  if (use.step == nullptr) {
    std::string problem;
    const cuda::Device* device = cuda::find_device(view.device_id, &problem);
    if (device == nullptr) {
      problem_ = problem;
      return false;
    }
    use.step = std::make_unique<cuda::DeviceStep>(rule_, *device);
  }
  if (!use.now) {
    use.now = true;
    use.source = stream_source(param);
    find_stream(use, view.device_id);
  }
  return true;
}

void Devices::add(const TensorView& view, const Task& task, const Extra* extra, int32_t place, bool repeated,
                  bool made) {
  const auto at = static_cast<std::size_t>(place);
  if (owners_.size() <= at) owners_.resize(at + 1, -1);
  owners_[at] = view.device_id;
  uses_[static_cast<std::size_t>(view.device_id)].step->add(task, extra, place, repeated, made);
}

void Devices::set_scale(int32_t device, const float* grad_scale, const float* found_inf) {
  uses_[static_cast<std::size_t>(device)].step->set_scale(grad_scale, found_inf);
}

void Devices::find_stream(Use& use, int32_t ordinal) {
  use.stream = static_cast<cuda::Stream>(current_stream(use.source, ordinal));
  const cuda::Current current(use.step->device());
  use.capturing = use.step->device().capturing(use.stream);
}

void Devices::join_idle() {
  const bool runs = eager() > 0;
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    Use& use = uses_[i];
    if (use.step == nullptr || use.now) continue;
    find_stream(use, static_cast<int32_t>(i));
    use.now = !(runs && use.capturing);
    use.capturing &= use.now;
  }
}

void Devices::tell(const std::vector<cuda::GroupSetting>& groups, int32_t places) {
  places_ = std::max(places_, places);
  for (Use& use : uses_) {
    if (use.now) use.step->tell(groups, {}, places_, use.capturing ? nullptr : &use.stream);
  }
}

void Devices::tell_all(const std::vector<cuda::GroupSetting>& groups, const std::vector<int64_t>& updates) {
  places_ = std::max(places_, static_cast<int32_t>(updates.size()));
  for (Use& use : uses_) {
    if (use.step != nullptr) use.step->tell(groups, updates, places_, nullptr);
  }
}

bool Devices::launch_norms() {
  bool any = false;
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    const Use& use = uses_[i];
    if (!use.now || !use.step->launch_norms(use.stream)) continue;
    measured_ = static_cast<int32_t>(i);
    any = true;
  }
  return any;
}

bool Devices::norms_finite() const {
  return std::all_of(uses_.begin(), uses_.end(), [](const Use& use) { return !use.now || use.step->norms_finite(); });
}

std::vector<double> Devices::norms() const {
  return measured_ < 0 ? std::vector<double>() : uses_[static_cast<std::size_t>(measured_)].step->norms();
}

void Devices::launch() {
  for (Use& use : uses_) {
    if (!use.now) continue;
    use.step->launch(use.stream);
    if (!use.capturing) use.step->count_update();
  }
}

void Devices::clear() {
  for (Use& use : uses_) {
    use.now = use.capturing = false;
    if (use.step != nullptr) use.step->clear();
  }
}

bool Devices::used() const {
  return std::any_of(uses_.begin(), uses_.end(), [](const Use& use) { return use.now; });
}

bool Devices::known() const {
  return std::any_of(uses_.begin(), uses_.end(), [](const Use& use) { return use.step != nullptr; });
}

int Devices::count() const {
  return static_cast<int>(std::count_if(uses_.begin(), uses_.end(), [](const Use& use) { return use.now; }));
}

std::vector<int32_t> Devices::in_use() const {
  std::vector<int32_t> all;
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    if (uses_[i].now) all.push_back(static_cast<int32_t>(i));
  }
  return all;
}

const cuda::Device* Devices::captured(const TensorView& view) const {
  if (view.device_type != TensorView::kCuda) return nullptr;
  const Use& use = uses_[static_cast<std::size_t>(view.device_id)];
  return use.capturing ? &use.step->device() : nullptr;
}

bool Devices::recording() const {
  return std::any_of(uses_.begin(), uses_.end(), [](const Use& use) { return use.capturing; });
}

bool Devices::records_rule_alone() const {
  return std::any_of(uses_.begin(), uses_.end(),
                     [](const Use& use) { return use.capturing && !use.step->empty() && !use.step->has_recipe(); });
}

int Devices::eager() const {
  const auto runs = [](const Use& use) { return use.now && !use.capturing; };
  return static_cast<int>(std::count_if(uses_.begin(), uses_.end(), runs));
}

bool Devices::uncertain() const {
  return std::any_of(uses_.begin(), uses_.end(),
                     [](const Use& use) { return use.step != nullptr && use.step->uncertain(); });
}

bool Devices::differ() const {
  return std::any_of(uses_.begin(), uses_.end(),
                     [](const Use& use) { return use.step != nullptr && use.step->uncertain() != use.now; });
}

bool Devices::look(cuda::Progress& progress) {
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    if (uses_[i].step == nullptr) continue;
    find_stream(uses_[i], static_cast<int32_t>(i));
    if (std::exchange(uses_[i].capturing, false)) return false;
  }
  progress = {};
  progress.updates_of.assign(owners_.size(), cuda::kSomeUpdates);
  for (std::size_t i = 0; i < uses_.size(); ++i) {
    if (uses_[i].step == nullptr) continue;
    cuda::Progress own = uses_[i].step->look();
    // A GPU without gradients counts nothing: the one that is ahead has it, or else one that is behind.
    const auto differs = [](int64_t updates) { return std::make_pair(updates != 0, updates); };
    if (progress.clocks.empty() || differs(own.updates) > differs(progress.updates)) {
      std::swap(own.clocks, progress.clocks);
      progress.updates = own.updates;
    }
    for (std::size_t p = 0; p < std::min(owners_.size(), own.updates_of.size()); ++p) {
      if (owners_[p] == static_cast<int32_t>(i)) progress.updates_of[p] = own.updates_of[p];
    }
  }
  return true;
}

}  // namespace fastlr
