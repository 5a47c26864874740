// What Python sees of the CUDA part, beside the step.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "schedule/program.h"

namespace fastlr {

namespace py = pybind11;

py::dict cuda_status();
py::bytes cuda_image(const std::string& name, bool long_arguments);
bool on_cuda(const py::object& tensor);
// Whether what is done to the tensor now is recorded into a graph.
bool is_captured(const py::object& tensor);
// Steps: a dense int64 tensor on the GPU of `out`, or a range within int64. `out`: float64 or float32 [programs, steps]
// with dense rows. Nothing is waited for: a step below 0, or without a value, gives NaN.
void evaluate_cuda(const std::vector<const schedule::Program*>& programs, const py::object& steps,
                   const py::object& out);

}  // namespace fastlr
