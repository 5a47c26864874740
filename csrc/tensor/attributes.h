// The slower way to a tensor's memory: its Python attributes.
#pragma once

#include "tensor/dlpack.h"

namespace fastlr {

// Takes torch.Tensor and torch.nn.Parameter themselves; a subclass may give its attributes another meaning.
Access view_attributes(PyObject* tensor, TensorView& out);

// The current CUstream of a GPU, as torch has it.
void* torch_stream(int32_t device);

// Hands on the error that Python has set.
[[noreturn]] void throw_python_error();

}  // namespace fastlr
