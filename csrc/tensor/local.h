// A DTensor, torch's tensor over several processes, as the plain tensor that this process holds of it.
#pragma once

#include <Python.h>

namespace fastlr {

// Whether the tensor is a DTensor itself, no subclass. torch.distributed.tensor is not imported for it.
bool is_distributed(PyObject* tensor);

// What this process holds of a DTensor, a new reference; it may have no elements. nullptr, and no error set, where the
// tensor is laid out otherwise than `like`, a parameter, or is that parameter and holds parts of sums. Runs Python
// code. torch's in-place operations raise the version of the DTensor alone, not of its part.
PyObject* local_part(PyObject* tensor, PyObject* like);

}  // namespace fastlr
