#include "tensor/dlpack.h"

#include <cstdlib>
#include <cstring>

#include "tensor/attributes.h"
#include "tensor/direct.h"
#include "tensor/dlpack_abi.h"

namespace fastlr {
namespace {

// What is known of a Python type of tensors. A few types serve a whole training, so a short list is searched.
struct TensorType {
  PyTypeObject* type;  // kept alive, so that its address is never another type's
  const ExchangeTable* table;
  const Direct* direct;
  getter grad;  // the C function behind the `grad` attribute, unless the type overrides it
  void* closure;
};

// The best way that may be taken; the slower ones are for older torch, and for tests.
enum class Way { direct, dlpack, attributes };

Way allowed() {
  static const Way way = [] {
    const char* wanted = std::getenv("FASTLR_TENSOR_ACCESS");
    if (wanted == nullptr) return Way::direct;
    return std::strcmp(wanted, "attributes") == 0 ? Way::attributes
           : std::strcmp(wanted, "dlpack") == 0   ? Way::dlpack
                                                  : Way::direct;
  }();
  return way;
}

const ExchangeTable* exchange_table(PyTypeObject* type) {
  if (allowed() == Way::attributes) return nullptr;
  PyObject* capsule = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__");
  if (capsule == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  auto* table = static_cast<ExchangeTable*>(PyCapsule_GetPointer(capsule, "dlpack_exchange_api"));
  if (table == nullptr) PyErr_Clear();
  while (table != nullptr && table->major != kDLPackMajor) table = table->previous;
  Py_DECREF(capsule);
  return table != nullptr && table->dltensor_from_py_object != nullptr ? table : nullptr;
}

PyTypeObject* torch_tensor() {
  static PyTypeObject* const found = [] {
    PyObject* torch = PyImport_ImportModule("torch");
    PyObject* type = torch == nullptr ? nullptr : PyObject_GetAttrString(torch, "Tensor");
    Py_XDECREF(torch);
    PyErr_Clear();
    return reinterpret_cast<PyTypeObject*>(type);
  }();
  return found;
}

// A type whose operations are Python code of its own, but not its table: what it says of memory means nothing. A
// wrapper around other tensors reports an address that is only its offset.
bool misleads(PyTypeObject* type, const ExchangeTable* table) {
  PyTypeObject* plain = torch_tensor();
  if (plain == nullptr || type == plain || table != exchange_table(plain)) return false;
  PyObject* own = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__torch_dispatch__");
  PyObject* usual = PyObject_GetAttrString(reinterpret_cast<PyObject*>(plain), "__torch_dispatch__");
  PyErr_Clear();
  Py_XDECREF(own);
  Py_XDECREF(usual);
  return own != usual;
}

TensorType learn(PyTypeObject* type) {
  TensorType known{type, exchange_table(type), nullptr, nullptr, nullptr};
  if (known.table != nullptr && misleads(type, known.table)) known.table = nullptr;
  Py_INCREF(type);
  const Direct* direct = allowed() == Way::direct && known.table != nullptr ? find_direct() : nullptr;
  if (direct != nullptr && direct->knows(type)) known.direct = direct;
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

Access read(const DLTensor& raw, TensorView& out) {
  out.data = static_cast<char*>(raw.data) + raw.byte_offset;
  out.shape = raw.shape;
  out.strides = raw.strides;
  out.ndim = raw.ndim;
  out.dtype = dtype_of(raw.dtype);
  out.device_type = raw.device.type;
  out.device_id = raw.device.id;
  out.size = 1;
  for (int i = 0; i < raw.ndim; ++i) out.size *= raw.shape[i];
  // A wrapper around other tensors reports elements but has no memory of its own.
  return raw.data == nullptr && out.size > 0 ? Access::foreign : Access::native;
}

Access read(const Direct& direct, TensorHandle tensor, TensorView& out) {
  DLTensor raw;
  try {
    if (direct.is_neg(tensor)) return Access::foreign;
    direct.read(tensor, &raw);
  } catch (...) {
    return Access::foreign;
  }
  return read(raw, out);
}

}  // namespace

bool negated(PyObject* tensor) {
  static PyObject* const kIsNeg = PyUnicode_InternFromString("is_neg");
  PyObject* answer = PyObject_CallMethodNoArgs(tensor, kIsNeg);
  if (answer == nullptr) PyErr_Clear();
  Py_XDECREF(answer);
  return answer == Py_True;
}

const char* tensor_access() {
  PyObject* torch = PyImport_ImportModule("torch");
  PyObject* tensor = torch == nullptr ? nullptr : PyObject_GetAttrString(torch, "Tensor");
  const TensorType known = tensor == nullptr ? TensorType{} : learn(reinterpret_cast<PyTypeObject*>(tensor));
  Py_XDECREF(known.type);
  Py_XDECREF(tensor);
  Py_XDECREF(torch);
  PyErr_Clear();
  return known.direct != nullptr ? "direct" : known.table != nullptr ? "dlpack" : "attributes";
}

Access view(PyObject* tensor, TensorView& out) {
  const TensorType& type = type_of(tensor);
  if (type.direct != nullptr) return read(*type.direct, type.direct->handle(tensor), out);
  if (type.table == nullptr) return view_attributes(tensor, out);
  DLTensor raw;
  if (negated(tensor)) return Access::foreign;
  if (type.table->dltensor_from_py_object(tensor, &raw) != 0) {
    PyErr_Clear();
    return Access::foreign;
  }
  return read(raw, out);
}

PyObject* gradient(PyObject* tensor) {
  static PyObject* const kGrad = PyUnicode_InternFromString("grad");
  const TensorType& type = type_of(tensor);
  PyObject* grad = type.grad != nullptr ? type.grad(tensor, type.closure) : PyObject_GetAttr(tensor, kGrad);
  if (grad == nullptr) PyErr_Clear();
  return grad;
}

Access view_gradient(PyObject* tensor, TensorView& out, PyObject** owner) {
  *owner = nullptr;
  const TensorType& type = type_of(tensor);
  if (type.direct != nullptr) {
    const TensorHandle grad = type.direct->grad(*type.direct->handle(tensor));
    return *grad == type.direct->undefined ? Access::none : read(*type.direct, grad, out);
  }
  PyObject* grad = gradient(tensor);
  if (grad == nullptr) return Access::foreign;
  if (grad == Py_None) {
    Py_DECREF(grad);
    return Access::none;
  }
  *owner = grad;
  return view(grad, out);
}

void prefetch_lines(const void* implementation) {
  for (int line = 0; line < 4; ++line) __builtin_prefetch(static_cast<const char*>(implementation) + 64 * line);
}

const void* implementation(PyObject* tensor) {
  const Direct* direct = type_of(tensor).direct;
  return direct == nullptr ? nullptr : *direct->handle(tensor);
}

void prefetch(PyObject* list, Py_ssize_t at) {
  constexpr Py_ssize_t kObject = 8, kImplementation = 4, kGradient = 2;
  const Py_ssize_t size = PyList_GET_SIZE(list);
  if (at + kObject < size) __builtin_prefetch(PyList_GET_ITEM(list, at + kObject));
  if (at + kImplementation >= size) return;
  PyObject* tensor = PyList_GET_ITEM(list, at + kImplementation);
  if (const Direct* direct = type_of(tensor).direct) prefetch_lines(*direct->handle(tensor));
  tensor = PyList_GET_ITEM(list, at + kGradient);
  if (const Direct* direct = type_of(tensor).direct) prefetch_lines(*direct->grad(*direct->handle(tensor)));
}

bool bump_version(PyObject* tensor) {
  const TensorType& type = type_of(tensor);
  if (type.direct == nullptr) return false;
  try {
    type.direct->bump_version(type.direct->handle(tensor));
  } catch (...) {
    return false;
  }
  return true;
}

StreamSource stream_source(PyObject* tensor) { return type_of(tensor).table; }

void* current_stream(StreamSource source, int32_t device) {
  const auto* table = static_cast<const ExchangeTable*>(source);
  void* stream = nullptr;
  if (table == nullptr || table->current_work_stream == nullptr) return torch_stream(device);
  if (table->current_work_stream(TensorView::kCuda, device, &stream) != 0) throw_python_error();
  return stream;
}

bool same_device(const TensorView& a, const TensorView& b) {
  return a.device_type == b.device_type && (a.device_type == TensorView::kCpu || a.device_id == b.device_id);
}

bool same_shape(const TensorView& a, const TensorView& b) {
  if (a.ndim != b.ndim) return false;
  for (int i = 0; i < a.ndim; ++i) {
    if (a.shape[i] != b.shape[i]) return false;
  }
  return true;
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
