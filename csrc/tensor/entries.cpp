#include "tensor/entries.h"

#include <pybind11/pybind11.h>

#include <algorithm>

#include "check.h"

namespace py = pybind11;

namespace fastlr {
namespace {

// Another number after every change of any dict; 0 where Python has none.
#if PY_VERSION_HEX < 0x030c0000
uint64_t version(PyObject* dict) { return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag; }
#else
uint64_t version(PyObject*) { return 0; }
#endif

}  // namespace

Entries::~Entries() {
  for (auto* all : {&names_, &values_, &keys_}) {
    for (PyObject* object : *all) Py_XDECREF(object);
  }
}

std::size_t Entries::add(const std::string& name) {
  PyObject* interned = PyUnicode_InternFromString(name.c_str());
  const auto known = std::find(names_.begin(), names_.end(), interned);
  const auto place = static_cast<std::size_t>(known - names_.begin());
  if (known != names_.end()) {
    Py_DECREF(interned);
    return place;
  }
  names_.push_back(interned);
  values_.push_back(nullptr);
  return place;
}

bool Entries::read(PyObject* group) {
  const uint64_t now = version(group);
  if (now != 0 && now == version_) return false;
  bool changed = false;
  if (!walk(group, changed)) {
    look_up(group);
    changed = true;
  }
  version_ = now;
  return changed;
}

// False where the keys are not those of the last time.
bool Entries::walk(PyObject* group, bool& changed) {
  PyObject* key;
  PyObject* value;
  std::size_t i = 0;
  for (Py_ssize_t at = 0; PyDict_Next(group, &at, &key, &value); ++i) {
    if (i >= keys_.size() || keys_[i] != key) return false;
    if (places_[i] < 0) continue;
    PyObject*& held = values_[static_cast<std::size_t>(places_[i])];
    if (held == value) continue;
    Py_XSETREF(held, Py_NewRef(value));
    changed = true;
  }
  return i == keys_.size() && i > 0;
}

void Entries::look_up(PyObject* group) {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    PyObject* value = PyDict_GetItemWithError(group, names_[i]);
    if (value != nullptr) {
      Py_XSETREF(values_[i], Py_NewRef(value));
      continue;
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    raise(ErrorKind::runtime, "A parameter group has lost an entry", py::str(names_[i]).cast<std::string>(),
          "Put it back, or add the group with add_param_group().");
  }
  for (PyObject* key : keys_) Py_DECREF(key);
  keys_.clear();
  places_.clear();
  PyObject* key;
  PyObject* value;
  for (Py_ssize_t at = 0; PyDict_Next(group, &at, &key, &value);) {
    const auto same = [key](PyObject* name) { return key == name || PyUnicode_Compare(key, name) == 0; };
    const auto found = PyUnicode_CheckExact(key) ? std::find_if(names_.begin(), names_.end(), same) : names_.end();
    keys_.push_back(Py_NewRef(key));
    places_.push_back(found == names_.end() ? -1 : static_cast<int>(found - names_.begin()));
  }
}

void Entries::put(PyObject* group, std::size_t place, PyObject* new_reference) {
  const py::object value = py::reinterpret_steal<py::object>(new_reference);
  const bool known = version(group) == version_;
  if (!value || PyDict_SetItem(group, names_[place], value.ptr()) != 0) throw py::error_already_set();
  Py_XSETREF(values_[place], Py_NewRef(value.ptr()));
  if (known) version_ = version(group);
}

}  // namespace fastlr
