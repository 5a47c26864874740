#include "tensor/gather.h"

#include <string>
#include <unordered_set>
#include <utility>

#include "check.h"
#include "tensor/names.h"

namespace fastlr {
namespace {

std::string describe(const TensorView& view) {
  std::string text = std::string(name(view.dtype)) + " [";
  for (int i = 0; i < view.ndim; ++i) text += (i == 0 ? "" : ", ") + std::to_string(view.shape[i]);
  return text + "]" +
         (view.device_type == TensorView::kCpu    ? ""
          : view.device_type == TensorView::kCuda ? " on GPU " + std::to_string(view.device_id)
                                                  : " on another device");
}

void check_gradient(const TensorView& param, const TensorView& grad) {
  const char* differs = !same_device(grad, param)   ? "device"
                        : grad.dtype != param.dtype ? "dtype"
                        : !same_shape(grad, param)  ? "shape"
                                                    : nullptr;
  if (differs == nullptr) return;
  raise(ErrorKind::runtime, std::string("A gradient has another ") + differs + " than its parameter",
        describe(grad) + " for " + describe(param), "Clear it with zero_grad() and run backward again.");
}

// The entry, borrowed: most often the only one, which needs no hashing.
PyObject* first_or_named(PyObject* entries, PyObject* name) {
  PyObject* key;
  PyObject* value;
  Py_ssize_t place = 0;
  if (PyDict_Next(entries, &place, &key, &value) && key == name) return value;
  return PyDict_GetItemWithError(entries, name);
}

}  // namespace

py::object SgdStep::prepare(const py::list& groups, const py::dict& state, const py::set& unwritten) {
  abandon();
  group_dicts_ = groups;
  state_ = state;
  unwritten_ = unwritten;
  try {
    read_groups(groups);
    find_repeated(groups);
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      plan_.add_group(groups_[i]->hyper());
      gather_group(i, PyList_GET_ITEM(groups.ptr(), static_cast<Py_ssize_t>(i)));
    }
    if (recorded_ && !devices_.recording()) devices_.join_idle();
    if (devices_.recording()) check_recording();
    if (devices_.used()) devices_.tell(settings(), static_cast<int32_t>(cursor_));
  } catch (...) {
    abandon();
    throw;
  }
  return fallback_.empty() ? py::object(py::none()) : py::object(fallback_);
}

// What would run now instead of being recorded, or would be recorded with values that never change.
void SgdStep::check_recording() const {
  const auto refuse = [](const char* problem, std::size_t count) {
    raise(ErrorKind::runtime, std::string("A captured step has parameters ") + problem, std::to_string(count),
          "Give them an optimizer of their own, outside of the capture.");
  };
  if (!plan_.tasks().empty()) refuse("on the CPU", plan_.tasks().size());
  if (const int others = devices_.eager()) refuse("on GPUs that are not captured", static_cast<std::size_t>(others));
  for (const py::handle left : fallback_) {
    const py::tuple entry = py::reinterpret_borrow<py::tuple>(left);
    if (!groups_[entry[0].cast<std::size_t>()]->follows()) continue;
    refuse("that follow a schedule and only torch's operators can update", py::len(entry[4]));
  }
}

void SgdStep::read_groups(const py::list& groups) {
  while (groups_.size() < groups.size()) groups_.push_back(std::make_unique<Group>());
  groups_.resize(groups.size());
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    groups_[i]->read(PyList_GET_ITEM(groups.ptr(), static_cast<Py_ssize_t>(i)));
  }
}

// Looked for again when the number of parameters has changed.
void SgdStep::find_repeated(const py::list& groups) {
  Py_ssize_t count = 0;
  for (const py::handle group : groups) {
    PyObject* params = PyDict_GetItemWithError(group.ptr(), names().params);
    count += params != nullptr && PyList_Check(params) ? PyList_GET_SIZE(params) : 0;
  }
  if (static_cast<std::size_t>(count) == repeated_.size()) return;
  repeated_.clear();
  std::unordered_set<const PyObject*> known;
  for (const py::handle group : groups) {
    PyObject* params = PyDict_GetItemWithError(group.ptr(), names().params);
    if (params == nullptr || !PyList_Check(params)) continue;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(params); ++i) {
      repeated_.push_back(!known.insert(PyList_GET_ITEM(params, i)).second);
    }
  }
}

std::vector<cuda::GroupSetting> SgdStep::settings() const {
  std::vector<cuda::GroupSetting> all;
  for (const auto& group : groups_) all.push_back(group->setting());
  return all;
}

void SgdStep::gather_group(std::size_t index, PyObject* group) {
  PyObject* params = PyDict_GetItemWithError(group, names().params);
  if (params == nullptr || !PyList_Check(params)) {
    raise(ErrorKind::type, "A parameter group has no list of parameters", "group " + std::to_string(index),
          "Add groups with add_param_group().");
  }
  const Group& values = *groups_[index];
  py::list left;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(params); ++i, ++cursor_) {
    prefetch(params, i);
    ask_ahead();
    PyObject* param = PyList_GET_ITEM(params, i);
    const Access access = gather_param(param, values);
    if (access == Access::foreign) left.append(py::handle(param));
    if (access == Access::native) written_.hold(param);
  }
  current_ = nullptr;
  if (left.empty()) return;
  hold_gradients();  // until finish(), torch's operators run
  const SgdHyper& hyper = values.hyper();
  fallback_.append(py::make_tuple(index, hyper.lr, hyper.momentum, hyper.weight_decay, left));
}

Access SgdStep::gather_param(PyObject* param, const Group& group) {
  TensorView g;
  PyObject* owner;
  const Access access = view_gradient(param, g, &owner);
  if (access == Access::none) return access;
  if (owner == nullptr && holds_gradients_) owner = gradient(param);
  alive_.take(owner);
  current_ = param;
  TensorView p;
  if (group.differentiable() || group.left_to_torch()) return Access::foreign;
  if (view(param, p) == Access::foreign || !usable(param, p) || access == Access::foreign) return Access::foreign;
  if (p.dtype == DType::unsupported || !dense(p)) return Access::foreign;
  check_gradient(p, g);
  if (!same_strides(p, g) && !relay_gradient(param, p, g)) return Access::foreign;
  Span span{p.data, g.data, nullptr, p.size, false};
  const bool momentum = group.hyper().momentum != 0.0;
  // A graph goes on to where the momentum's schedule is no longer 0.
  const bool may_come = p.device_type == TensorView::kCuda && group.follows_momentum();
  if ((momentum || may_come) && !add_state(param, p, momentum, span)) return Access::foreign;
  if (p.device_type == TensorView::kCuda) {
    const bool made = !new_buffers_.empty() && new_buffers_.back().param == param;
    devices_.add(p, plan_.task(p.dtype, span), static_cast<int32_t>(cursor_), repeated_[cursor_] != 0, made);
  } else {
    plan_.add(p.dtype, span);
    in_order_ |= repeated_[cursor_] != 0;
  }
  return Access::native;
}

bool SgdStep::usable(PyObject* param, const TensorView& view) {
  if (view.device_type == TensorView::kCuda) return devices_.usable(param, view);
  return view.device_type == TensorView::kCpu && kernels().updates;
}

// A gradient that lies in another order than its parameter is copied into that order.
bool SgdStep::relay_gradient(PyObject* param, const TensorView& like, TensorView& grad) {
  hold_gradients();
  py::object copy = names().empty_like(py::handle(param)).attr("copy_")(py::handle(param).attr("grad"));
  alive_.hold(copy.ptr());
  return view(copy.ptr(), grad) == Access::native && same_strides(like, grad);
}

// Gradients may be read without a reference while nothing else can run. Called before something can.
void SgdStep::hold_gradients() {
  if (std::exchange(holds_gradients_, true)) return;
  for (PyObject* param : written_.objects()) alive_.take(gradient(param));
  if (current_ != nullptr) alive_.take(gradient(current_));
}

py::object SgdStep::new_buffer(PyObject* param, const TensorView& like, bool written) {
  const py::handle tensor(param);
  if (const cuda::Device* device = devices_.captured(like)) {
    const cuda::Relaxed relaxed(device->driver());
    return names().zeros_aside(tensor, reinterpret_cast<uintptr_t>(device->own_stream()));
  }
  return (written ? names().empty_like : names().zeros_like)(tensor);
}

// False: the buffer that the caller put there is not laid out like its parameter.
bool SgdStep::add_state(PyObject* param, const TensorView& like, bool written, Span& span) {
  PyObject* entries = state_of(param);
  PyObject* held = entries == nullptr ? nullptr : first_or_named(entries, names().momentum_buffer);
  TensorView buffer;
  if (held == nullptr || held == Py_None) {
    hold_gradients();
    py::object fresh = new_buffer(param, like, written);
    if (view(fresh.ptr(), buffer) != Access::native || !same_strides(buffer, like)) return false;
    new_buffers_.push_back({param, std::move(fresh), written});
    span.first = true;
  } else {
    if (view(held, buffer) != Access::native || !same_device(buffer, like)) return false;
    if (buffer.dtype != like.dtype || !same_shape(buffer, like) || !same_strides(buffer, like)) return false;
    alive_.hold(held);
    seen_[cursor_].buffer = held;
    seen_[cursor_].implementation = implementation(held);
    span.first = is_unwritten(param);
    if (span.first && written) first_writes_.push_back(param);
  }
  span.state = buffer.data;
  return true;
}

// The state of a parameter that comes soon, where it was at the last step: an address that is wrong by now does no
// harm.
void SgdStep::ask_ahead() const {
  constexpr std::size_t kAhead = 6;
  if (cursor_ + kAhead >= seen_.size()) return;
  const Seen& soon = seen_[cursor_ + kAhead];
  __builtin_prefetch(soon.entries);
  __builtin_prefetch(soon.buffer);
  prefetch_lines(soon.implementation);
}

bool SgdStep::is_unwritten(PyObject* param) {
  if (PySet_GET_SIZE(unwritten_.ptr()) == 0) return false;
  hold_gradients();  // hashing a tensor runs Python code
  const int found = PySet_Contains(unwritten_.ptr(), param);
  if (found < 0) throw py::error_already_set();
  return found == 1;
}

// The parameter's entry in the state, borrowed, or nullptr. Hashing a tensor runs Python code, so two places are looked
// at first: where it was last time, and behind the parameter before.
PyObject* SgdStep::state_of(PyObject* param) {
  if (seen_.size() <= cursor_) seen_.resize(cursor_ + 1);
  PyObject* key;
  PyObject* value;
  for (const Py_ssize_t place : {seen_[cursor_].place, behind_}) {
    Py_ssize_t next = place;
    if (!PyDict_Next(state_.ptr(), &next, &key, &value) || key != param) continue;
    seen_[cursor_].place = place;
    seen_[cursor_].entries = value;
    behind_ = next;
    return PyDict_Check(value) ? value : nullptr;
  }
  hold_gradients();
  PyObject* found = PyDict_GetItemWithError(state_.ptr(), param);
  if (found == nullptr && PyErr_Occurred()) throw py::error_already_set();
  if (found != nullptr && !std::exchange(searched_, true)) {
    // One search a step: hints for state in any order come in time, and never cost more than a walk over it.
    Py_ssize_t place = 0;
    for (Py_ssize_t next = 0; PyDict_Next(state_.ptr(), &next, &key, &value) && key != param;) place = next;
    seen_[cursor_].place = place;
  }
  return found != nullptr && PyDict_Check(found) ? found : nullptr;
}

}  // namespace fastlr
