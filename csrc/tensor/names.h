// Python objects that a step asks for by name, found once.
#pragma once

#include <pybind11/pybind11.h>

namespace fastlr {

namespace py = pybind11;

struct Names {
  PyObject* const params = PyUnicode_InternFromString("params");
  py::object empty_like = py::module_::import("torch").attr("empty_like");
  py::object scalar_on = py::module_::import("fastlr.optim.recording").attr("scalar_on");
  py::object new_state = py::module_::import("fastlr.optim.recipe").attr("new_state");
  py::object new_master = py::module_::import("fastlr.optim.recipe").attr("new_master");
  py::object new_average = py::module_::import("fastlr.optim.recipe").attr("new_average");
  py::object as_step = py::module_::import("fastlr.optim.recording").attr("as_step");
  py::object get_num_threads = py::module_::import("torch").attr("get_num_threads");
  py::object increment_version = py::module_::import("torch").attr("autograd").attr("graph").attr("increment_version");
};

const Names& names();

}  // namespace fastlr
