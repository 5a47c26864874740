// The slower way to a tensor's memory: its Python attributes.
#pragma once

#include "tensor/dlpack.h"

namespace fastlr {

// Takes torch.Tensor and torch.nn.Parameter themselves; a subclass may give its attributes another meaning.
Access view_attributes(PyObject* tensor, TensorView& out);

}  // namespace fastlr
