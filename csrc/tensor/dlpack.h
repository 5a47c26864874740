// A Python tensor as plain memory, without torch's headers: directly, or through the DLPack C exchange table that
// torch >= 2.10 publishes on its tensor type, or through the tensor's attributes.
#pragma once

#include <Python.h>

#include <cstdint>

#include "dtype.h"

namespace fastlr {

// Valid while the tensor lives and is not resized.
struct TensorView {
  static constexpr int32_t kCpu = 1, kCuda = 2;  // DLPack's numbers
  static constexpr int kMaxOwnDims = 12;

  TensorView() = default;
  TensorView(const TensorView&) = delete;  // shape may point into the view itself
  TensorView& operator=(const TensorView&) = delete;

  void* data;
  const int64_t* shape;
  const int64_t* strides;
  int64_t size;
  int32_t ndim;
  DType dtype;
  int32_t device_type;
  int32_t device_id;
  int64_t own[2 * kMaxOwnDims];  // shape and strides where they had to be copied
};

enum class Access {
  none,     // no gradient
  native,   // plain strided memory
  foreign,  // sparse, wrapped, of an unknown type, or without memory of its own
};

// "direct", "dlpack" or "attributes": the best that this torch offers, or what FASTLR_TENSOR_ACCESS asks for.
const char* tensor_access();

// Never raises: what cannot be read as plain memory is foreign.
Access view(PyObject* tensor, TensorView& out);

// The tensor's gradient. `owner` gets a reference that keeps it alive, or nullptr where it was read without one.
Access view_gradient(PyObject* tensor, TensorView& out, PyObject** owner);

// Whether the elements stand in memory with the other sign, as in z.conj().imag, which a view does not tell.
bool negated(PyObject* tensor);

// tensor.grad as a new reference; nullptr, and no error set, where Python raised.
PyObject* gradient(PyObject* tensor);

// Ask for the memory of a list's tensors ahead of the one at `at`: they lie scattered, and waiting for them is most of
// what a step over small tensors costs.
void prefetch(PyObject* list, Py_ssize_t at);
// The address of what stands behind the Python object, some 200 bytes, for prefetch_lines(); nullptr where unknown.
const void* implementation(PyObject* tensor);
void prefetch_lines(const void* implementation);

// Marks the tensor as written, so that a stale backward raises. False: the caller has to ask torch.
bool bump_version(PyObject* tensor);

// Where a GPU's current stream is asked for: the table of the tensor's own type, or torch where that is null.
using StreamSource = const void*;
StreamSource stream_source(PyObject* tensor);
// A CUstream. Raises what torch raises.
void* current_stream(StreamSource source, int32_t device);

bool same_device(const TensorView& a, const TensorView& b);
bool same_shape(const TensorView& a, const TensorView& b);
bool same_strides(const TensorView& a, const TensorView& b);
// Every element has its own place and there are no gaps: the memory can be walked from end to end.
bool dense(const TensorView& view);

}  // namespace fastlr
