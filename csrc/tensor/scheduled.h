// A hyper-parameter that may follow a schedule, in one parameter group.
#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

#include "rule/info.h"
#include "schedule/program.h"
#include "tensor/entries.h"

namespace fastlr {

// What the groups of a model share: the last values that schedules were asked for, and the last objects written. Only
// while the programs live.
class Evaluations {
 public:
  Evaluations() = default;
  ~Evaluations() { clear(); }
  Evaluations(const Evaluations&) = delete;
  Evaluations& operator=(const Evaluations&) = delete;

  double at(const schedule::Program& program, int64_t t);
  // The number as a Python object, a new reference.
  PyObject* real(double value);
  PyObject* integer(int64_t value);
  void clear();

 private:
  static constexpr std::size_t kKept = 8;
  struct Evaluation {
    const schedule::Program* program;
    int64_t t;
    double value;
  };

  Evaluation known_[kKept] = {};
  std::size_t kept_ = 0;
  std::size_t next_ = 0;
  PyObject* real_ = nullptr;
  PyObject* integer_ = nullptr;
  int64_t integer_value_ = 0;
};

// The number that an entry of a group holds. Raises on what is none.
double number(PyObject* name, PyObject* value);
// The same of a hyper-parameter. Raises on what it does not take, too.
double number(const Field& field, PyObject* name, PyObject* value);

// The group's entry mirrors the value of the next update; a value there that fastlr did not write is somebody else's,
// and is used.
class Scheduled {
 public:
  Scheduled(const Field& field, Entries& entries);
  ~Scheduled();
  Scheduled(const Scheduled&) = delete;
  Scheduled& operator=(const Scheduled&) = delete;

  // The value for the update at step t. Raises on a value that is not a number.
  double read(int64_t t, double scale, Evaluations& known);
  // Whether somebody wrote over what the schedule has at step t, where nothing is updated.
  void look(int64_t t, double scale, Evaluations& known);
  void write(PyObject* group, int64_t t, double scale, Evaluations& known);

  const Field& field() const { return field_; }
  bool follows() const { return program_ != nullptr; }
  bool overridden() const { return overridden_; }
  // The schedule is over and its last value was 0.
  bool ended_at_zero() const { return ended_at_zero_; }
  // Only torch's operators can honour the group's own entry: a tensor that autograd follows, or one on another device
  // than the CPU, which would have to be waited for.
  bool left_to_torch() const { return left_to_torch_; }
  const schedule::Program* program() const { return program_; }

 private:
  void follow();
  PyObject* own() const;
  bool is_own(double present, double unscaled, double scale) const;

  const Field& field_;
  Entries& entries_;
  std::size_t place_;
  std::size_t schedule_place_;
  PyObject* const name_;
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

}  // namespace fastlr
