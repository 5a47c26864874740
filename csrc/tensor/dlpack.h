// A Python tensor as plain memory, through the DLPack C exchange table that torch >= 2.10 publishes on its tensor type,
// or through the tensor's attributes where there is no table. No torch header and no torch library.
#pragma once

#include <Python.h>

#include <cstdint>

#include "dtype.h"

namespace fastlr {

// Valid while the tensor lives and is not resized.
struct TensorView {
  static constexpr int kMaxOwnDims = 12;

  void* data;
  const int64_t* shape;
  const int64_t* strides;
  int64_t size;
  int32_t ndim;
  DType dtype;
  int32_t device_type;  // DLPack's numbers; kCpu, or something that the CPU core does not take
  int32_t device_index;
  int64_t own[2 * kMaxOwnDims];  // shape and strides where they had to be copied

  static constexpr int32_t kCpu = 1;
};

enum class Access { native, foreign };  // foreign: sparse, wrapped, of an unknown type, or without memory of its own

// Chosen once: "dlpack" or "attributes" (torch < 2.10, or FASTLR_TENSOR_ACCESS=attributes).
const char* tensor_access();

// Never raises: what cannot be read as plain memory is foreign.
Access view(PyObject* tensor, TensorView& out);

// tensor.grad as a new reference. nullptr: a Python error is set.
PyObject* gradient(PyObject* tensor);

bool same_shape(const TensorView& a, const TensorView& b);
bool same_strides(const TensorView& a, const TensorView& b);
// Every element has its own place and there are no gaps: the memory can be walked from end to end.
bool dense(const TensorView& view);

}  // namespace fastlr
