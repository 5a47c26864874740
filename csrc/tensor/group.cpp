#include "tensor/group.h"

#include <pybind11/pybind11.h>

#include <cmath>
#include <string>

#include "check.h"
#include "cpu/kernels.h"

namespace py = pybind11;

namespace fastlr {
namespace {

PyObject* intern(const std::string& text) { return PyUnicode_InternFromString(text.c_str()); }

// The group's entry, borrowed.
PyObject* entry(PyObject* group, PyObject* key) {
  PyObject* value = PyDict_GetItemWithError(group, key);
  if (value != nullptr) return value;
  if (PyErr_Occurred()) throw py::error_already_set();
  raise(ErrorKind::runtime, "A parameter group has lost an entry", py::str(py::handle(key)).cast<std::string>(),
        "Put it back, or add the group with add_param_group().");
}

[[noreturn]] void refuse(ErrorKind kind, PyObject* key, PyObject* value, const char* remedy) {
  raise(kind, "Invalid " + py::str(py::handle(key)).cast<std::string>() + " in a parameter group",
        py::repr(py::handle(value)).cast<std::string>(), remedy);
}

double number(PyObject* group, PyObject* key) {
  PyObject* value = entry(group, key);
  const double as_float = PyFloat_CheckExact(value) ? PyFloat_AS_DOUBLE(value) : PyFloat_AsDouble(value);
  if (as_float == -1.0 && PyErr_Occurred()) {
    PyErr_Clear();
    refuse(ErrorKind::type, key, value, "Write a number there; for a schedule use optimizer.set_schedule().");
  }
  if (std::isnan(as_float)) {
    refuse(ErrorKind::value, key, value,
           "Write a number there before step(), or make a longer schedule where it has ended.");
  }
  return as_float;
}

int64_t integer(PyObject* group, PyObject* key) {
  const int64_t value = PyLong_AsLongLong(entry(group, key));
  if (value == -1 && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

bool flag(PyObject* group, PyObject* key) {
  PyObject* value = entry(group, key);
  return value == Py_True || (value != Py_False && value != Py_None && PyObject_IsTrue(value) == 1);
}

void put(PyObject* group, PyObject* key, PyObject* new_reference) {
  const py::object value = py::reinterpret_steal<py::object>(new_reference);
  if (!value || PyDict_SetItem(group, key, value.ptr()) != 0) throw py::error_already_set();
}

// What reports to a plateau rule have made of the rate: the first entry of its state, 1 before the first report.
double reduction(PyObject* group, PyObject* key) {
  PyObject* state = entry(group, key);
  if (state == Py_None) return 1.0;
  const double scale =
      PyList_Check(state) && PyList_GET_SIZE(state) > 0 ? PyFloat_AsDouble(PyList_GET_ITEM(state, 0)) : std::nan("");
  if (PyErr_Occurred()) PyErr_Clear();
  if (!(scale >= 0.0 && scale <= 1.0)) refuse(ErrorKind::value, key, state, "Put back what report() wrote, or None.");
  return scale;
}

struct Keys {
  PyObject* const dampening = intern("dampening");
  PyObject* const nesterov = intern("nesterov");
  PyObject* const maximize = intern("maximize");
  PyObject* const differentiable = intern("differentiable");
  PyObject* const lr_scale = intern("lr_scale");
  PyObject* const plateau = intern("plateau");
  PyObject* const step_count = intern("step_count");
  PyObject* const held_steps = intern("held_steps");
};

const Keys& keys() {
  static const Keys* found = new Keys();
  return *found;
}

bool only_torch_reads(PyObject* value) {
  if (PyFloat_Check(value) || PyLong_Check(value) || !py::hasattr(value, "requires_grad")) return false;
  const py::handle tensor(value);
  return tensor.attr("requires_grad").cast<bool>() || !tensor.attr("is_cpu").cast<bool>();
}

}  // namespace

Scheduled::Scheduled(const char* name) : name_(intern(name)), schedule_name_(intern(std::string(name) + "_schedule")) {}

Scheduled::~Scheduled() {
  Py_XDECREF(schedule_);
  Py_XDECREF(owner_);
  Py_XDECREF(schedule_name_);
  Py_XDECREF(name_);
}

void Scheduled::follow(PyObject* schedule) {
  if (schedule == schedule_) return;
  py::object owner;
  const schedule::Program* program = nullptr;
  int64_t length = -1;
  if (schedule != Py_None) {
    if (!py::hasattr(schedule, "program")) {
      refuse(ErrorKind::type, schedule_name_, schedule, "Use optimizer.set_schedule(), or None for a constant.");
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

double Scheduled::at(int64_t t) const { return kernels().evaluate_one(program_->view(), t); }

double Scheduled::read(PyObject* group, int64_t t, double scale) {
  follow(entry(group, schedule_name_));
  overridden_ = ended_at_zero_ = left_to_torch_ = false;
  PyObject* own = entry(group, name_);
  if (program_ == nullptr) {
    left_to_torch_ = only_torch_reads(own);
    if (left_to_torch_) return 0.0;
  }
  const double present = number(group, name_);
  if (program_ == nullptr) return present;
  const double unscaled = at(t);
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

void Scheduled::look(PyObject* group, int64_t t, double scale) {
  if (program_ == nullptr) return;
  PyObject* own = entry(group, name_);
  const double present = PyFloat_Check(own) || PyLong_Check(own) ? PyFloat_AsDouble(own) : 0.0;
  PyErr_Clear();
  // Not a number is what an ended schedule leaves.
  overridden_ = !std::isnan(present) && !is_own(present, at(t), scale);
}

void Scheduled::write(PyObject* group, int64_t t, double scale) {
  if (program_ == nullptr || overridden_) return;
  written_ = at(t) * scale;
  known_ = true;
  put(group, name_, PyFloat_FromDouble(written_));
}

void Group::read_clock(PyObject* group) {
  const Keys& key = keys();
  step_count_ = integer(group, key.step_count);
  held_steps_ = integer(group, key.held_steps);
  lr_scale_ = number(group, key.lr_scale) * reduction(group, key.plateau);
}

void Group::read(PyObject* group) {
  const Keys& key = keys();
  read_clock(group);
  const int64_t t = step_count_ - held_steps_;
  hyper_.lr = lr_.read(group, t, lr_scale_);
  hyper_.momentum = momentum_.read(group, t, 1.0);
  hyper_.weight_decay = weight_decay_.read(group, t, 1.0);
  hyper_.dampening = number(group, key.dampening);
  hyper_.nesterov = flag(group, key.nesterov);
  hyper_.maximize = flag(group, key.maximize);
  differentiable_ = flag(group, key.differentiable);
}

void Group::commit(PyObject* group) {
  const Keys& key = keys();
  put(group, key.step_count, PyLong_FromLongLong(++step_count_));
  if (overridden()) put(group, key.held_steps, PyLong_FromLongLong(++held_steps_));
  write_next(group);
}

void Group::look(PyObject* group) {
  read_clock(group);
  const int64_t t = step_count_ - held_steps_;
  lr_.look(group, t, lr_scale_);
  momentum_.look(group, t, 1.0);
  weight_decay_.look(group, t, 1.0);
}

void Group::resume(PyObject* group, int64_t updates, int64_t clocked) {
  const Keys& key = keys();
  step_count_ += updates;
  held_steps_ += updates - clocked;
  put(group, key.step_count, PyLong_FromLongLong(step_count_));
  put(group, key.held_steps, PyLong_FromLongLong(held_steps_));
  write_next(group);
}

void Group::write_next(PyObject* group) {
  const int64_t t = step_count_ - held_steps_;
  lr_.write(group, t, lr_scale_);
  momentum_.write(group, t, 1.0);
  weight_decay_.write(group, t, 1.0);
}

cuda::GroupSetting Group::setting() const {
  cuda::GroupSetting setting{{}, hyper_, lr_scale_, step_count_ - held_steps_, overridden()};
  if (overridden()) return setting;
  setting.follows[cuda::kRate] = lr_.program();
  setting.follows[cuda::kMomentum] = momentum_.program();
  setting.follows[cuda::kWeightDecay] = weight_decay_.program();
  return setting;
}

}  // namespace fastlr
