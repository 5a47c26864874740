// One parameter of a step: its memory, its gradient's and its state's.
#include <string>
#include <utility>

#include "check.h"
#include "tensor/aside.h"
#include "tensor/gather.h"
#include "tensor/local.h"

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

// Whether the core updates state of that dtype. What nothing asked for keeps torch's own bits; beside 16 bits, where
// the core has bits of its own, there is state that was loaded, or made while there was a master.
bool may_hold(DType param, DType state, const Group& group) {
  if (param == state) return true;
  const bool narrow = param == DType::float16 || param == DType::bfloat16;
  const bool wider = state == DType::float64 && param != DType::float64;
  return (narrow || group.gives_state_dtype()) && state != DType::unsupported && !wider;
}

}  // namespace

// What torch's operators have to do leaves no trace.
Access Step::gather_param(PyObject* param, const Group& group) {
  const std::size_t entries = new_entries_.size(), counts = counts_.size(), first_writes = first_writes_.size(),
                    relaid = relaid_.size();
  const Access access = take(param, group);
  if (access == Access::foreign) {
    new_entries_.erase(new_entries_.begin() + static_cast<std::ptrdiff_t>(entries), new_entries_.end());
    counts_.resize(counts);
    first_writes_.resize(first_writes);
    relaid_.resize(relaid);
  }
  return access;
}

Access Step::view_part(PyObject* tensor, PyObject* like, TensorView& out) {
  if (like == nullptr) return view(tensor, out);
  PyObject* local = local_part(tensor, like);
  alive_.take(local);
  return local == nullptr ? Access::foreign : view(local, out);
}

// The parameter and its gradient.
Access Step::view_parts(Param& param, TensorView& grad) {
  PyObject* owner = nullptr;
  if (is_distributed(param.tensor)) {
    current_ = param.tensor;
    distributed_ = true;  // also without a gradient here: other ranks may have one
    hold_gradients();     // looking into a DTensor runs Python code
    owner = gradient(param.tensor);
    alive_.take(owner);
    if (owner == nullptr || owner == Py_None) return Access::none;
    param.like = param.tensor;
    if (view_part(owner, param.like, grad) != Access::native) return Access::foreign;
    return view_part(param.tensor, param.like, param.view);
  }
  const Access access = view_gradient(param.tensor, grad, &owner);
  if (access == Access::none) return access;
  if (owner == nullptr && holds_gradients_) owner = gradient(param.tensor);
  alive_.take(owner);
  current_ = param.tensor;
  return view(param.tensor, param.view) == Access::native ? access : Access::foreign;
}

Access Step::take(PyObject* tensor, const Group& group) {
  TensorView g;
  Param param(tensor);
  const Access access = view_parts(param, g);
  if (access != Access::native || group.differentiable() || group.left_to_torch() || leave_all_) {
    return access == Access::none ? access : Access::foreign;
  }
  const TensorView& p = param.view;
  if (!usable(tensor, p) || p.dtype == DType::unsupported || !dense(p)) return Access::foreign;
  param.has_extra = grad_scale_ || group.has_recipe();
  // Its second update would read the state and the count that its first one leaves.
  if (repeated_[cursor_] != Repeated::never && (!rule_.writes_first || param.has_extra)) return Access::foreign;
  check_gradient(p, g);
  if (!same_strides(p, g)) {
    if (!relay_gradient(param, g)) return Access::foreign;
    if (group.recipe().zero_grad_in_step) relaid_.push_back(tensor);
  }
  Span span{p.data, g.data, {}, p.size, 0, false};
  if (!add_states(param, group, span)) return Access::foreign;
  const Extra* extra = param.has_extra ? &param.extra : nullptr;
  if (p.device_type == TensorView::kCuda) {
    devices_.add(p, plan_.task(p.dtype, span), extra, static_cast<int32_t>(cursor_),
                 repeated_[cursor_] == Repeated::again, param.made);
  } else {
    plan_.add(p.dtype, span, extra);
    in_order_ |= repeated_[cursor_] == Repeated::again;
  }
  return Access::native;
}

bool Step::usable(PyObject* param, const TensorView& view) {
  if (view.device_type == TensorView::kCuda) return devices_.usable(param, view);
  return view.device_type == TensorView::kCpu && kernels().updates;
}

// A gradient that lies in another order than its parameter is copied into that order.
bool Step::relay_gradient(const Param& param, TensorView& grad) {
  hold_gradients();
  const py::handle tensor(param.tensor);
  py::object copy = names().empty_like(tensor).attr("copy_")(tensor.attr("grad"));
  alive_.hold(copy.ptr());
  return view_part(copy.ptr(), param.like, grad) == Access::native && same_strides(param.view, grad);
}

// Gradients may be read without a reference while nothing else can run. Called before something can.
void Step::hold_gradients() {
  if (std::exchange(holds_gradients_, true)) return;
  for (PyObject* param : written_.objects()) alive_.take(gradient(param));
  if (current_ != nullptr) alive_.take(gradient(current_));
}

py::object Step::new_buffer(const Param& param, bool written) {
  const py::handle tensor(param.tensor);
  const Aside aside(devices_.captured(param.view));
  // A GPU that skips the update leaves it as it is.
  const bool read = !written || found_inf_ || clips() || aside.stream() != 0;
  return names().new_state(tensor, py::handle(group_dict_), py::arg("read") = read, py::arg("stream") = aside.stream());
}

// The parameter's entry of that name, borrowed, or nullptr. They are asked for in the order in which they were made.
PyObject* Step::entry(Param& param, PyObject* name) {
  if (param.entries == nullptr) return nullptr;
  PyObject* key;
  PyObject* value;
  if (!PyDict_Next(param.entries, &param.next, &key, &value) || key != name) {
    value = PyDict_GetItemWithError(param.entries, name);
    if (value == nullptr && PyErr_Occurred()) throw py::error_already_set();
  }
  return value == Py_None ? nullptr : value;
}

// False: what the caller put there is not laid out like its parameter.
bool Step::add_states(Param& param, const Group& group, Span& span) {
  unsigned wanted = 0;
  for (std::size_t k = 0; k < names_.states.size(); ++k) {
    const int state = static_cast<int>(k);
    // A graph goes on to where a schedule is no longer 0.
    const bool may_come = param.view.device_type == TensorView::kCuda && group.may_need(state);
    if (group.needs(state) || may_come) wanted |= 1u << k;
  }
  if (wanted == 0 && !rule_.counts && !param.has_extra) return true;
  param.entries = state_of(param.tensor);
  if (rule_.counts) add_count(param, span);
  for (std::size_t k = 0; k < names_.states.size(); ++k) {
    const int state = static_cast<int>(k);
    if ((wanted >> k & 1u) != 0 && !add_state(param, group, state, group.needs(state), span)) return false;
  }
  return !param.has_extra || add_extra(param, group);
}

void Step::add_count(Param& param, Span& span) {
  PyObject* held = entry(param, names_.step);
  Count count;
  if (held != nullptr && count.find(held)) {
    alive_.hold(held);
  } else {
    hold_gradients();
    const py::handle present(held != nullptr ? held : Py_None);
    py::object made = names().as_step(present);
    count.find(made.ptr());
    new_entries_.push_back({param.tensor, names_.step, std::move(made), true, false});
    param.made = true;
  }
  span.updates = last_updates_ = count.updates();
  counts_.push_back(count);
}

bool Step::add_state(Param& param, const Group& group, int k, bool written, Span& span) {
  const auto at = static_cast<std::size_t>(k);
  PyObject* held = entry(param, names_.states[at]);
  TensorView buffer;
  const TensorView& like = param.view;
  if (held == nullptr) {
    hold_gradients();
    const bool first = written && rule_.writes_first;
    py::object fresh = new_buffer(param, first);
    if (view_part(fresh.ptr(), param.like, buffer) != Access::native || !same_strides(buffer, like)) return false;
    if (buffer.dtype == DType::unsupported) return false;
    new_entries_.push_back({param.tensor, names_.states[at], std::move(fresh), first, true});
    param.made = param.made || !rule_.counts;  // with a count of its own, state that comes later leaves that as it is
    span.first = true;
  } else {
    if (view_part(held, param.like, buffer) != Access::native || !same_device(buffer, like)) return false;
    if (!may_hold(like.dtype, buffer.dtype, group)) return false;
    if (!same_shape(buffer, like) || !same_strides(buffer, like)) return false;
    alive_.hold(held);
    seen_[cursor_].buffer[at] = held;
    seen_[cursor_].implementation[at] = implementation(held);
    if (rule_.writes_first) {
      span.first = is_unwritten(param.tensor);
      if (span.first && written) first_writes_.push_back(param.tensor);
    }
  }
  if (!rule_.counts) span.updates = span.first ? 0 : cuda::kSomeUpdates;
  span.state[k] = buffer.data;
  param.extra.state_dtype[k] = buffer.dtype;
  param.has_extra = param.has_extra || buffer.dtype != like.dtype;
  return true;
}

// The state of a parameter that comes soon, where it was at the last step: an address that is wrong by now does no
// harm.
void Step::ask_ahead() const {
  constexpr std::size_t kAhead = 6;
  if (cursor_ + kAhead >= seen_.size()) return;
  const Seen& soon = seen_[cursor_ + kAhead];
  __builtin_prefetch(soon.entries);
  for (std::size_t k = 0; k < names_.states.size(); ++k) {
    __builtin_prefetch(soon.buffer[k]);
    prefetch_lines(soon.implementation[k]);
  }
}

bool Step::is_unwritten(PyObject* param) {
  if (PySet_GET_SIZE(unwritten_.ptr()) == 0) return false;
  hold_gradients();  // hashing a tensor runs Python code
  const int found = PySet_Contains(unwritten_.ptr(), param);
  if (found < 0) throw py::error_already_set();
  return found == 1;
}

// The parameter's entry in the state, borrowed, or nullptr. Hashing a tensor runs Python code, so two places are looked
// at first: where it was last time, and behind the parameter before.
PyObject* Step::state_of(PyObject* param) {
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
