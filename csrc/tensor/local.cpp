#include "tensor/local.h"

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace fastlr {
namespace {

struct LocalNames {
  PyObject* const module = PyUnicode_InternFromString("torch.distributed.tensor");
  PyObject* const local_tensor = PyUnicode_InternFromString("_local_tensor");
  PyObject* const spec = PyUnicode_InternFromString("_spec");
  PyObject* const placements = PyUnicode_InternFromString("placements");
  PyObject* const is_partial = PyUnicode_InternFromString("is_partial");
  // What a spec says about which element stands where. Older torch has no shard_order: then neither spec does.
  PyObject* const layout[4] = {PyUnicode_InternFromString("mesh"), placements,
                               PyUnicode_InternFromString("shard_order"), PyUnicode_InternFromString("shape")};
};

const LocalNames& local_names() {
  static const LocalNames all;
  return all;
}

// nullptr where Python raised.
py::object attribute(const py::object& object, PyObject* name) {
  PyObject* value = PyObject_GetAttr(object.ptr(), name);
  if (value == nullptr) PyErr_Clear();
  return py::reinterpret_steal<py::object>(value);
}

py::object spec_of(PyObject* tensor) {
  return attribute(py::reinterpret_borrow<py::object>(tensor), local_names().spec);
}

bool is_partial(PyObject* placement) {
  PyObject* answer = PyObject_CallMethodNoArgs(placement, local_names().is_partial);
  if (answer == nullptr) PyErr_Clear();
  Py_XDECREF(answer);
  return answer != Py_False;
}

// Elements, whole or sharded, and no parts that have still to be added up.
bool holds_elements(const py::object& spec) {
  const py::object placements = attribute(spec, local_names().placements);
  if (!placements || !PyTuple_Check(placements.ptr())) return false;
  for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(placements.ptr()); ++i) {
    if (is_partial(PyTuple_GET_ITEM(placements.ptr(), i))) return false;
  }
  return true;
}

bool same_layout(const py::object& a, const py::object& b) {
  if (!b) return false;
  if (a.is(b)) return true;
  for (PyObject* name : local_names().layout) {
    const py::object mine = attribute(a, name);
    const py::object other = attribute(b, name);
    if (mine.is(other)) continue;
    const int equal = mine && other ? PyObject_RichCompareBool(mine.ptr(), other.ptr(), Py_EQ) : 0;
    if (equal < 0) PyErr_Clear();
    if (equal != 1) return false;
  }
  return true;
}

PyTypeObject* find_type() {
  PyObject* module = PyDict_GetItemWithError(PyImport_GetModuleDict(), local_names().module);
  PyObject* type = module == nullptr ? nullptr : PyObject_GetAttrString(module, "DTensor");
  if (type == nullptr) PyErr_Clear();
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

bool is_distributed(PyObject* tensor) {
  static PyTypeObject* type = nullptr;  // kept for good once it is there
  if (type == nullptr) type = find_type();
  return Py_TYPE(tensor) == type;
}

PyObject* local_part(PyObject* tensor, PyObject* like) {
  if (!is_distributed(tensor)) return nullptr;
  const py::object spec = spec_of(tensor);
  if (!spec || !(tensor == like ? holds_elements(spec) : same_layout(spec, spec_of(like)))) return nullptr;
  return attribute(py::reinterpret_borrow<py::object>(tensor), local_names().local_tensor).release().ptr();
}

}  // namespace fastlr
