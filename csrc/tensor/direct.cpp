#include "tensor/direct.h"

#include <dlfcn.h>
#include <pybind11/gil_safe_call_once.h>
#include <pybind11/pybind11.h>

#include <cstdint>

namespace py = pybind11;

namespace fastlr {
namespace {

#if defined(__GLIBCXX__)
constexpr bool kCatchesTorch = true;
#else
// torch's exceptions come from libstdc++; another runtime library could not catch them.
constexpr bool kCatchesTorch = false;
#endif

template <class Function>
void look_up(const char* library, const char* symbol, Function& out) {
  void* loaded = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  out = loaded == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(loaded, symbol));
}

bool functions(Direct& out) {
  look_up("libc10.so", "_ZNK3c1010TensorImpl4gradEv", out.grad);
  look_up("libtorch_cpu.so", "_ZN2at17toDLPackNonOwningERKNS_6TensorEP8DLTensorb", out.to_dlpack);
  look_up("libtorch_cpu.so", "_ZN2at17toDLPackNonOwningERKNS_6TensorEP8DLTensor", out.to_dlpack_2_10);
  look_up("libtorch_cpu.so", "_ZN5torch8autograd4impl12bump_versionERKN2at6TensorE", out.bump_version);
  look_up("libtorch_cpu.so", "_ZN2at6native6is_negERKNS_6TensorE", out.is_neg);
  return out.grad != nullptr && (out.to_dlpack != nullptr || out.to_dlpack_2_10 != nullptr) &&
         out.bump_version != nullptr && out.is_neg != nullptr;
}

const void* implementation(const py::handle& tensor) {
  return reinterpret_cast<const void*>(tensor.attr("_cdata").cast<uintptr_t>());
}

// Where both objects hold the pointer that Python shows as _cdata.
bool offset(const py::handle& a, const py::handle& b, Direct& out) {
  const auto size = static_cast<std::ptrdiff_t>(reinterpret_cast<PyTypeObject*>(out.tensor)->tp_basicsize);
  for (out.offset = sizeof(PyObject); out.offset < size; out.offset += sizeof(void*)) {
    if (*out.handle(a.ptr()) == implementation(a) && *out.handle(b.ptr()) == implementation(b)) return true;
  }
  return false;
}

bool reads(const Direct& direct, const py::object& tensor) {
  DLTensor view{};
  direct.read(direct.handle(tensor.ptr()), &view);
  const auto shape = tensor.attr("shape").cast<py::tuple>();
  const auto strides = tensor.attr("stride")().cast<py::tuple>();
  bool same = reinterpret_cast<uintptr_t>(view.data) + view.byte_offset == tensor.attr("data_ptr")().cast<uintptr_t>();
  same = same && view.ndim == static_cast<int32_t>(shape.size());
  for (int i = 0; same && i < view.ndim; ++i) {
    const auto index = static_cast<std::size_t>(i);
    same = view.shape[i] == shape[index].cast<int64_t>() && view.strides[i] == strides[index].cast<int64_t>();
  }
  return same;
}

bool trial(Direct& direct) {
  const py::module_ torch = py::module_::import("torch");
  direct.tensor = reinterpret_cast<PyTypeObject*>(py::object(torch.attr("Tensor")).release().ptr());
  direct.parameter = reinterpret_cast<PyTypeObject*>(py::object(torch.attr("nn").attr("Parameter")).release().ptr());
  const auto cpu = [] { return py::arg("device") = "cpu"; };
  const py::object odd =
      torch.attr("arange")(24.0, cpu()).attr("reshape")(2, 3, 4).attr("transpose")(0, 2)[py::int_(1)];
  const py::object param = torch.attr("nn").attr("Parameter")(torch.attr("zeros")(3, cpu()));
  if (!offset(odd, param, direct) || !reads(direct, odd) || !reads(direct, param)) return false;

  const py::object negated = torch.attr("_neg_view")(odd);
  if (!direct.is_neg(direct.handle(negated.ptr())) || direct.is_neg(direct.handle(odd.ptr()))) return false;

  const void* inner = *direct.handle(param.ptr());
  direct.undefined = *direct.grad(inner);
  param.attr("grad") = torch.attr("ones")(3, cpu());
  const py::object grad = param.attr("grad");
  if (*direct.grad(inner) != implementation(grad) || direct.undefined == implementation(grad)) return false;

  const int before = param.attr("_version").cast<int>();
  direct.bump_version(direct.handle(param.ptr()));
  return param.attr("_version").cast<int>() == before + 1;
}

}  // namespace

const Direct* find_direct() {
  struct Found {
    Direct direct{};
    bool usable = false;
  };
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<Found> storage;
  const Found& found = storage
                           .call_once_and_store_result([] {
                             Found result;
                             try {
                               result.usable = kCatchesTorch && functions(result.direct) && trial(result.direct);
                             } catch (...) {
                               result.usable = false;
                             }
                             return result;
                           })
                           .get_stored();
  return found.usable ? &found.direct : nullptr;
}

}  // namespace fastlr
