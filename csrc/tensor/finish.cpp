// The second half of a step: the update of what prepare() found, and what the groups then say.
#include <pybind11/gil_safe_call_once.h>

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
    for (const auto& group : groups_) notices |= group->follows_rate() ? kNothing : kRecordedConstant;
  } else {
    for (PyObject* param : first_writes_) {
      if (PySet_Discard(unwritten_.ptr(), param) < 0) throw py::error_already_set();
    }
    notices |= commit();
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
  cuda::Progress progress;
  if (groups_.size() != groups.size() || !devices_.known() || !devices_.look(progress)) return;
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

void SgdStep::tell(const py::list& groups) {
  if (!devices_.known()) return;
  try {
    read_groups(groups);
  } catch (const Error&) {
    return;  // what is no number is refused by the next step
  }
  devices_.tell_all(settings());
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
