// The shortest way to torch's tensors: a few functions of the libraries that torch has loaded already, found by name at
// run time. A name spells out its argument types, so a torch that changed them has no such name, and the slower ways
// are used; a trial on known tensors comes before the first use.
#pragma once

#include <Python.h>

#include <cstddef>

#include "tensor/dlpack_abi.h"

namespace fastlr {

// An at::Tensor is one pointer, to its implementation. Here it is passed by the address of that pointer.
using TensorHandle = const void* const*;

struct Direct {
  TensorHandle (*grad)(const void* implementation);
  void (*to_dlpack)(TensorHandle tensor, DLTensor* out, bool read_only);  // torch >= 2.14
  void (*to_dlpack_2_10)(TensorHandle tensor, DLTensor* out);             // torch 2.10 to 2.13
  void (*bump_version)(TensorHandle tensor);
  bool (*is_neg)(TensorHandle tensor);  // the elements stand in memory with the other sign, as in z.conj().imag
  const void* undefined;                // the implementation behind a gradient that is not there
  std::ptrdiff_t offset;                // of the at::Tensor in its Python object
  PyTypeObject* tensor;                 // torch.Tensor
  PyTypeObject* parameter;              // torch.nn.Parameter

  TensorHandle handle(PyObject* object) const {
    return reinterpret_cast<TensorHandle>(reinterpret_cast<const char*>(object) + offset);
  }
  void read(TensorHandle tensor, DLTensor* out) const {
    if (to_dlpack != nullptr) return to_dlpack(tensor, out, false);
    to_dlpack_2_10(tensor, out);
  }
  // A subclass may give its attributes another meaning.
  bool knows(PyTypeObject* type) const { return type == tensor || type == parameter; }
};

// nullptr where the functions are not there, or the trial gave another result than Python's attributes.
const Direct* find_direct();

}  // namespace fastlr
