// One parameter group's hyper-parameters: what the next update uses, and what is written back after it.
#pragma once

#include <Python.h>

#include <cstdint>

#include "cuda/step.h"
#include "rules/hyper.h"
#include "schedule/program.h"

namespace fastlr {

// A hyper-parameter that may follow a schedule. group[name] mirrors the value of the next update; a value there that
// fastlr did not write is somebody else's, and is used.
class Scheduled {
 public:
  explicit Scheduled(const char* name);
  ~Scheduled();
  Scheduled(const Scheduled&) = delete;
  Scheduled& operator=(const Scheduled&) = delete;

  // The value for the update at step t. Raises on a value that is not a number.
  double read(PyObject* group, int64_t t, double scale);
  // Whether somebody wrote over what the schedule has at step t, where nothing is updated.
  void look(PyObject* group, int64_t t, double scale);
  void write(PyObject* group, int64_t t, double scale);

  bool follows() const { return program_ != nullptr; }
  bool overridden() const { return overridden_; }
  // The schedule is over and its last value was 0.
  bool ended_at_zero() const { return ended_at_zero_; }
  // Only torch's operators can honour the group's own entry: a tensor that autograd follows, or one on another device
  // than the CPU, which would have to be waited for.
  bool left_to_torch() const { return left_to_torch_; }
  const schedule::Program* program() const { return program_; }

 private:
  void follow(PyObject* schedule);
  double at(int64_t t) const;
  bool is_own(double present, double unscaled, double scale) const;

  PyObject* const name_;
  PyObject* const schedule_name_;
  PyObject* schedule_ = nullptr;  // kept alive together with its program
  PyObject* owner_ = nullptr;
  const schedule::Program* program_ = nullptr;
  int64_t length_ = -1;  // -1: endless
  bool known_ = false;   // whether written_ is what the group last got from here
  double written_ = 0.0;
  bool overridden_ = false;
  bool ended_at_zero_ = false;
  bool left_to_torch_ = false;
};

class Group {
 public:
  void read(PyObject* group);
  // After the update: counts, and the values of the next update.
  void commit(PyObject* group);
  // What was written into the group since the last update, before resume().
  void look(PyObject* group);
  // After updates that the host did not see: as commit(). The schedules' clock went on by `clocked` of them.
  void resume(PyObject* group, int64_t updates, int64_t clocked);
  // What a GPU has to know.
  cuda::GroupSetting setting() const;

  const SgdHyper& hyper() const { return hyper_; }
  bool overridden() const { return lr_.overridden() || momentum_.overridden() || weight_decay_.overridden(); }
  bool ended_at_zero() const { return lr_.ended_at_zero(); }
  bool differentiable() const { return differentiable_; }
  bool left_to_torch() const { return lr_.left_to_torch() || weight_decay_.left_to_torch(); }
  bool follows() const { return lr_.follows() || momentum_.follows() || weight_decay_.follows(); }
  bool follows_rate() const { return lr_.follows(); }
  bool has_momentum() const { return hyper_.momentum != 0.0 || momentum_.follows(); }
  bool follows_momentum() const { return momentum_.follows(); }

 private:
  void read_clock(PyObject* group);
  void write_next(PyObject* group);

  Scheduled lr_{"lr"};
  Scheduled momentum_{"momentum"};
  Scheduled weight_decay_{"weight_decay"};
  SgdHyper hyper_{};
  int64_t step_count_ = 0;
  int64_t held_steps_ = 0;
  double lr_scale_ = 1.0;  // what the group and a plateau rule multiply the schedule by
  bool differentiable_ = false;
};

}  // namespace fastlr
