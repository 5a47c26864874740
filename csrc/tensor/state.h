// What a rule keeps of a parameter beside it: the names of the entries, and torch's count of updates among them.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <vector>

#include "rule/info.h"
#include "tensor/dlpack.h"

namespace fastlr {

struct StateNames {
  explicit StateNames(const RuleInfo& rule);

  PyObject* const step;
  PyObject* const master;
  PyObject* const average;
  std::vector<PyObject*> states;  // in the order of the rule's
};

// The number in a "step" tensor: float32 or float64, on the CPU.
class Count {
 public:
  // False: it is no such tensor.
  bool find(PyObject* tensor);
  // Raises where it is no number of updates.
  int64_t updates() const;
  void set(int64_t updates) const;

 private:
  void* at_ = nullptr;
  bool single_ = true;
};

}  // namespace fastlr
