#include "tensor/gather.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "check.h"

namespace fastlr {
py::object Step::prepare(const py::list& groups, const py::dict& state, const py::set& unwritten) {
  forget_gathered();
  group_dicts_ = groups;
  state_ = state;
  unwritten_ = unwritten;
  try {
    read_and_gather();
    if (found_inf_) read_found_inf();
    if (must_skip_) return fallback_;
    if (recorded_ && !devices_.recording()) devices_.join_idle();
    if (devices_.recording()) check_recording();
    if (devices_.used()) devices_.tell(settings(), static_cast<int32_t>(cursor_));
    if (grad_scale_ || found_inf_) give_scale();
    known_.clear();
  } catch (...) {
    abandon();
    throw;
  }
  const bool needs_help = !fallback_.empty() || (distributed_ && clips());
  return needs_help ? py::object(fallback_) : py::object(py::none());
}

// Once more with what GPUs have counted where one may have skipped an update, and more than that GPU depends on it.
void Step::read_and_gather() {
  try {
    read_groups(group_dicts_);
  } catch (const Error&) {  // a schedule has no value at a count that the GPU has not reached
    if (!devices_.uncertain()) throw;
    learn_progress();
  }
  find_repeated();
  gather();
  if (!devices_.uncertain()) return;
  if (plan_.tasks().empty() && fallback_.empty() && !devices_.differ()) return;
  learn_progress();
  gather();
}

void Step::learn_progress() {
  forget_gathered();
  sync(group_dicts_, state_, unwritten_);
  read_groups(group_dicts_);
}

void Step::gather() {
  const auto gather_groups = [this] {
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      plan_.add_group(groups_[i]->hyper(), groups_[i]->step_count());
      gather_group(i);
    }
  };
  leave_all_ = false;
  gather_groups();
  if (!is_spread() || !clips()) return;
  forget_gathered();
  leave_all_ = true;
  gather_groups();
}

// What would run now instead of being recorded, or would be recorded with values that never change.
void Step::check_recording() const {
  const auto refuse = [](const char* problem, std::size_t count) {
    raise(ErrorKind::runtime, std::string("A captured step has parameters ") + problem, std::to_string(count),
          "Give them an optimizer of their own, outside of the capture.");
  };
  if (!plan_.tasks().empty()) refuse("on the CPU", plan_.tasks().size());
  if (const int others = devices_.eager()) refuse("on GPUs that are not captured", static_cast<std::size_t>(others));
  for (const py::handle left : fallback_) {
    const py::tuple entry = py::reinterpret_borrow<py::tuple>(left);
    if (!groups_[entry[0].cast<std::size_t>()]->follows()) continue;
    refuse("that follow a schedule and only torch's operators can update", py::len(entry[2]));
  }
}

void Step::read_groups(const py::list& groups) {
  while (groups_.size() < groups.size()) groups_.push_back(std::make_unique<Group>(rule_));
  groups_.resize(groups.size());
  group_updates_.assign(groups.size(), cuda::kSomeUpdates);
  known_.clear();
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (i + 1 < groups_.size()) groups_[i + 1]->ask_ahead();
    groups_[i]->read(PyList_GET_ITEM(groups.ptr(), static_cast<Py_ssize_t>(i)), known_);
  }
}

// Looked for again when the number of parameters has changed.
void Step::find_repeated() {
  Py_ssize_t count = 0;
  for (const auto& group : groups_) count += PyList_GET_SIZE(group->params());
  if (static_cast<std::size_t>(count) == repeated_.size()) return;
  repeated_.clear();
  std::unordered_map<const PyObject*, std::size_t> known;
  for (const auto& group : groups_) {
    PyObject* params = group->params();
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(params); ++i) {
      const auto [found, is_new] = known.emplace(PyList_GET_ITEM(params, i), repeated_.size());
      repeated_.push_back(is_new ? Repeated::never : Repeated::again);
      if (!is_new && repeated_[found->second] == Repeated::never) repeated_[found->second] = Repeated::first;
    }
  }
}

std::vector<cuda::GroupSetting> Step::settings() const {
  std::vector<cuda::GroupSetting> all;
  for (std::size_t i = 0; i < groups_.size(); ++i) all.push_back(groups_[i]->setting(group_updates_[i]));
  return all;
}

void Step::gather_group(std::size_t index) {
  const Group& values = *groups_[index];
  group_dict_ = PyList_GET_ITEM(group_dicts_.ptr(), static_cast<Py_ssize_t>(index));
  PyObject* params = values.params();
  py::object left;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(params); ++i, ++cursor_) {
    prefetch(params, i);
    ask_ahead();
    PyObject* param = PyList_GET_ITEM(params, i);
    const Access access = gather_param(param, values);
    if (access == Access::native) written_.hold(param);
    if (access == Access::native && rule_.counts) {
      group_updates_[index] = std::max(group_updates_[index], last_updates_);
    }
    if (access != Access::foreign) continue;
    if (!left) left = py::list();
    py::reinterpret_borrow<py::list>(left).append(py::handle(param));
  }
  current_ = nullptr;
  if (!left) return;
  hold_gradients();  // until finish(), torch's operators run
  fallback_.append(py::make_tuple(index, values.values(), left));
}

}  // namespace fastlr
