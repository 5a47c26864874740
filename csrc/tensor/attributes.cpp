#include "tensor/attributes.h"

#include <pybind11/gil_safe_call_once.h>
#include <pybind11/pybind11.h>

#include <string>

namespace py = pybind11;

namespace fastlr {
namespace {

struct Torch {
  py::object tensor, parameter, strided, cpu;
  py::object dtypes[kDTypeCount];

  Torch() {
    const py::module_ torch = py::module_::import("torch");
    tensor = torch.attr("Tensor");
    parameter = torch.attr("nn").attr("Parameter");
    strided = torch.attr("strided");
    for (int i = 0; i < kDTypeCount; ++i) dtypes[i] = torch.attr(name(static_cast<DType>(i)));
  }
};

const Torch& torch() {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<Torch> storage;
  return storage.call_once_and_store_result([] { return Torch(); }).get_stored();
}

DType dtype_of(const py::handle& dtype) {
  for (int i = 0; i < kDTypeCount; ++i) {
    if (dtype.is(torch().dtypes[i])) return static_cast<DType>(i);
  }
  return DType::unsupported;
}

void read(const py::handle& tensor, TensorView& out) {
  const py::tuple shape(tensor.attr("shape"));
  const py::tuple strides(tensor.attr("stride")());
  if (shape.size() > TensorView::kMaxOwnDims) throw py::value_error("too many dimensions");
  out.ndim = static_cast<int32_t>(shape.size());
  out.size = 1;
  for (int i = 0; i < out.ndim; ++i) {
    out.own[i] = shape[static_cast<size_t>(i)].cast<int64_t>();
    out.own[TensorView::kMaxOwnDims + i] = strides[static_cast<size_t>(i)].cast<int64_t>();
    out.size *= out.own[i];
  }
  out.shape = out.own;
  out.strides = out.own + TensorView::kMaxOwnDims;
  out.dtype = dtype_of(tensor.attr("dtype"));
  const py::object device = tensor.attr("device");
  const auto type = device.attr("type").cast<std::string>();
  out.device_type = type == "cpu" ? TensorView::kCpu : type == "cuda" ? TensorView::kCuda : 0;
  out.device_id = out.device_type == TensorView::kCuda ? device.attr("index").cast<int32_t>() : 0;
  out.data = reinterpret_cast<void*>(tensor.attr("data_ptr")().cast<uintptr_t>());
}

}  // namespace

Access view_attributes(PyObject* object, TensorView& out) {
  const py::handle tensor(object);
  const py::handle type = py::type::handle_of(tensor);
  if (!type.is(torch().tensor) && !type.is(torch().parameter)) return Access::foreign;
  if (!py::object(tensor.attr("layout")).is(torch().strided) || negated(object)) return Access::foreign;
  try {
    read(tensor, out);
  } catch (const py::error_already_set&) {
    return Access::foreign;
  } catch (const py::value_error&) {
    return Access::foreign;
  }
  return out.data == nullptr && out.size > 0 ? Access::foreign : Access::native;
}

void* torch_stream(int32_t device) {
  const py::object stream = py::module_::import("torch").attr("cuda").attr("current_stream")(device);
  return reinterpret_cast<void*>(stream.attr("cuda_stream").cast<uintptr_t>());
}

void throw_python_error() { throw py::error_already_set(); }

}  // namespace fastlr
