// One parameter group's hyper-parameters: what the next update uses, and what is written back after it.
#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "cuda/step.h"
#include "rule/info.h"
#include "tensor/entries.h"
#include "tensor/scheduled.h"

namespace fastlr {

class Group {
 public:
  explicit Group(const RuleInfo& rule);

  void read(PyObject* group, Evaluations& known);
  // After the update: counts, and the values of the next update.
  void commit(PyObject* group, Evaluations& known);
  // What was written into the group since the last update, before resume().
  void look(PyObject* group, Evaluations& known);
  // After updates that the host did not see: as commit(). The schedules' clock went on by `clocked` of them.
  void resume(PyObject* group, int64_t updates, int64_t clocked, Evaluations& known);
  // What a GPU has to know. `updates`: of most of the group's tensors.
  cuda::GroupSetting setting(int64_t updates) const;
  // The values in use of what may follow a schedule, by name.
  pybind11::dict values() const;

  // Ask for its memory before it is read: the groups of a model lie scattered.
  void ask_ahead() const;
  // Its parameters, as they were read. Raises where they are no list.
  PyObject* params() const;
  const HyperBytes& hyper() const { return hyper_; }
  bool overridden() const { return overridden_; }
  bool ended_at_zero() const { return rate().ended_at_zero(); }
  const Recipe& recipe() const { return hyper_.recipe; }
  // Its updates are more than the rule's own.
  bool has_recipe() const { return has_recipe_; }
  int64_t step_count() const { return step_count_; }
  bool differentiable() const { return differentiable_; }
  // Its state may be of another dtype than its parameters.
  bool gives_state_dtype() const { return gives_state_dtype_; }
  bool left_to_torch() const { return left_to_torch_; }
  bool follows() const;
  bool follows_rate() const { return rate().follows(); }
  // An update changes this state, now, or once a schedule's value is no longer 0.
  bool needs(int state) const { return (needed_ >> state & 1u) != 0; }
  bool may_need(int state) const;
  // What its updates are made of: a bit for each state that may be needed, and the options of the recipe behind them.
  unsigned parts() const;
  // That of options which need no memory of their own.
  static constexpr unsigned kAround = 1u << kMaxStates;

 private:
  const Scheduled& rate() const { return scheduled_.front(); }
  template <class Visit>
  void visit(Visit visit);
  void read_clock();
  void read_constants();
  void write_next(PyObject* group, Evaluations& known);
  void summarise();

  const RuleInfo& rule_;
  Entries entries_;
  std::deque<Scheduled> scheduled_;
  std::vector<std::pair<const Field*, std::size_t>> constants_;  // with their places among the entries
  std::size_t params_place_;
  std::size_t lr_scale_place_;
  std::size_t plateau_;
  std::size_t step_count_place_;
  std::size_t held_steps_place_;
  std::size_t differentiable_place_;
  std::size_t state_dtype_place_;

  HyperBytes hyper_{};
  int64_t step_count_ = 0;
  int64_t held_steps_ = 0;
  double lr_scale_ = 1.0;  // what the group and a plateau rule multiply the schedule by
  bool differentiable_ = false;
  bool gives_state_dtype_ = false;
  bool constants_known_ = false;  // those of hyper_, as long as the entries are the same objects
  unsigned needed_ = 0;           // a bit for each state
  bool has_recipe_ = false;
  bool overridden_ = false;
  bool left_to_torch_ = false;
};

}  // namespace fastlr
