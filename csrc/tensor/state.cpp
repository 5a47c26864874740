#include "tensor/state.h"

#include <string>

#include "check.h"

namespace fastlr {

// Kept for good, as the rules are.
StateNames::StateNames(const RuleInfo& rule)
    : step(PyUnicode_InternFromString("step")),
      master(PyUnicode_InternFromString("master_param")),
      average(PyUnicode_InternFromString("ema")) {
  for (const std::string& name : rule.states) states.push_back(PyUnicode_InternFromString(name.c_str()));
}

bool Count::find(PyObject* tensor) {
  TensorView found;
  if (view(tensor, found) != Access::native || found.device_type != TensorView::kCpu || found.size != 1) return false;
  if (found.dtype != DType::float32 && found.dtype != DType::float64) return false;
  at_ = found.data;
  single_ = found.dtype == DType::float32;
  return true;
}

int64_t Count::updates() const {
  const double number =
      single_ ? static_cast<double>(*static_cast<const float*>(at_)) : *static_cast<const double*>(at_);
  if (number >= 0.0 && number <= 4.0e18) return static_cast<int64_t>(number);
  raise(ErrorKind::value, "A parameter's state has no number of updates in \"step\"", std::to_string(number),
        "Load a state dict of torch's or fastlr's.");
}

void Count::set(int64_t updates) const {
  if (single_) {
    *static_cast<float*>(at_) = static_cast<float>(updates);
  } else {
    *static_cast<double*>(at_) = static_cast<double>(updates);
  }
}

}  // namespace fastlr
