// Strong references, given back together.
#pragma once

#include <Python.h>

#include <vector>

namespace fastlr {

class References {
 public:
  References() = default;
  ~References() { clear(); }
  References(const References&) = delete;
  References& operator=(const References&) = delete;

  void take(PyObject* new_reference) {
    if (new_reference != nullptr) held_.push_back(new_reference);
  }
  void hold(PyObject* borrowed) { held_.push_back(Py_NewRef(borrowed)); }
  void clear() {
    std::vector<PyObject*> given_back;
    given_back.swap(held_);  // a destructor may run any code
    for (PyObject* object : given_back) Py_DECREF(object);
    given_back.clear();
    if (held_.empty()) held_.swap(given_back);  // keeps the capacity
  }
  const std::vector<PyObject*>& objects() const { return held_; }

 private:
  std::vector<PyObject*> held_;
};

}  // namespace fastlr
