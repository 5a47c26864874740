#include "tensor/dlpack.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tensor/attributes.h"

namespace fastlr {
namespace {

// The layouts of DLPack 1.x (github.com/dmlc/dlpack, dlpack.h), as far as they are read here.
struct DLDevice {
  int32_t type;
  int32_t id;
};
struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct ExchangeTable {
  uint32_t major;
  uint32_t minor;
  ExchangeTable* previous;
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object;
  void* managed_tensor_to_py_object;
  int (*dltensor_from_py_object)(void* py_object, DLTensor* out);
  int (*current_work_stream)(int32_t device_type, int32_t device_id, void** out);
};

constexpr uint32_t kMajor = 1;

// What is known of a Python type of tensors. A few types serve a whole training, so a short list is searched.
struct TensorType {
  PyTypeObject* type;  // kept alive, so that its address is never another type's
  const ExchangeTable* table;
  getter grad;  // the C function behind the `grad` attribute, unless the type overrides it
  void* closure;
};

const ExchangeTable* exchange_table(PyTypeObject* type) {
  PyObject* capsule = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
  if (capsule == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  auto* table = static_cast<ExchangeTable*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
  if (table == nullptr) PyErr_Clear();
  while (table != nullptr && table->major != kMajor) table = table->previous;
  Py_DECREF(capsule);
  return table != nullptr && table->dltensor_from_py_object != nullptr ? table : nullptr;
}

TensorType learn(PyTypeObject* type) {
  TensorType known{type, exchange_table(type), nullptr, nullptr};
  Py_INCREF(type);
  PyObject* attribute = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "grad");
  if (attribute == nullptr) {
    PyErr_Clear();
  } else if (Py_IS_TYPE(attribute, &PyGetSetDescr_Type)) {
    const auto* descriptor = reinterpret_cast<PyGetSetDescrObject*>(attribute);
    known.grad = descriptor->d_getset->get;
    known.closure = descriptor->d_getset->closure;
  }
  Py_XDECREF(attribute);
  return known;
}

const TensorType& type_of(PyObject* tensor) {
  constexpr int kKnown = 8;
  static TensorType known[kKnown] = {};
  static int next = 0;
  for (const TensorType& entry : known) {
    if (entry.type == Py_TYPE(tensor)) return entry;
  }
  TensorType& entry = known[next++ % kKnown];
  Py_XDECREF(entry.type);
  entry = learn(Py_TYPE(tensor));
  return entry;
}

DType dtype_of(const DLDataType& dtype) {
  constexpr uint8_t kFloat = 2, kBFloat = 4;
  if (dtype.lanes != 1) return DType::unsupported;
  if (dtype.code == kBFloat && dtype.bits == 16) return DType::bfloat16;
  if (dtype.code != kFloat) return DType::unsupported;
  return dtype.bits == 32   ? DType::float32
         : dtype.bits == 64 ? DType::float64
         : dtype.bits == 16 ? DType::float16
                            : DType::unsupported;
}

bool attributes_forced() {
  static const bool forced = [] {
    const char* wanted = std::getenv("FASTLR_TENSOR_ACCESS");
    return wanted != nullptr && std::strcmp(wanted, "attributes") == 0;
  }();
  return forced;
}

}  // namespace

const char* tensor_access() {
  PyObject* torch = PyImport_ImportModule("torch");
  PyObject* type = torch == nullptr ? nullptr : PyObject_GetAttrString(torch, "Tensor");
  const bool table = type != nullptr && exchange_table(reinterpret_cast<PyTypeObject*>(type)) != nullptr;
  Py_XDECREF(type);
  Py_XDECREF(torch);
  PyErr_Clear();
  return table && !attributes_forced() ? "dlpack" : "attributes";
}

Access view(PyObject* tensor, TensorView& out) {
  const TensorType& type = type_of(tensor);
  if (type.table == nullptr || attributes_forced()) return view_attributes(tensor, out);
  DLTensor raw;
  if (type.table->dltensor_from_py_object(tensor, &raw) != 0) {
    PyErr_Clear();
    return Access::foreign;
  }
  out.data = static_cast<char*>(raw.data) + raw.byte_offset;
  out.shape = raw.shape;
  out.strides = raw.strides;
  out.ndim = raw.ndim;
  out.dtype = dtype_of(raw.dtype);
  out.device_type = raw.device.type;
  out.device_index = raw.device.id;
  out.size = 1;
  for (int i = 0; i < raw.ndim; ++i) out.size *= raw.shape[i];
  // A wrapper around other tensors reports elements but has no memory of its own.
  return raw.data == nullptr && out.size > 0 ? Access::foreign : Access::native;
}

PyObject* gradient(PyObject* tensor) {
  static PyObject* const kGrad = PyUnicode_InternFromString("grad");
  const TensorType& type = type_of(tensor);
  return type.grad != nullptr ? type.grad(tensor, type.closure) : PyObject_GetAttr(tensor, kGrad);
}

bool same_shape(const TensorView& a, const TensorView& b) {
  return a.ndim == b.ndim && std::equal(a.shape, a.shape + a.ndim, b.shape);
}

bool same_strides(const TensorView& a, const TensorView& b) {
  for (int i = 0; i < a.ndim; ++i) {
    if (a.strides[i] != b.strides[i] && a.shape[i] > 1) return false;
  }
  return true;
}

bool dense(const TensorView& view) {
  if (view.size < 2) return true;
  int64_t expected = 1;
  int i = view.ndim - 1;
  for (; i >= 0 && (view.strides[i] == expected || view.shape[i] == 1); --i) expected *= view.shape[i];
  if (i < 0) return true;
  // Not row-major: walk the dimensions from the smallest stride up, whatever their order.
  expected = 1;
  while (expected < view.size) {
    int found = -1;
    for (int d = 0; d < view.ndim; ++d) {
      if (view.shape[d] > 1 && view.strides[d] == expected) found = d;
    }
    if (found < 0) return false;
    expected *= view.shape[found];
  }
  return true;
}

}  // namespace fastlr
