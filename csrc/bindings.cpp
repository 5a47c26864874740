// fastlr._core, a table of contents: validate, release the GIL, call.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "check.h"
#include "cpu/evaluate.h"
#include "schedule/program.h"
#include "tensor/cuda.h"
#include "tensor/dlpack.h"
#include "tensor/gather.h"

namespace py = pybind11;
using fastlr::ErrorKind;
using fastlr::StepSpan;
using fastlr::ValueTable;
using fastlr::schedule::Decay;
using fastlr::schedule::Op;
using fastlr::schedule::Program;
using fastlr::schedule::ProgramBuilder;
using fastlr::schedule::Ramp;
using py::arg;

namespace {

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

[[noreturn]] void refuse_missing(int64_t step) {
  fastlr::raise(
      ErrorKind::value, "A schedule has no value", "step " + std::to_string(step),
      "It has ended, divides by 0 or multiplies 0 by infinity: make it longer, or let it hold its last value.");
}

double evaluate_one(const Program& program, py::handle step) {
  if (!PyLong_CheckExact(step.ptr())) {
    fastlr::raise(ErrorKind::type, "step is not an int", py::repr(step), "Pass an int.");
  }
  int overflow = 0;
  const int64_t t = PyLong_AsLongLongAndOverflow(step.ptr(), &overflow);
  if (overflow != 0 || t < 0) refuse_step(py::repr(step));
  const double value = fastlr::kernels().evaluate_one(program.view(), t);
  if (std::isnan(value)) refuse_missing(t);
  return value;
}

// An int64 array, or a range: neither is copied.
StepSpan steps_from(const py::object& steps) {
  if (PyRange_Check(steps.ptr())) {
    const auto count = static_cast<int64_t>(py::len(steps));
    if (count == 0) return {nullptr, 0, 1, 0};
    const auto first = py::int_(steps.attr("start")).cast<int64_t>();
    const auto last = py::int_(steps[py::int_(-1)]).cast<int64_t>();
    if (first < 0 || last < 0) refuse_step(std::to_string(std::min(first, last)));
    return {nullptr, first, count > 1 ? py::int_(steps.attr("step")).cast<int64_t>() : 1, count};
  }
  const auto array = py::cast<py::array_t<int64_t, py::array::c_style>>(steps);
  if (array.ndim() != 1) {
    fastlr::raise(ErrorKind::value, "steps are not one-dimensional", py::repr(array.attr("shape")), "Flatten them.");
  }
  return {array.data(), 0, 1, array.size()};
}

ValueTable table_of(py::array out, py::ssize_t rows, int64_t columns) {
  const bool single = out.dtype().equal(py::dtype::of<float>());
  const bool fits = (single || out.dtype().equal(py::dtype::of<double>())) && out.writeable() && out.ndim() == 2 &&
                    out.shape(0) == rows && out.shape(1) == columns;
  const bool dense =
      fits &&
      (out.size() == 0 || ((columns < 2 || out.strides(1) == out.itemsize()) && out.strides(0) % out.itemsize() == 0));
  if (!dense) {
    fastlr::raise(
        ErrorKind::value, "out does not fit",
        py::str(out.dtype()).cast<std::string>() + " of shape " + py::str(out.attr("shape")).cast<std::string>(),
        "Give writable float64 or float32 of shape [programs, steps] with dense rows.");
  }
  return {out.mutable_data(), out.strides(0) / out.itemsize(), single};
}

void evaluate_many(const std::vector<const Program*>& programs, const py::object& steps, const py::array& out,
                   int threads) {
  const StepSpan span = steps_from(steps);
  const ValueTable table = table_of(out, static_cast<py::ssize_t>(programs.size()), span.count);
  const py::gil_scoped_release unlocked;
  for (int64_t i = 0; span.array != nullptr && i < span.count; ++i) {
    if (span.array[i] < 0) refuse_step(std::to_string(span.array[i]));
  }
  if (fastlr::evaluate(programs, span, table, threads) == 0) return;
  for (const Program* program : programs) {
    for (int64_t i = 0; i < span.count; ++i) {
      const int64_t t = span.array != nullptr ? span.array[i] : span.first + i * span.stride;
      if (std::isnan(fastlr::kernels().evaluate_one(program->view(), t))) refuse_missing(t);
    }
  }
}

using Shapes = py::class_<ProgramBuilder>;

template <class Function>
void bind_ramp(Shapes& builder, const char* name, Function emit) {
  builder.def(
      name,
      [emit](ProgramBuilder& self, double start, double end, double origin, double finish) {
        emit(self, Ramp{start, end, origin, finish});
      },
      py::kw_only(), arg("start"), arg("end"), arg("origin"), arg("finish"));
}

void bind_shapes(Shapes& builder) {
  bind_ramp(builder, "linear", [](ProgramBuilder& self, const Ramp& ramp) { self.linear(ramp); });
  bind_ramp(builder, "line", [](ProgramBuilder& self, const Ramp& ramp) { self.line(ramp); });
  bind_ramp(builder, "geometric", [](ProgramBuilder& self, const Ramp& ramp) { self.geometric(ramp); });
  bind_ramp(builder, "logarithmic", [](ProgramBuilder& self, const Ramp& ramp) { self.logarithmic(ramp); });
  builder.def("constant", &ProgramBuilder::constant, py::kw_only(), arg("value"))
      .def(
          "cosine",
          [](ProgramBuilder& self, double start, double end, double origin, double finish, double warp) {
            self.cosine(Ramp{start, end, origin, finish}, warp);
          },
          py::kw_only(), arg("start"), arg("end"), arg("origin"), arg("finish"), arg("warp") = 1.0)
      .def(
          "polynomial",
          [](ProgramBuilder& self, double start, double end, double origin, double finish, double power, double warp) {
            self.polynomial(Ramp{start, end, origin, finish}, power, warp);
          },
          py::kw_only(), arg("start"), arg("end"), arg("origin"), arg("finish"), arg("power"), arg("warp") = 1.0)
      .def(
          "power",
          [](ProgramBuilder& self, double start, double end, double origin, double finish, double power) {
            self.power(Ramp{start, end, origin, finish}, power);
          },
          py::kw_only(), arg("start"), arg("end"), arg("origin"), arg("finish"), arg("power"))
      .def(
          "tanh",
          [](ProgramBuilder& self, double start, double end, double origin, double finish, double lower, double upper) {
            self.hyperbolic(Ramp{start, end, origin, finish}, lower, upper);
          },
          py::kw_only(), arg("start"), arg("end"), arg("origin"), arg("finish"), arg("lower"), arg("upper"))
      .def(
          "exponential",
          [](ProgramBuilder& self, double start, double gamma, double period, bool staircase) {
            self.exponential(Decay{start, gamma, period}, staircase);
          },
          py::kw_only(), arg("start"), arg("gamma"), arg("period"), arg("staircase"))
      .def("inverse_sqrt", &ProgramBuilder::inverse_sqrt, py::kw_only(), arg("start"), arg("timescale"), arg("offset"))
      .def("inverse_time", &ProgramBuilder::inverse_time, py::kw_only(), arg("start"), arg("rate"))
      .def("table", &ProgramBuilder::table, py::kw_only(), arg("bounds"), arg("values"))
      .def("samples", &ProgramBuilder::samples, py::kw_only(), arg("values"));
}

template <Op op>
void bind_operator(Shapes& builder, const char* name) {
  builder.def(name, [](ProgramBuilder& self) { self.combine(op); });
}

template <Op op>
void bind_end(Shapes& builder, const char* name) {
  builder.def(name, [](ProgramBuilder& self) { self.end_scope(op); });
}

void bind_operators(Shapes& builder) {
  bind_operator<Op::multiply>(builder, "multiply");
  bind_operator<Op::add>(builder, "add");
  bind_operator<Op::divide>(builder, "divide");
  bind_operator<Op::minimum>(builder, "minimum");
  bind_operator<Op::maximum>(builder, "maximum");
  builder.def("raise_to", &ProgramBuilder::raise_to, py::kw_only(), arg("power"))
      .def("until", &ProgramBuilder::until, py::kw_only(), arg("last"))
      .def("begin_sequence", &ProgramBuilder::begin_sequence, py::kw_only(), arg("bounds"))
      .def("begin_shift", &ProgramBuilder::begin_shift, py::kw_only(), arg("offset"))
      .def("begin_hold", &ProgramBuilder::begin_hold, py::kw_only(), arg("last"))
      .def("begin_floor", &ProgramBuilder::begin_floor, py::kw_only(), arg("period"), arg("stride"))
      .def("begin_repeat", &ProgramBuilder::begin_repeat, py::kw_only(), arg("period"), arg("cycles"));
  bind_end<Op::sequence>(builder, "end_piece");
  bind_end<Op::shift>(builder, "end_shift");
  bind_end<Op::hold>(builder, "end_hold");
  bind_end<Op::floor>(builder, "end_floor");
  bind_end<Op::repeat>(builder, "end_repeat");
}

void bind_schedules(py::module_& module) {
  py::class_<Program>(module, "Program", "A compiled schedule.")
      .def("__call__", &evaluate_one, py::pos_only(), "The value for one step, an int >= 0.");

  Shapes builder(module, "ProgramBuilder", "Instructions in order: operands before their operator.");
  builder.def(py::init<>()).def("build", &ProgramBuilder::build);
  bind_shapes(builder);
  bind_operators(builder);
  module.def("evaluate", &evaluate_many, arg("programs"), arg("steps"), arg("out"), arg("threads") = 1,
             "out[k, n] = programs[k](steps[n]), for an int64 array or a range.");
}

void bind_steps(py::module_& module) {
  using fastlr::Step;

  py::class_<Step>(module, "Step", "What one optimizer's step reads and updates, and its state on GPUs.")
      .def(py::init<const std::string&>(), arg("rule"))
      .def("prepare", &Step::prepare, arg("groups"), arg("state"), arg("unwritten"),
           "Reads and checks every tensor; None, or what torch's own operators have to update.")
      .def("scale", &Step::scale, arg("grad_scale"), arg("found_inf"),
           "What the next prepare() divides gradients by, and what skips the update where it is not 0.")
      .def("must_skip", &Step::must_skip, "Whether the host knows that the update is to be skipped.")
      .def("squares", &Step::squares, "Sums of squares of the gradients that are clipped by norm.")
      .def("set_norms", &Step::set_norms, arg("norms"), "The norms of the sets, unscaled.")
      .def("norms", &Step::norms, "The norms of the last update's sets; waits for a GPU.")
      .def("finish", &Step::finish, "Updates, counts, writes the next rates; returns notices.")
      .def("abandon", &Step::abandon, "Forgets what prepare() read.")
      .def("forget", &Step::forget, "Forgets everything but the state on GPUs.")
      .def("sync", &Step::sync, arg("groups"), arg("state"), arg("unwritten"),
           "Waits for the GPUs and writes their counts into the groups and the state.")
      .def("tell", &Step::tell, arg("groups"), arg("state"), arg("unwritten"),
           "Tells the GPUs what stands in the groups, and which state has been written.")
      .def("recorded", &Step::recorded, "Whether a CUDA graph has recorded an update.")
      .def("may_differ", &Step::may_differ, "Whether GPUs may have counted other updates than the host.")
      .def("writes_first", &Step::writes_first, "Whether a parameter's first update writes its state unread.")
      .def("cuda_problem", &Step::cuda_problem, "Why GPUs are left to torch, or \"\".");
  module.attr("NOTICE_OVERRIDDEN") = static_cast<int>(fastlr::kOverridden);
  module.attr("NOTICE_ENDED_AT_ZERO") = static_cast<int>(fastlr::kEndedAtZero);
  module.attr("NOTICE_RECORDED_CONSTANT") = static_cast<int>(fastlr::kRecordedConstant);
  module.attr("NOTICE_LEFT_TO_TORCH") = static_cast<int>(fastlr::kLeftToTorch);
  module.attr("NOTICE_LACKS_STATE") = static_cast<int>(fastlr::kLacksState);
  module.attr("NOTICE_SKIPPED") = static_cast<int>(fastlr::kSkipped);
  module.def("cpu_capability", [] { return fastlr::kernels().name; }, "The instruction set in use.");
  module.def("tensor_access", &fastlr::tensor_access,
             "How tensors are read: \"direct\", \"dlpack\" or \"attributes\".");
}

void bind_cuda(py::module_& module) {
  module.def("cuda_status", &fastlr::cuda_status, "What was found of the driver and its GPUs; opens the driver.");
  module.def("cuda_image", &fastlr::cuda_image, arg("name"), arg("long_arguments") = true,
             "The embedded device code of that name, such as \"sm_90\" or \"compute_80\".");
  module.def("on_cuda", &fastlr::on_cuda, arg("tensor"), "Whether the tensor lies on a GPU that the core can use.");
  module.def("is_captured", &fastlr::is_captured, arg("tensor"),
             "Whether the current stream of the tensor's GPU is being captured.");
  module.def("evaluate_cuda", &fastlr::evaluate_cuda, arg("programs"), arg("steps"), arg("out"),
             "out[k, n] = programs[k](steps[n]) on out's GPU, for a dense int64 tensor there or a range.");
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  py::register_exception_translator(&translate);
  bind_schedules(module);
  bind_steps(module);
  bind_cuda(module);
}
