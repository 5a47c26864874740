#include "tensor/scheduled.h"

#include <pybind11/pybind11.h>

#include <cmath>
#include <cstring>
#include <string>

#include "check.h"
#include "cpu/kernels.h"

namespace py = pybind11;

namespace fastlr {
namespace {

[[noreturn]] void refuse(ErrorKind kind, PyObject* name, PyObject* value, const char* remedy) {
  raise(kind, "Invalid " + py::str(py::handle(name)).cast<std::string>() + " in a parameter group",
        py::repr(py::handle(value)).cast<std::string>(), remedy);
}

bool only_torch_reads(PyObject* value) {
  if (PyFloat_Check(value) || PyLong_Check(value) || !py::hasattr(value, "requires_grad")) return false;
  const py::handle tensor(value);
  return tensor.attr("requires_grad").cast<bool>() || !tensor.attr("is_cpu").cast<bool>();
}

}  // namespace

double Evaluations::at(const schedule::Program& program, int64_t t) {
  for (std::size_t i = 0; i < kept_; ++i) {
    if (known_[i].program == &program && known_[i].t == t) return known_[i].value;
  }
  Evaluation& place = known_[next_];
  next_ = (next_ + 1) % kKept;
  if (kept_ < kKept) ++kept_;
  place = {&program, t, kernels().evaluate_one(program.view(), t)};
  return place.value;
}

PyObject* Evaluations::real(double value) {
  // By its bits: -0.0 is another object than 0.0.
  const double held = real_ == nullptr ? 0.0 : PyFloat_AS_DOUBLE(real_);
  if (real_ == nullptr || std::memcmp(&held, &value, sizeof value) != 0) Py_XSETREF(real_, PyFloat_FromDouble(value));
  return Py_XNewRef(real_);
}

PyObject* Evaluations::integer(int64_t value) {
  if (integer_ == nullptr || integer_value_ != value) Py_XSETREF(integer_, PyLong_FromLongLong(value));
  integer_value_ = value;
  return Py_XNewRef(integer_);
}

void Evaluations::clear() {
  kept_ = next_ = 0;
  Py_CLEAR(real_);
  Py_CLEAR(integer_);
}

double number(PyObject* name, PyObject* value) {
  const double as_float = PyFloat_CheckExact(value) ? PyFloat_AS_DOUBLE(value) : PyFloat_AsDouble(value);
  if (as_float == -1.0 && PyErr_Occurred()) {
    PyErr_Clear();
    refuse(ErrorKind::type, name, value, "Write a number there; for a schedule use optimizer.set_schedule().");
  }
  if (std::isnan(as_float)) {
    refuse(ErrorKind::value, name, value,
           "Write a number there before step(), or make a longer schedule where it has ended.");
  }
  return as_float;
}

double number(const Field& field, PyObject* name, PyObject* value) {
  const double found = number(name, value);
  if (!field.takes(found)) refuse(ErrorKind::value, name, value, "Write what the constructor takes, too.");
  return found;
}

Scheduled::Scheduled(const Field& field, Entries& entries)
    : field_(field),
      entries_(entries),
      place_(entries.add(field.entry)),
      schedule_place_(entries.add(field.name + "_schedule")),
      name_(PyUnicode_InternFromString(field.name.c_str())) {}

Scheduled::~Scheduled() {
  Py_XDECREF(schedule_);
  Py_XDECREF(owner_);
  Py_XDECREF(name_);
}

void Scheduled::follow() {
  PyObject* schedule = entries_[schedule_place_];
  if (schedule == schedule_) return;
  py::object owner;
  const schedule::Program* program = nullptr;
  int64_t length = -1;
  if (schedule != Py_None) {
    if (!py::hasattr(schedule, "program")) {
      refuse(ErrorKind::type, entries_.name(schedule_place_), schedule,
             "Use optimizer.set_schedule(), or None for a constant.");
    }
    owner = py::handle(schedule).attr("program");
    program = &owner.cast<const schedule::Program&>();
    const py::object own_length = py::handle(schedule).attr("length");
    if (!own_length.is_none()) length = own_length.cast<int64_t>();
  }
  Py_INCREF(schedule);
  Py_XSETREF(schedule_, schedule);
  Py_XSETREF(owner_, owner.release().ptr());
  program_ = program;
  length_ = length;
  known_ = false;
}

// The entry, or the element of it, that is this hyper-parameter.
PyObject* Scheduled::own() const {
  PyObject* entry = entries_[place_];
  if (field_.index < 0) return entry;
  const bool tuple = PyTuple_Check(entry), list = PyList_Check(entry);
  const Py_ssize_t size = tuple ? PyTuple_GET_SIZE(entry) : list ? PyList_GET_SIZE(entry) : 0;
  if (field_.index >= size) refuse(ErrorKind::type, entries_.name(place_), entry, "Put a tuple of numbers there.");
  return tuple ? PyTuple_GET_ITEM(entry, field_.index) : PyList_GET_ITEM(entry, field_.index);
}

double Scheduled::read(int64_t t, double scale, Evaluations& known) {
  follow();
  overridden_ = ended_at_zero_ = left_to_torch_ = false;
  PyObject* value = own();
  if (program_ == nullptr) {
    const bool optional = !std::isnan(field_.absent);
    if (optional && value == Py_None) return field_.absent;
    left_to_torch_ = !optional && !PyFloat_CheckExact(value) && only_torch_reads(value);
    return left_to_torch_ ? 0.0 : number(field_, name_, value);
  }
  const double present = number(field_, name_, value);
  const double unscaled = known.at(*program_, t);
  const double scheduled = unscaled * scale;
  overridden_ = !is_own(present, unscaled, scale);
  if (overridden_) return present;
  known_ = true;
  written_ = present;
  ended_at_zero_ = length_ >= 0 && t >= length_ && scheduled == 0.0;
  return scheduled;
}

// What was written after the last update, or before the first one, stays the schedule's own, although lr_scale has
// changed since.
bool Scheduled::is_own(double present, double unscaled, double scale) const {
  return present == unscaled * scale || present == (known_ ? written_ : unscaled);
}

void Scheduled::look(int64_t t, double scale, Evaluations& known) {
  if (program_ == nullptr) return;
  PyObject* value = own();
  const double present = PyFloat_Check(value) || PyLong_Check(value) ? PyFloat_AsDouble(value) : 0.0;
  PyErr_Clear();
  // Not a number is what an ended schedule leaves.
  overridden_ = !std::isnan(present) && !is_own(present, known.at(*program_, t), scale);
}

void Scheduled::write(PyObject* group, int64_t t, double scale, Evaluations& known) {
  if (program_ == nullptr || overridden_) return;
  written_ = known.at(*program_, t) * scale;
  known_ = true;
  PyObject* value = known.real(written_);
  if (field_.index < 0) return entries_.put(group, place_, value);
  // Another element of the tuple may have been written just before.
  py::object element = py::reinterpret_steal<py::object>(value);
  py::list elements(py::reinterpret_borrow<py::object>(entries_[place_]));
  elements[static_cast<std::size_t>(field_.index)] = element;
  entries_.put(group, place_, PyList_AsTuple(elements.ptr()));
}

}  // namespace fastlr
