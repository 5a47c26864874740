#include "tensor/group.h"

#include <cmath>
#include <string>

#include "check.h"

namespace py = pybind11;

namespace fastlr {
namespace {

int64_t integer(PyObject* value) {
  const int64_t number = PyLong_AsLongLong(value);
  if (number == -1 && PyErr_Occurred()) throw py::error_already_set();
  return number;
}

bool flag(PyObject* value) {
  return value == Py_True || (value != Py_False && value != Py_None && PyObject_IsTrue(value) == 1);
}

// A tensor, say, is the same object with another value.
bool is_unchanging(PyObject* value) {
  return value == Py_None || PyFloat_CheckExact(value) || PyLong_CheckExact(value) || PyBool_Check(value);
}

// What reports to a plateau rule have made of the rate: the first entry of its state, 1 before the first report.
double reduction(PyObject* state) {
  if (state == Py_None) return 1.0;
  const double scale =
      PyList_Check(state) && PyList_GET_SIZE(state) > 0 ? PyFloat_AsDouble(PyList_GET_ITEM(state, 0)) : std::nan("");
  if (PyErr_Occurred()) PyErr_Clear();
  if (scale >= 0.0 && scale <= 1.0) return scale;
  raise(ErrorKind::value, "Invalid plateau in a parameter group", py::repr(py::handle(state)).cast<std::string>(),
        "Put back what report() wrote, or None.");
}

}  // namespace

Group::Group(const RuleInfo& rule)
    : rule_(rule),
      params_place_(entries_.add("params")),
      lr_scale_place_(entries_.add("lr_scale")),
      plateau_(entries_.add("plateau")),
      step_count_place_(entries_.add("step_count")),
      held_steps_place_(entries_.add("held_steps")),
      differentiable_place_(entries_.add("differentiable")),
      state_dtype_place_(entries_.add("state_dtype")) {
  for (const Field& field : rule.fields) {
    if (field.kind == Field::Kind::scheduled) {
      scheduled_.emplace_back(field, entries_);
    } else {
      constants_.emplace_back(&field, entries_.add(field.entry));
    }
  }
}

void Group::ask_ahead() const {
  constexpr std::size_t kLine = 64;
  const char* own = reinterpret_cast<const char*>(this);
  for (std::size_t byte = 0; byte < sizeof *this; byte += kLine) __builtin_prefetch(own + byte);
  const char* scheduled = reinterpret_cast<const char*>(&scheduled_.front());
  for (std::size_t byte = 0; byte < scheduled_.size() * sizeof(Scheduled); byte += kLine) {
    __builtin_prefetch(scheduled + byte);
  }
}

PyObject* Group::params() const {
  PyObject* params = entries_[params_place_];
  if (PyList_Check(params)) return params;
  raise(ErrorKind::type, "A parameter group has no list of parameters",
        py::repr(py::handle(params)).cast<std::string>(), "Add groups with add_param_group().");
}

void Group::read_clock() {
  step_count_ = integer(entries_[step_count_place_]);
  held_steps_ = integer(entries_[held_steps_place_]);
  lr_scale_ = number(entries_.name(lr_scale_place_), entries_[lr_scale_place_]) * reduction(entries_[plateau_]);
}

// Each with what its schedule is multiplied by.
template <class Visit>
void Group::visit(Visit visit) {
  double scale = lr_scale_;
  for (Scheduled& scheduled : scheduled_) {
    visit(scheduled, scale);
    scale = 1.0;
  }
}

void Group::read(PyObject* group, Evaluations& known) {
  if (entries_.read(group)) constants_known_ = false;
  read_clock();
  const int64_t t = step_count_ - held_steps_;
  visit([&](Scheduled& scheduled, double scale) { scheduled.field().write(hyper_, scheduled.read(t, scale, known)); });
  if (!constants_known_) read_constants();
  summarise();
}

void Group::read_constants() {
  bool unchanging = true;
  for (const auto& [field, place] : constants_) {
    PyObject* value = entries_[place];
    unchanging = unchanging && is_unchanging(value);
    const bool absent = value == Py_None && !std::isnan(field->absent);
    const bool is_flag = field->kind == Field::Kind::flag;
    field->write(hyper_, absent    ? field->absent
                         : is_flag ? (flag(value) ? 1.0 : 0.0)
                                   : number(*field, entries_.name(place), value));
  }
  if (hyper_.recipe.master_weights && hyper_.recipe.stochastic_rounding) {
    raise(ErrorKind::value, "master_weights together with stochastic_rounding in a parameter group", "both True",
          "Use one of them.");
  }
  differentiable_ = flag(entries_[differentiable_place_]);
  gives_state_dtype_ = entries_[state_dtype_place_] != Py_None;
  constants_known_ = unchanging;
}

void Group::summarise() {
  overridden_ = left_to_torch_ = false;
  needed_ = 0;
  has_recipe_ = is_active(hyper_.recipe);
  for (int k = 0; k < static_cast<int>(rule_.states.size()); ++k) needed_ |= rule_.writes(hyper_, k) ? 1u << k : 0u;
  for (const Scheduled& scheduled : scheduled_) {
    overridden_ = overridden_ || scheduled.overridden();
    left_to_torch_ = left_to_torch_ || scheduled.left_to_torch();
  }
}

bool Group::may_need(int state) const {
  HyperBytes possible = hyper_;
  for (const Scheduled& scheduled : scheduled_) {
    if (scheduled.follows()) scheduled.field().write(possible, 1.0);
  }
  return rule_.writes(possible, state);
}

unsigned Group::parts() const {
  const Recipe& recipe = hyper_.recipe;
  const bool clips = !std::isinf(recipe.max_grad_norm);
  const bool around = recipe.zero_grad_in_step || !std::isinf(recipe.max_grad_value);
  unsigned parts = around ? kAround : 0u;
  for (int k = 0; k < static_cast<int>(rule_.states.size()); ++k) parts |= may_need(k) ? 1u << k : 0u;
  unsigned bit = kAround;
  for (const bool given : {clips, clips && recipe.error_if_nonfinite, recipe.ema_decay >= 0.0, recipe.master_weights,
                           recipe.stochastic_rounding}) {
    bit <<= 1;
    if (given) parts |= bit;
  }
  return parts;
}

bool Group::follows() const {
  for (const Scheduled& scheduled : scheduled_) {
    if (scheduled.follows()) return true;
  }
  return false;
}

void Group::commit(PyObject* group, Evaluations& known) {
  entries_.put(group, step_count_place_, known.integer(++step_count_));
  if (overridden_) entries_.put(group, held_steps_place_, PyLong_FromLongLong(++held_steps_));
  write_next(group, known);
}

void Group::look(PyObject* group, Evaluations& known) {
  if (entries_.read(group)) constants_known_ = false;
  read_clock();
  const int64_t t = step_count_ - held_steps_;
  visit([&](Scheduled& scheduled, double scale) { scheduled.look(t, scale, known); });
  summarise();
}

void Group::resume(PyObject* group, int64_t updates, int64_t clocked, Evaluations& known) {
  step_count_ += updates;
  held_steps_ += updates - clocked;
  entries_.put(group, step_count_place_, PyLong_FromLongLong(step_count_));
  entries_.put(group, held_steps_place_, PyLong_FromLongLong(held_steps_));
  write_next(group, known);
}

void Group::write_next(PyObject* group, Evaluations& known) {
  const int64_t t = step_count_ - held_steps_;
  visit([&](Scheduled& scheduled, double scale) { scheduled.write(group, t, scale, known); });
}

cuda::GroupSetting Group::setting(int64_t updates) const {
  cuda::GroupSetting setting{{}, hyper_, lr_scale_, step_count_ - held_steps_, overridden_, updates, step_count_};
  std::size_t k = 0;
  for (const Scheduled& scheduled : scheduled_) setting.follows[k++] = overridden_ ? nullptr : scheduled.program();
  return setting;
}

py::dict Group::values() const {
  py::dict all;
  for (const Scheduled& scheduled : scheduled_) {
    all[py::str(scheduled.field().name)] = scheduled.field().read(hyper_);
  }
  return all;
}

}  // namespace fastlr
