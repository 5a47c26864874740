// What of a step goes around the rules' updates: scales, norms, and the weights that are kept beside the parameters.
#include "rule/recipe.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "check.h"
#include "cpu/run.h"
#include "norm/order.h"
#include "tensor/aside.h"
#include "tensor/gather.h"
#include "tensor/names.h"

namespace fastlr {
namespace {

[[noreturn]] void refuse_norm(double norm) {
  raise(ErrorKind::runtime, "The norm of the gradients is not finite", std::to_string(norm),
        "Look for the loss that made them, or skip such steps with error_if_nonfinite=False.");
}

double item(const py::object& tensor) { return py::float_(tensor.attr("item")()).cast<double>(); }

bool on_cuda(const py::object& tensor) {
  TensorView found;
  return view(tensor.ptr(), found) != Access::native || found.device_type == TensorView::kCuda;
}

}  // namespace

void Step::scale(const py::object& grad_scale, const py::object& found_inf) {
  grad_scale_ = grad_scale.is_none() ? py::object() : grad_scale;
  found_inf_ = found_inf.is_none() ? py::object() : found_inf;
}

bool Step::clips() const {
  return std::any_of(groups_.begin(), groups_.end(),
                     [](const auto& group) { return norm_set(group->recipe(), 0) != kNoNorm; });
}

// A norm over several devices, or over what only torch's operators read beside a GPU, would have to be waited for.
bool Step::is_spread() const {
  return devices_.used() && (!plan_.tasks().empty() || !fallback_.empty() || distributed_ || devices_.count() > 1);
}

// Only GPUs can find out by themselves.
void Step::read_found_inf() {
  const bool left_to_gpus = on_cuda(found_inf_) && plan_.tasks().empty() && fallback_.empty();
  if (left_to_gpus) return;
  must_skip_ = item(found_inf_) != 0.0;
  found_inf_ = py::object();
}

void Step::give_scale() {
  const auto pointer = [this](const py::object& scalar, int32_t device) -> const float* {
    if (!scalar) return nullptr;
    TensorView found;
    const auto is_there = [&](const py::object& tensor) {
      return view(tensor.ptr(), found) == Access::native && found.device_type == TensorView::kCuda &&
             found.device_id == device && found.dtype == DType::float32;
    };
    py::object there = scalar;
    if (!is_there(there)) there = names().scalar_on(scalar, device);
    if (!is_there(there)) {
      raise(ErrorKind::runtime, "A gradient scaler's number cannot be read on the parameters' GPU",
            py::repr(scalar).cast<std::string>(), "Use torch.amp.GradScaler on that device.");
    }
    alive_.hold(there.ptr());
    return static_cast<const float*>(found.data);
  };
  for (const int32_t device : devices_.in_use()) {
    devices_.set_scale(device, pointer(grad_scale_, device), pointer(found_inf_, device));
  }
}

bool Step::add_extra(Param& param, const Group& group) {
  const Recipe& recipe = group.recipe();
  const DType dtype = param.view.dtype;
  const bool narrow = dtype == DType::float16 || dtype == DType::bfloat16;
  param.extra.place = static_cast<int32_t>(cursor_);
  if (narrow && recipe.master_weights) {
    if (!add_weights(param, names_.master, DType::float32, names().new_master, param.extra.master)) return false;
  } else if (narrow && recipe.stochastic_rounding && (dtype == DType::float16 || !find_layout(param))) {
    return false;
  }
  if (recipe.ema_decay < 0.0) return true;
  const DType average = dtype == DType::float64 ? DType::float64 : DType::float32;
  return add_weights(param, names_.average, average, names().new_average, param.extra.average);
}

// False: what stands there is not laid out like the parameter.
bool Step::add_weights(Param& param, PyObject* name, DType dtype, const py::object& make, void*& out) {
  PyObject* held = entry(param, name);
  py::object made;
  if (held == nullptr) {
    hold_gradients();
    PyObject* master = name == names_.average ? entry(param, names_.master) : nullptr;
    const Aside aside(devices_.captured(param.view));
    made = make(py::handle(master != nullptr ? master : param.tensor), py::arg("stream") = aside.stream());
    held = made.ptr();
  }
  TensorView weights;
  const TensorView& like = param.view;
  if (view_part(held, param.like, weights) != Access::native || !same_device(weights, like)) return false;
  if (weights.dtype != dtype || !same_shape(weights, like) || !same_strides(weights, like)) return false;
  if (made) {
    new_entries_.push_back({param.tensor, name, std::move(made), true, false});
  } else {
    alive_.hold(held);
  }
  out = weights.data;
  return true;
}

// How the order in memory follows from the elements' own: false where that takes more than one transposition.
bool Step::find_layout(Param& param) const {
  const TensorView& view = param.view;
  int dims[TensorView::kMaxOwnDims], order[TensorView::kMaxOwnDims], count = 0;
  if (view.ndim > TensorView::kMaxOwnDims) return false;
  for (int i = 0; i < view.ndim; ++i) {
    if (view.shape[i] == 1) continue;
    dims[count] = i;
    order[count] = count;
    ++count;
  }
  // From the slowest in memory to the fastest.
  std::sort(order, order + count, [&](int a, int b) { return view.strides[dims[a]] > view.strides[dims[b]]; });
  int same = 0;
  while (same < count && order[same] == same) ++same;
  if (same == count) return true;
  // The rest has to be [first, count) followed by [same, first).
  const int first = order[same];
  for (int i = same; i < count; ++i) {
    const int turned = i - same + first;
    if (order[i] != (turned < count ? turned : turned - count + same)) return false;
  }
  for (int i = same; i < count; ++i) (i < first ? param.extra.rows : param.extra.columns) *= view.shape[dims[i]];
  return true;
}

py::list Step::squares() {
  py::list all;
  hold_gradients();
  const std::vector<double> sums = squares_of_tasks(plan_, threads());
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const int32_t set = plan_.norm_set(plan_.tasks()[i].group);
    if (set != kNoNorm) all.append(py::make_tuple(py::handle(written_.objects()[i]), set, sums[i]));
  }
  return all;
}

void Step::set_norms(const std::vector<double>& norms) {
  norms_ = norms;
  norms_on_device_ = false;
  norms_known_ = true;
}

std::vector<double> Step::norms() { return norms_on_device_ ? devices_.norms() : norms_; }

// False: the update is to be skipped, as a norm is not finite.
bool Step::clip() {
  try {
    launch_norms();
    const bool without_gradients = clips() && !norms_known_ && !devices_.used();
    return !(plan_.recipes() || without_gradients) || find_factors();
  } catch (...) {
    abandon();
    throw;
  }
}

// What the CPU's gradients are multiplied by.
bool Step::find_factors() {
  const double inverse = grad_scale_ ? 1.0 / item(grad_scale_) : 1.0;
  if (clips() && !norms_known_) {
    const std::vector<double> sums = fastlr::squares(plan_, threads());
    std::vector<double> norms(sums.size(), std::nan(""));
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      const int32_t set = norm_set_of(i);
      if (set == kNoNorm) continue;
      const auto at = static_cast<std::size_t>(set);
      norms[at] = FASTLR_ARCH::norm_of(sums[at], inverse);
    }
    set_norms(norms);
  }
  if (!are_finite(norms_)) return false;
  std::vector<double> factors;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const int32_t set = norm_set_of(i);
    const double norm = set == kNoNorm ? 0.0 : norms_[static_cast<std::size_t>(set)];
    factors.push_back(FASTLR_ARCH::gradient_factor(groups_[i]->recipe(), inverse, norm));
  }
  plan_.set_factors(std::move(factors));
  return true;
}

int32_t Step::norm_set_of(std::size_t group) const {
  return norm_set(groups_[group]->recipe(), static_cast<int32_t>(group));
}

// Whether all norms are that groups are clipped by. Raises for one that is not, if its group asks for that.
bool Step::are_finite(const std::vector<double>& norms) const {
  bool finite = true;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    const int32_t set = norm_set_of(i);
    const double norm = set == kNoNorm ? 0.0 : norms[static_cast<std::size_t>(set)];
    if (std::isfinite(norm)) continue;
    if (groups_[i]->recipe().error_if_nonfinite) refuse_norm(norm);
    finite = false;
  }
  return finite;
}

// The norms of a step on a GPU, which skips the update by itself where one is not finite.
void Step::launch_norms() {
  if (!devices_.used() || !clips()) return;
  const bool raises = std::any_of(groups_.begin(), groups_.end(), [](const auto& group) {
    return norm_set(group->recipe(), 0) != kNoNorm && group->recipe().error_if_nonfinite;
  });
  if (raises && devices_.recording()) {
    raise(ErrorKind::runtime, "A captured step cannot raise for gradients that are not finite", "error_if_nonfinite",
          "Set it to False: such a step is skipped.");
  }
  if (!devices_.launch_norms()) return;
  norms_on_device_ = true;
  if (raises && !devices_.norms_finite()) are_finite(devices_.norms());
}

}  // namespace fastlr
