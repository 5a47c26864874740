// The entry points for the driver itself, devices and contexts.
#include <algorithm>
#include <cstring>

#include "driver.h"
#include "entry.h"

using namespace standin;

CU_ENTRY(cuInit)(unsigned flags) {
  return run_call("cuInit", Needs::nothing, [&](Event&) -> int {
    if (flags != 0) return kInvalidValue;
    if (driver().devices.empty()) return kNoDevice;
    driver().initialized = true;
    return kSuccess;
  });
}

CU_ENTRY(cuDriverGetVersion)(int* version) {
  return run_call("cuDriverGetVersion", Needs::nothing, [&](Event&) -> int {
    if (version == nullptr) return kInvalidValue;
    *version = driver().version;
    return kSuccess;
  });
}

CU_ENTRY(cuGetErrorString)(int result, const char** text) {
  if (text == nullptr) return kInvalidValue;
  *text = text_of(result);
  return *text == nullptr ? kInvalidValue : kSuccess;
}

CU_ENTRY(cuGetErrorName)(int result, const char** name) {
  if (name == nullptr) return kInvalidValue;
  *name = name_of(result);
  return *name == nullptr ? kInvalidValue : kSuccess;
}

CU_ENTRY(cuDeviceGetCount)(int* count) {
  return run_call("cuDeviceGetCount", Needs::initialized, [&](Event&) -> int {
    if (count == nullptr) return kInvalidValue;
    *count = static_cast<int>(driver().devices.size());
    return kSuccess;
  });
}

CU_ENTRY(cuDeviceGet)(CUdevice* out, int ordinal) {
  return run_call("cuDeviceGet", Needs::initialized, [&](Event& event) -> int {
    event.add("ordinal", ordinal);
    if (out == nullptr) return kInvalidValue;
    if (driver().device(ordinal) == nullptr) return kInvalidDevice;
    *out = ordinal;
    return kSuccess;
  });
}

CU_ENTRY(cuDeviceGetName)(char* out, int length, CUdevice number) {
  return run_call("cuDeviceGetName", Needs::initialized, [&](Event&) -> int {
    const Device* device = driver().device(number);
    if (device == nullptr) return kInvalidDevice;
    if (out == nullptr || length < 1) return kInvalidValue;
    std::strncpy(out, device->name.c_str(), static_cast<std::size_t>(length) - 1);
    out[length - 1] = '\0';
    return kSuccess;
  });
}

CU_ENTRY(cuDeviceTotalMem_v2)(std::size_t* bytes, CUdevice number) {
  return run_call("cuDeviceTotalMem_v2", Needs::initialized, [&](Event&) -> int {
    const Device* device = driver().device(number);
    if (device == nullptr) return kInvalidDevice;
    if (bytes == nullptr) return kInvalidValue;
    *bytes = static_cast<std::size_t>(device->memory);
    return kSuccess;
  });
}

namespace {

int attribute_of(const Device& device, int attribute) {
  switch (attribute) {
    case kMaxThreadsPerBlock:
      return 1024;
    case kMaxSharedMemoryPerBlock:
      return 48 << 10;
    case kWarpSize:
      return 32;
    case kClockRate:
      return 1500000;
    case kMultiprocessorCount:
      return device.multiprocessors;
    case kMaxThreadsPerMultiprocessor:
      return device.capability == 75 ? 1024 : device.capability / 10 == 8 && device.capability > 80 ? 1536 : 2048;
    case kCapabilityMajor:
      return device.capability / 10;
    case kCapabilityMinor:
      return device.capability % 10;
    default:
      return -1;
  }
}

}  // namespace

CU_ENTRY(cuDeviceGetAttribute)(int* value, int attribute, CUdevice number) {
  return run_call("cuDeviceGetAttribute", Needs::initialized, [&](Event& event) -> int {
    event.add("attribute", attribute);
    const Device* device = driver().device(number);
    if (device == nullptr) return kInvalidDevice;
    const int known = attribute_of(*device, attribute);
    if (value == nullptr || known < 0) return kInvalidValue;
    *value = known;
    return kSuccess;
  });
}

CU_ENTRY(cuDevicePrimaryCtxRetain)(Handle* context, CUdevice number) {
  return run_call("cuDevicePrimaryCtxRetain", Needs::initialized, [&](Event&) -> int {
    Device* device = driver().device(number);
    if (device == nullptr) return kInvalidDevice;
    if (context == nullptr) return kInvalidValue;
    device->retained = true;
    *context = device;
    return kSuccess;
  });
}

CU_ENTRY(cuCtxPushCurrent_v2)(Handle context) {
  return run_call("cuCtxPushCurrent_v2", Needs::initialized, [&](Event& event) -> int {
    for (const auto& device : driver().devices) {
      if (device.get() != context || !device->retained) continue;
      driver().thread().contexts.push_back(device.get());
      event.add("context", device->number);
      return kSuccess;
    }
    return kInvalidContext;
  });
}

CU_ENTRY(cuCtxPopCurrent_v2)(Handle* context) {
  return run_call("cuCtxPopCurrent_v2", Needs::initialized, [&](Event& event) -> int {
    auto& contexts = driver().thread().contexts;
    if (contexts.empty()) return kInvalidContext;
    if (context != nullptr) *context = contexts.back();
    event.add("context", contexts.back()->number);
    contexts.pop_back();
    return kSuccess;
  });
}

CU_ENTRY(cuCtxSynchronize)() {
  return run_call("cuCtxSynchronize", Needs::context, [](Event&) -> int {
    Driver& all = driver();
    const int number = all.current()->number;
    if (const int conflict = all.streams.unsafe_call(all.thread().mode)) return conflict;
    if (const int conflict = all.streams.wait_conflict(number, nullptr)) return conflict;
    return all.streams.finish_device(number);
  });
}
