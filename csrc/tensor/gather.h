// From torch's param_groups and state to a plan: reads every tensor anew at each step, checks all of them before
// anything is changed, and keeps them alive until the update is done.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <vector>

#include "step/plan.h"
#include "tensor/dlpack.h"
#include "tensor/group.h"

namespace fastlr {

namespace py = pybind11;

// What finish() has to tell its caller.
enum Notice : int { kNothing = 0, kOverridden = 1, kEndedAtZero = 2 };

class SgdStep {
 public:
  // Reads and checks everything. Returns None when the core takes it all, else a list with an entry
  // (group index, lr, momentum, weight decay, parameters) for what torch's own operators have to do.
  // placeholder: momentum buffers exist, but no update has written them.
  py::object prepare(const py::list& groups, const py::dict& state, bool placeholder);
  // Updates what prepare() found, then counts and writes back the next rates. Returns notices.
  int finish();
  // Drops what prepare() found.
  void abandon();

 private:
  struct NewBuffer {
    PyObject* param;
    py::object buffer;
  };

  void gather_group(size_t index, PyObject* group);
  bool gather_param(PyObject* param, py::object grad, const Group& group);
  bool add_state(PyObject* param, const TensorView& view, Span& span);
  PyObject* state_of(PyObject* param);

  Plan plan_;
  std::vector<std::unique_ptr<Group>> groups_;
  py::list group_dicts_;
  py::dict state_;
  bool placeholder_ = false;
  std::vector<py::object> alive_;  // this step's gradients and buffers
  py::list written_;               // this step's parameters
  py::list fallback_;
  std::vector<NewBuffer> new_buffers_;
  size_t cursor_ = 0;              // the parameter's place among all
  std::vector<Py_ssize_t> hints_;  // where state_ held the parameter at that place last time
  Py_ssize_t behind_ = 0;          // the place in state_ behind the parameter found last
  bool searched_ = false;
};

}  // namespace fastlr
