// The second half of a step: the update of what prepare() found, and what the groups then say.
#include <pybind11/gil_safe_call_once.h>

#include <algorithm>

#include "check.h"
#include "cpu/run.h"
#include "tensor/gather.h"
#include "tensor/names.h"

namespace fastlr {

const Names& names() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<Names> storage;
  return storage.call_once_and_store_result([] { return Names(); }).get_stored();
}

int SgdStep::finish() {
  const bool recording = devices_.recording();
  run_updates();
  for (const NewBuffer& made : new_buffers_) {
    const py::object entries = state_[py::handle(made.param)];
    entries[py::handle(names().momentum_buffer)] = made.buffer;
    if (!made.written || recording) unwritten_.add(py::handle(made.param));
  }
  mark_written();
  int notices = kNothing;
  if (!fallback_.empty() && !devices_.problem().empty()) notices |= kLeftToTorch;
  if (recording) {
    recorded_ = true;
    recorded_bare_.resize(groups_.size());
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      notices |= groups_[i]->follows_rate() ? kNothing : kRecordedConstant;
      recorded_bare_[i] |= groups_[i]->has_momentum() ? 0 : 1;
    }
  } else {
    for (PyObject* param : first_writes_) {
      if (PySet_Discard(unwritten_.ptr(), param) < 0) throw py::error_already_set();
    }
    notices |= commit() | lacking_momentum();
  }
  abandon();
  return notices;
}

void SgdStep::run_updates() {
  if (devices_.used()) devices_.launch();
  if (plan_.elements() < kThreadedElements || in_order_) return run(plan_, 1);
  hold_gradients();
  const int threads = names().get_num_threads().cast<int>();
  const py::gil_scoped_release released;
  run(plan_, threads);
}

int SgdStep::commit() {
  int notices = kNothing;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i]->overridden()) notices |= kOverridden;
    if (groups_[i]->ended_at_zero()) notices |= kEndedAtZero;
    groups_[i]->commit(PyList_GET_ITEM(group_dicts_.ptr(), static_cast<Py_ssize_t>(i)));
  }
  return notices;
}

void SgdStep::mark_written() {
  py::list left;
  for (PyObject* param : written_.objects()) {
    if (!bump_version(param)) left.append(py::handle(param));
  }
  if (!left.empty()) names().increment_version(left);
}

void SgdStep::forget() {
  abandon();
  groups_.clear();
  seen_.clear();
  repeated_.clear();
}

void SgdStep::sync(const py::list& groups, const py::set& unwritten) {
  if (groups_.size() != groups.size() || !devices_.known()) return;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    groups_[i]->look(PyList_GET_ITEM(groups.ptr(), static_cast<Py_ssize_t>(i)));
  }
  cuda::Progress progress;
  if (!devices_.look(progress) || progress.clocks.size() != groups_.size()) return;
  std::size_t place = 0;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    PyObject* group = PyList_GET_ITEM(groups.ptr(), static_cast<Py_ssize_t>(i));
    groups_[i]->resume(group, progress.updates, progress.clocks[i]);
    for (const py::handle param : py::handle(group)[py::handle(names().params)]) {
      const bool has_state = place < progress.has_state.size() && progress.has_state[place] != 0;
      if (has_state && PySet_Discard(unwritten.ptr(), param.ptr()) < 0) throw py::error_already_set();
      ++place;
    }
  }
}

int SgdStep::lacking_momentum() const {
  for (std::size_t i = 0; i < std::min(groups_.size(), recorded_bare_.size()); ++i) {
    if (recorded_bare_[i] != 0 && groups_[i]->has_momentum()) return kLacksMomentum;
  }
  return kNothing;
}

int SgdStep::tell(const py::list& groups, const py::dict& state, const py::set& unwritten) {
  if (!devices_.known()) return kNothing;
  try {
    read_groups(groups);
  } catch (const Error&) {
    return kNothing;  // what is no number is refused by the next step
  }
  std::vector<char> fresh;
  for (const py::handle group : groups) {
    for (const py::handle param : group[py::handle(names().params)]) {
      const py::handle buffer(names().momentum_buffer);
      const bool has_state = state.contains(param) && state[param].contains(buffer) && !state[param][buffer].is_none();
      fresh.push_back(has_state && !unwritten.contains(param) ? 0 : 1);
    }
  }
  devices_.tell_all(settings(), fresh);
  return lacking_momentum();
}

void SgdStep::abandon() {
  plan_.clear();
  in_order_ = false;
  devices_.clear();
  new_buffers_.clear();
  first_writes_.clear();
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
