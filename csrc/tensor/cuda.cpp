#include "tensor/cuda.h"

#include "check.h"
#include "cuda/device.h"
#include "cuda/evaluate.h"
#include "tensor/dlpack.h"

namespace fastlr {
namespace {

py::dict facts_dict(const cuda::DeviceFacts& facts) {
  py::dict entry;
  entry["name"] = facts.name;
  entry["capability"] = py::make_tuple(facts.major, facts.minor);
  entry["multiprocessors"] = facts.multiprocessors;
  entry["memory"] = facts.memory;
  entry["image"] = facts.image == nullptr ? "" : cuda::image_name(*facts.image);
  return entry;
}

// Each architecture once: the older and the newer drivers' images have the same names.
py::list architectures() {
  py::list names;
  for (const cuda::Image& image : cuda::all_images()) {
    const py::str name(cuda::image_name(image));
    if (image.long_arguments || !names.contains(name)) names.append(name);
  }
  return names;
}

// Raises, for tensors that the caller has checked already.
void require_view(const py::object& tensor, TensorView& view, const char* what) {
  if (fastlr::view(tensor.ptr(), view) == Access::native && view.device_type == TensorView::kCuda) return;
  raise(ErrorKind::value, std::string(what) + " is no plain CUDA tensor", py::repr(py::type::handle_of(tensor)),
        "Give a strided tensor on a GPU.");
}

cuda::DeviceSteps steps_of(const py::object& steps, const TensorView& out) {
  if (PyRange_Check(steps.ptr())) {
    const auto count = static_cast<int64_t>(py::len(steps));
    return {nullptr, count == 0 ? 0 : steps.attr("start").cast<int64_t>(),
            count < 2 ? 1 : steps.attr("step").cast<int64_t>(), count};
  }
  TensorView view;
  require_view(steps, view, "steps");
  if (!same_device(view, out) || view.ndim != 1 || !dense(view)) {
    raise(ErrorKind::value, "steps do not fit", py::repr(steps.attr("shape")),
          "Give a contiguous int64 tensor of one dimension on the device of out.");
  }
  return {static_cast<const int64_t*>(view.data), 0, 1, view.size};
}

cuda::DeviceTable table_of(const TensorView& out, int64_t rows, int64_t columns) {
  const bool single = out.dtype == DType::float32;
  const bool fits = (single || out.dtype == DType::float64) && out.ndim == 2 && out.shape[0] == rows &&
                    out.shape[1] == columns && (columns < 2 || out.strides[1] == 1);
  if (!fits) {
    raise(ErrorKind::value, "out does not fit", name(out.dtype),
          "Give float64 or float32 of shape [programs, steps] with dense rows.");
  }
  return {out.data, out.strides[0], single};
}

}  // namespace

py::dict cuda_status() {
  const cuda::Found& found = cuda::find_driver();
  py::list devices;
  for (const cuda::DeviceFacts& facts : cuda::device_facts()) devices.append(facts_dict(facts));
  std::string reason = found.reason;
  if (found.usable) cuda::find_device(0, &reason);
  py::dict status;
  status["available"] = reason.empty();
  status["reason"] = reason;
  status["driver"] = found.version;
  status["architectures"] = architectures();
  status["devices"] = devices;
  return status;
}

py::bytes cuda_image(const std::string& name, bool long_arguments) {
  for (const cuda::Image& image : cuda::all_images()) {
    if (cuda::architecture_name(image) != name || image.long_arguments != long_arguments) continue;
    return py::bytes(reinterpret_cast<const char*>(image.data), image.size);
  }
  raise(ErrorKind::value, "No such device code is built in", name, "fastlr info lists what is.");
}

namespace {

// Null for what lies elsewhere, or on a GPU that cannot be used.
const cuda::Device* device_of(const py::object& tensor) {
  TensorView view;
  std::string reason;
  const bool cuda = fastlr::view(tensor.ptr(), view) == Access::native && view.device_type == TensorView::kCuda;
  return cuda ? cuda::find_device(view.device_id, &reason) : nullptr;
}

}  // namespace

bool on_cuda(const py::object& tensor) { return device_of(tensor) != nullptr; }

bool is_captured(const py::object& tensor) {
  const cuda::Device* device = device_of(tensor);
  if (device == nullptr) return false;
  const cuda::Current current(*device);
  return device->capturing(static_cast<cuda::Stream>(current_stream(stream_source(tensor.ptr()), device->ordinal())));
}

void evaluate_cuda(const std::vector<const schedule::Program*>& programs, const py::object& steps,
                   const py::object& out) {
  TensorView view;
  require_view(out, view, "out");
  const cuda::DeviceSteps at = steps_of(steps, view);
  const cuda::DeviceTable table = table_of(view, static_cast<int64_t>(programs.size()), at.count);
  std::string reason;
  const cuda::Device* device = cuda::find_device(view.device_id, &reason);
  if (device == nullptr) raise(ErrorKind::runtime, "This GPU cannot be used", reason, "Use CPU tensors.");
  auto* stream = static_cast<cuda::Stream>(current_stream(stream_source(out.ptr()), view.device_id));
  cuda::evaluate(*device, programs, at, table, stream);
}

}  // namespace fastlr
