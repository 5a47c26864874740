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

int Step::finish() {
  const bool recording = devices_.recording();
  if (!clip()) {
    abandon();
    return kSkipped;
  }
  run_updates();
  zero_relaid();
  for (const NewEntry& made : new_entries_) {
    const py::object entries = state_[py::handle(made.param)];
    entries[py::handle(made.name)] = made.value;
    if (rule_.writes_first && made.of_rule && (!made.written || recording)) unwritten_.add(py::handle(made.param));
  }
  if (!recording) {
    for (const Count& count : counts_) count.set(count.updates() + 1);
  }
  mark_written();
  int notices = kNothing;
  if (!fallback_.empty() && !devices_.problem().empty()) notices |= kLeftToTorch;
  if (recording) {
    recorded_ = true;
    recorded_without_.resize(groups_.size());
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      notices |= groups_[i]->follows_rate() ? kNothing : kRecordedConstant;
      recorded_without_[i] |= ~(groups_[i]->parts() | (devices_.records_rule_alone() ? 0u : Group::kAround));
    }
  } else {
    for (PyObject* param : first_writes_) {
      if (PySet_Discard(unwritten_.ptr(), param) < 0) throw py::error_already_set();
    }
    notices |= commit() | lacking_parts();
  }
  abandon();
  return notices;
}

void Step::run_updates() {
  if (devices_.used()) devices_.launch();
  const int count = in_order_ ? 1 : threads();
  // Another Python thread may step another optimizer meanwhile, where there is enough to do.
  if (count == 1 && plan_.elements() < kThreadedElements) return run(plan_, 1);
  hold_gradients();
  const py::gil_scoped_release released;
  run(plan_, count);
}

int Step::threads() const { return plan_.elements() < kThreadedElements ? 1 : names().get_num_threads().cast<int>(); }

int Step::commit() {
  int notices = kNothing;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i]->overridden()) notices |= kOverridden;
    if (groups_[i]->ended_at_zero()) notices |= kEndedAtZero;
    groups_[i]->commit(PyList_GET_ITEM(group_dicts_.ptr(), static_cast<Py_ssize_t>(i)), known_);
  }
  known_.clear();
  return notices;
}

// The gradients that copies stood for.
void Step::zero_relaid() {
  for (PyObject* param : relaid_) py::handle(param).attr("grad").attr("detach")().attr("zero_")();
}

void Step::mark_written() {
  py::list left;
  for (PyObject* param : written_.objects()) {
    if (!bump_version(param)) left.append(py::handle(param));
  }
  if (!left.empty()) names().increment_version(left);
}

void Step::forget() {
  abandon();
  groups_.clear();
  seen_.clear();
  repeated_.clear();
}

void Step::sync(const py::list& groups, const py::dict& state, const py::set& unwritten) {
  if (groups_.size() != groups.size() || !devices_.known()) return;
  known_.clear();
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    groups_[i]->look(PyList_GET_ITEM(groups.ptr(), static_cast<Py_ssize_t>(i)), known_);
  }
  cuda::Progress progress;
  if (!devices_.look(progress) || progress.clocks.size() != groups_.size()) return;
  std::size_t place = 0;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    PyObject* group = PyList_GET_ITEM(groups.ptr(), static_cast<Py_ssize_t>(i));
    groups_[i]->resume(group, progress.updates, progress.clocks[i], known_);
    for (const py::handle param : py::handle(group)[py::handle(names().params)]) {
      const int64_t updates = place < progress.updates_of.size() ? progress.updates_of[place] : cuda::kSomeUpdates;
      if (updates != cuda::kSomeUpdates) write_updates(state, unwritten, param, updates);
      ++place;
    }
  }
  known_.clear();
}

// Of a parameter on a GPU.
void Step::write_updates(const py::dict& state, py::set unwritten, const py::handle& param, int64_t updates) const {
  if (updates != 0) {
    if (PySet_Discard(unwritten.ptr(), param.ptr()) < 0) throw py::error_already_set();
  } else if (rule_.writes_first && state.contains(param)) {
    for (PyObject* name : names_.states) {
      if (state[param].contains(py::handle(name))) unwritten.add(param);
    }
  }
  if (!rule_.counts || !state.contains(param) || !state[param].contains(py::handle(names_.step))) return;
  const py::object step = state[param][py::handle(names_.step)];
  Count count;
  if (count.find(step.ptr())) count.set(updates);
}

int Step::lacking_parts() const {
  for (std::size_t i = 0; i < std::min(groups_.size(), recorded_without_.size()); ++i) {
    if ((recorded_without_[i] & groups_[i]->parts()) != 0) return kLacksState;
  }
  return kNothing;
}

// Those that wrote the parameter's state, as it stands in the state.
int64_t Step::updates_of(const py::handle& param, const py::dict& state, const py::set& unwritten) const {
  if (!state.contains(param)) return 0;
  const py::object entries = state[param];
  const py::handle first(rule_.counts ? names_.step : names_.states.front());
  if (!entries.contains(first) || entries[first].is_none()) return 0;
  if (!rule_.counts) return unwritten.contains(param) ? 0 : cuda::kSomeUpdates;
  const py::object step = entries[first];
  Count count;
  return count.find(step.ptr()) ? count.updates() : 0;
}

int Step::tell(const py::list& groups, const py::dict& state, const py::set& unwritten) {
  if (!devices_.known()) return kNothing;
  try {
    read_groups(groups);
  } catch (const Error&) {
    return kNothing;  // what is no number is refused by the next step
  }
  known_.clear();
  std::vector<int64_t> updates;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (const py::handle param : groups[i][py::handle(names().params)]) {
      updates.push_back(updates_of(param, state, unwritten));
      if (rule_.counts) group_updates_[i] = std::max(group_updates_[i], updates.back());
    }
  }
  devices_.tell_all(settings(), updates);
  return lacking_parts();
}

void Step::abandon() {
  forget_gathered();
  grad_scale_ = py::object();
  found_inf_ = py::object();
}

void Step::forget_gathered() {
  must_skip_ = leave_all_ = distributed_ = norms_known_ = false;
  relaid_.clear();
  group_dict_ = nullptr;
  plan_.clear();
  in_order_ = false;
  devices_.clear();
  new_entries_.clear();
  counts_.clear();
  known_.clear();
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
