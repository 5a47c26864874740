// The layouts of DLPack 1.x (github.com/dmlc/dlpack, dlpack.h), as far as they are read here.
#pragma once

#include <cstdint>

namespace fastlr {

struct DLDevice {
  int32_t type;
  int32_t id;
};

struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};

struct ExchangeTable {
  uint32_t major;
  uint32_t minor;
  ExchangeTable* previous;
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object;
  void* managed_tensor_to_py_object;
  int (*dltensor_from_py_object)(void* py_object, DLTensor* out);
  int (*current_work_stream)(int32_t device_type, int32_t device_id, void** out);
};

constexpr uint32_t kDLPackMajor = 1;

}  // namespace fastlr
