// fastlr._core, a table of contents: validate, release the GIL, call.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "check.h"
#include "cpu/kernels.h"
#include "schedule/program.h"
#include "tensor/dlpack.h"
#include "tensor/gather.h"

namespace py = pybind11;
using fastlr::ErrorKind;
using fastlr::schedule::Program;
using fastlr::schedule::ProgramBuilder;

namespace {

using Steps = py::array_t<int64_t, py::array::c_style>;
using Values = py::array_t<double, py::array::c_style>;

void translate(std::exception_ptr pending) {
  try {
    std::rethrow_exception(pending);
  } catch (const fastlr::Error& error) {
    PyObject* const kinds[] = {PyExc_ValueError, PyExc_TypeError, PyExc_RuntimeError};
    PyErr_SetString(kinds[static_cast<int>(error.kind())], error.what());
  }
}

[[noreturn]] void refuse_step(const std::string& value) {
  fastlr::raise(ErrorKind::value, "step is out of range", value,
                "Steps count the updates done before: from 0 to 2**63 - 1.");
}

double evaluate_one(const Program& program, py::handle step) {
  if (!PyLong_CheckExact(step.ptr())) {
    fastlr::raise(ErrorKind::type, "step is not an int", py::repr(step), "Pass an int.");
  }
  int overflow = 0;
  const int64_t t = PyLong_AsLongLongAndOverflow(step.ptr(), &overflow);
  if (overflow != 0 || t < 0) refuse_step(py::repr(step));
  double value = 0.0;
  fastlr::kernels().evaluate(program.view(), &t, 1, &value);
  return value;
}

void evaluate_many(const std::vector<const Program*>& programs, const Steps& steps, Values out) {
  const auto rows = static_cast<py::ssize_t>(programs.size());
  if (steps.ndim() != 1 || out.ndim() != 2 || out.shape(0) != rows || out.shape(1) != steps.size()) {
    fastlr::raise(ErrorKind::value, "out does not fit", py::repr(out.attr("shape")),
                  "Give steps of shape [N] and out of shape [programs, N].");
  }
  const int64_t* at = steps.data();
  double* values = out.mutable_data();
  const py::gil_scoped_release unlocked;
  for (py::ssize_t i = 0; i < steps.size(); ++i) {
    if (at[i] < 0) refuse_step(std::to_string(at[i]));
  }
  for (const Program* program : programs) {
    fastlr::kernels().evaluate(program->view(), at, steps.size(), values);
    values += steps.size();
  }
}

void bind_schedules(py::module_& module) {
  using fastlr::schedule::Decay;
  using fastlr::schedule::Ramp;
  using py::arg;

  py::class_<Program>(module, "Program", "A compiled schedule.")
      .def("__call__", &evaluate_one, py::pos_only(), "The value for one step, an int >= 0.");

  py::class_<ProgramBuilder>(module, "ProgramBuilder", "Instructions in order: operands before their operator.")
      .def(py::init<>())
      .def("constant", &ProgramBuilder::constant, py::kw_only(), arg("value"))
      .def(
          "linear",
          [](ProgramBuilder& builder, double start, double end, double origin, double finish) {
            builder.linear(Ramp{start, end, origin, finish});
          },
          py::kw_only(), arg("start"), arg("end"), arg("origin"), arg("finish"))
      .def(
          "cosine",
          [](ProgramBuilder& builder, double start, double end, double origin, double finish) {
            builder.cosine(Ramp{start, end, origin, finish});
          },
          py::kw_only(), arg("start"), arg("end"), arg("origin"), arg("finish"))
      .def(
          "polynomial",
          [](ProgramBuilder& builder, double start, double end, double origin, double finish, double power) {
            builder.polynomial(Ramp{start, end, origin, finish}, power);
          },
          py::kw_only(), arg("start"), arg("end"), arg("origin"), arg("finish"), arg("power"))
      .def(
          "exponential",
          [](ProgramBuilder& builder, double start, double gamma, int64_t period) {
            builder.exponential(Decay{start, gamma, period});
          },
          py::kw_only(), arg("start"), arg("gamma"), arg("period"))
      .def("table", &ProgramBuilder::table, py::kw_only(), arg("bounds"), arg("values"))
      .def("multiply", &ProgramBuilder::multiply)
      .def("add", &ProgramBuilder::add)
      .def("begin_sequence", &ProgramBuilder::begin_sequence, py::kw_only(), arg("bounds"))
      .def("end_piece", &ProgramBuilder::end_piece)
      .def("begin_shift", &ProgramBuilder::begin_shift, py::kw_only(), arg("offset"))
      .def("end_shift", &ProgramBuilder::end_shift)
      .def("build", &ProgramBuilder::build);

  module.def("evaluate", &evaluate_many, arg("programs"), arg("steps").noconvert(), arg("out").noconvert(),
             "out[k, n] = programs[k](steps[n]).");
}

void bind_steps(py::module_& module) {
  using fastlr::SgdStep;
  using py::arg;

  py::class_<SgdStep>(module, "SgdStep", "What one optimizer's step reads and updates; holds nothing between steps.")
      .def(py::init<>())
      .def("prepare", &SgdStep::prepare, arg("groups"), arg("state"), arg("unwritten"),
           "Reads and checks every tensor; None, or what torch's own operators have to update.")
      .def("finish", &SgdStep::finish, "Updates, counts, writes the next rates; returns notices.")
      .def("abandon", &SgdStep::abandon, "Forgets what prepare() read.");
  module.attr("NOTICE_OVERRIDDEN") = static_cast<int>(fastlr::kOverridden);
  module.attr("NOTICE_ENDED_AT_ZERO") = static_cast<int>(fastlr::kEndedAtZero);
  module.def("cpu_capability", [] { return fastlr::kernels().name; }, "The instruction set in use.");
  module.def("tensor_access", &fastlr::tensor_access, "How tensors are read: \"dlpack\" or \"attributes\".");
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  py::register_exception_translator(&translate);
  bind_schedules(module);
  bind_steps(module);
}
