#include "tensor/gather.h"

#include <pybind11/gil_safe_call_once.h>

#include <string>
#include <utility>

#include "check.h"
#include "cpu/run.h"

namespace fastlr {
namespace {

struct Names {
  PyObject* const params = PyUnicode_InternFromString("params");
  PyObject* const momentum_buffer = PyUnicode_InternFromString("momentum_buffer");
  py::object empty_like = py::module_::import("torch").attr("empty_like");
  py::object get_num_threads = py::module_::import("torch").attr("get_num_threads");
  py::object increment_version = py::module_::import("torch").attr("autograd").attr("graph").attr("increment_version");
};

const Names& names() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<Names> storage;
  return storage.call_once_and_store_result([] { return Names(); }).get_stored();
}

std::string describe(const TensorView& view) {
  std::string text = std::string(name(view.dtype)) + " [";
  for (int i = 0; i < view.ndim; ++i) text += (i == 0 ? "" : ", ") + std::to_string(view.shape[i]);
  return text + "]" + (view.device_type == TensorView::kCpu ? "" : " on another device");
}

void check_gradient(const TensorView& param, const TensorView& grad) {
  const char* differs = grad.device_type != param.device_type ? "device"
                        : grad.dtype != param.dtype           ? "dtype"
                        : !same_shape(grad, param)            ? "shape"
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
    while (groups_.size() < groups.size()) groups_.push_back(std::make_unique<Group>());
    groups_.resize(groups.size());
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      PyObject* group = PyList_GET_ITEM(groups.ptr(), static_cast<Py_ssize_t>(i));
      groups_[i]->read(group);
      plan_.add_group(groups_[i]->hyper());
      gather_group(i, group);
    }
  } catch (...) {
    abandon();
    throw;
  }
  return fallback_.empty() ? py::object(py::none()) : py::object(fallback_);
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
  if (!kernels().updates || group.differentiable() || group.needs_autograd()) return Access::foreign;
  if (view(param, p) == Access::foreign || p.device_type != TensorView::kCpu) return Access::foreign;
  if (p.dtype == DType::unsupported || access == Access::foreign || !dense(p)) return Access::foreign;
  check_gradient(p, g);
  if (!same_strides(p, g) && !relay_gradient(param, p, g)) return Access::foreign;
  Span span{p.data, g.data, nullptr, p.size, false};
  if (group.hyper().momentum != 0.0 && !add_state(param, p, span)) return Access::foreign;
  plan_.add(p.dtype, span);
  return Access::native;
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

// False: the buffer that the caller put there is not laid out like its parameter.
bool SgdStep::add_state(PyObject* param, const TensorView& like, Span& span) {
  PyObject* entries = state_of(param);
  PyObject* held = entries == nullptr ? nullptr : first_or_named(entries, names().momentum_buffer);
  TensorView buffer;
  if (held == nullptr || held == Py_None) {
    hold_gradients();
    py::object fresh = names().empty_like(py::handle(param));
    if (view(fresh.ptr(), buffer) != Access::native || !same_strides(buffer, like)) return false;
    new_buffers_.push_back({param, std::move(fresh)});
    span.first = true;
  } else {
    if (view(held, buffer) != Access::native || buffer.device_type != TensorView::kCpu) return false;
    if (buffer.dtype != like.dtype || !same_shape(buffer, like) || !same_strides(buffer, like)) return false;
    alive_.hold(held);
    seen_[cursor_].buffer = held;
    seen_[cursor_].implementation = implementation(held);
    span.first = is_unwritten(param);
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

int SgdStep::finish() {
  for (const NewBuffer& made : new_buffers_) {
    const py::object entries = state_[py::handle(made.param)];
    entries[py::handle(names().momentum_buffer)] = made.buffer;
  }
  if (plan_.elements() < kThreadedElements) {
    run(plan_, 1);
  } else {
    hold_gradients();
    const int threads = names().get_num_threads().cast<int>();
    const py::gil_scoped_release released;
    run(plan_, threads);
  }
  mark_written();
  int notices = kNothing;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i]->overridden()) notices |= kOverridden;
    if (groups_[i]->ended_at_zero()) notices |= kEndedAtZero;
    groups_[i]->commit(PyList_GET_ITEM(group_dicts_.ptr(), static_cast<Py_ssize_t>(i)));
  }
  abandon();
  return notices;
}

void SgdStep::mark_written() {
  py::list left;
  for (PyObject* param : written_.objects()) {
    if (PySet_GET_SIZE(unwritten_.ptr()) > 0 && PySet_Discard(unwritten_.ptr(), param) < 0) PyErr_Clear();
    if (!bump_version(param)) left.append(py::handle(param));
  }
  if (!left.empty()) names().increment_version(left);
}

void SgdStep::abandon() {
  plan_.clear();
  new_buffers_.clear();
  alive_.clear();
  written_.clear();
  holds_gradients_ = false;
  current_ = nullptr;
  if (!fallback_.empty()) fallback_ = py::list();
  cursor_ = 0;
  behind_ = 0;
  searched_ = false;
}

}  // namespace fastlr
